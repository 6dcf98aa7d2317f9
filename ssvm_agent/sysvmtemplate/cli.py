# SPDX-License-Identifier: Apache-2.0
"""The command ``cloud-install-sys-tmplt``: reads the command line, runs, prints, ends with a code.

The one place where errors become exit codes (docs/cloud-install-sys-tmplt.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from ssvm_agent.errors import AgentError
from ssvm_agent.host.clock import Clock, SystemClock
from ssvm_agent.masking import mask_text
from ssvm_agent.sysvmtemplate.console import Console, Interruption
from ssvm_agent.sysvmtemplate.equipment import open_equipment
from ssvm_agent.sysvmtemplate.exits import Exit, exit_of, next_step, stock_exit
from ssvm_agent.sysvmtemplate.installer import Installer
from ssvm_agent.sysvmtemplate.options import (
    Options,
    UsageError,
    build_parser,
    parse,
    wants_stock_exits,
)
from ssvm_agent.sysvmtemplate.result import SCHEMA, Result

# What is made here must be readable by others, however strict the machine is set up
# (boot-and-system.md 6.1).
_UMASK: Final = 0o022
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FAILED: Final = "Installation failed"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    code = _execute(words)
    return stock_exit(code) if wants_stock_exits(words) else code


def _execute(words: Sequence[str]) -> int:
    try:
        options = parse(words)
    except UsageError as error:
        print(build_parser().format_usage(), end="", file=sys.stderr)
        print(f"cloud-install-sys-tmplt: {error}; --help explains", file=sys.stderr)
        return Exit.USAGE
    except AgentError as error:
        return _report_failure(error, as_json="--json" in words, warnings=[])
    os.umask(_UMASK)
    clock, interruption = SystemClock(), Interruption()
    console = Console(clock=clock, interruption=interruption, quiet_stdout=options.as_json)
    with _logging(verbose=options.verbose):
        return asyncio.run(_run(options, console, interruption, clock))


async def _run(options: Options, console: Console, interruption: Interruption, clock: Clock) -> int:
    task = asyncio.current_task()
    assert task is not None
    interruption.attach(task.cancel)
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, interruption.arrived, number)
    try:
        async with open_equipment(options.request, clock=clock) as equipment:
            installer = Installer(options.request, equipment, console, clock=clock)
            result = await installer.run()
    except AgentError as error:
        return _report_failure(error, as_json=options.as_json, warnings=console.warnings)
    except asyncio.CancelledError:
        if interruption.signal is None:
            raise
        console.fail("Interrupted; stores and database are as they were before.")
        console.fail(_FAILED)
        return 128 + interruption.signal
    _report_success(result, console, as_json=options.as_json)
    return Exit.DONE


def _report_success(result: Result, console: Console, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**result.as_object(), "warnings": console.warnings}))
        return
    of = f"template {result.template_id}"
    if result.template_name:
        of += f" ({result.template_name})"
    for store in result.stores:
        if result.dry_run:
            verb = "replace the template in" if store.replaces else "install into"
            console.say(f"Would {verb} {store.directory}/ as {of}; nothing was changed")
        else:
            console.say(
                f"Successfully installed system VM template {result.source} to {store.directory}/"
            )
    if not result.dry_run:
        console.say(f"This is {of}: {result.file_name}, {result.checksum}")


def _report_failure(error: AgentError, *, as_json: bool, warnings: Sequence[str]) -> int:
    code = exit_of(error)
    step = next_step(error)
    state = [mask_text(note) for note in getattr(error, "__notes__", [])]
    if as_json:
        failure = {
            "schema": SCHEMA,
            "result": "failed",
            "error": {
                "code": error.code,
                "message": mask_text(error.message),
                "detail": mask_text(error.detail) or None,
                "next_step": step or None,
                "state": state,
                "exit_code": int(code),
            },
            "warnings": list(warnings),
        }
        print(json.dumps(failure))
    lines = (mask_text(error.for_operators()), step, *state, _FAILED)
    with contextlib.suppress(BrokenPipeError):
        print("\n".join(line for line in lines if line), file=sys.stderr)
    return code


@contextmanager
def _logging(*, verbose: bool) -> Iterator[None]:
    """Log lines on standard error when they are wanted; errors are reported in any case."""
    if verbose:
        from ssvm_agent import log

        sink = log.setup("info", file=None, journal=True)
        try:
            yield
        finally:
            sink.close()
        return
    # Without any handler, warnings would be printed as they are.
    silence = logging.NullHandler()
    logging.getLogger().addHandler(silence)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(silence)
