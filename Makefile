# SPDX-License-Identifier: Apache-2.0
# Thin on purpose: every target prepares what it needs and runs one program.
.DEFAULT_GOAL := help
.PHONY: help env demo test lint bench vm clean

BIN := .venv/bin

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*  ## /\1 /p' Makefile | while read -r name text; do printf '  make %-6s %s\n' "$$name" "$$text"; done

env:
	@scripts/bootstrap-env

demo: env  ## a management server in small, the agent, and two images brought in by it; about half a minute
	@$(BIN)/ssvm-agent demo

test: lint  ## lint, then every test this machine can run, with a guest where make vm was; says what was skipped
	@scripts/install-test-packages
	$(BIN)/pytest $(PYTEST_ARGS)

lint: env  ## style, types, and who may import whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: env  ## speed and memory beside the usual programs, as ratios; some minutes
	@scripts/install-test-packages
	@$(BIN)/python -m tests.bench $(BENCH_ARGS)

vm: env  ## boots a real guest: a day's work and a bad day of a system VM; some forty-five minutes
	@scripts/install-test-packages scripts/vm-packages.txt
	$(BIN)/pytest tests/vm -m vm $(PYTEST_ARGS)

clean:  ## remove environments and caches
	rm -rf .venv .tools .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist build
