# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pytest

from ssvm_agent.simulator.cli import main

DOCS = Path(__file__).parents[3] / "docs/simulator.md"


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> str:
    """What ``ssvm-sim serve --help`` prints."""
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    return capsys.readouterr().out


def test_options_and_orders_of_the_help_are_those_of_the_page(told: str) -> None:
    text = DOCS.read_text()
    for pattern in (r"--[a-z][a-z-]+", r'"do": "([a-z-]+)"'):
        inside_help = set(re.findall(pattern, told)) - {"--help"}
        assert inside_help == set(re.findall(pattern, text)), pattern


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--form", "8080"], "'8080' is not ADDRESS:PORT"),
        (["--form", "localhost:x"], "'x' is not a port"),
        (["--port", "65536"], "'65536' is not a port"),
        (["--define", "word"], "'word' is not WORD=VALUE"),
    ],
)
def test_arguments_that_make_no_sense_are_explained(
    capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", *arguments])
    assert ended.value.code == 2
    assert text in capsys.readouterr().err
