# SPDX-License-Identifier: Apache-2.0
"""What ``--help`` offers and what the pages name are the same options and arguments."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from ssvm_agent.cli import parser as agent
from ssvm_agent.delivery import keystore_cert_import, keystore_setup
from ssvm_agent.delivery import options as delivery
from ssvm_agent.diag import cli as check
from ssvm_agent.payload import cli as payload
from ssvm_agent.simulator import cli as simulator
from ssvm_agent.sysvmtemplate import options as template

_REPOSITORY: Final = Path(__file__).parents[2]
_PROGRAMS: Final[dict[str, Callable[[], argparse.ArgumentParser]]] = {
    "ssvm-agent": lambda: agent.build(demo_wanted=True),
    "ssvm-check": check._parser,
    "ssvm-deliver": delivery.build_parser,
    "ssvm-payload": payload._parser,
    "ssvm-sim": simulator._parser,
    "cloud-install-sys-tmplt": template.build_parser,
}
_OPTION: Final = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
_CALL: Final = re.compile(rf"(?:{'|'.join(_PROGRAMS)})(?= )[^`\n|]*")


def pages() -> Iterator[tuple[str, str]]:
    """Every page a user reads."""
    for path in [_REPOSITORY / "README.md", *sorted((_REPOSITORY / "docs").glob("*.md"))]:
        yield path.name, path.read_text()


def options(parser: argparse.ArgumentParser) -> set[str]:
    """The long options of a program and of everything below it."""
    found: set[str] = set()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                found |= options(child)
        elif action.help != argparse.SUPPRESS:
            found |= {word for word in action.option_strings if word.startswith("--")}
    return found - {"--help"}


@pytest.mark.parametrize("program", _PROGRAMS)
def test_every_option_of_a_program_is_on_a_page_that_names_it(program: str) -> None:
    named = {word for _, text in pages() if program in text for word in _OPTION.findall(text)}
    assert options(_PROGRAMS[program]()) - named == set()


def test_no_page_calls_a_program_with_an_option_it_does_not_have() -> None:
    known = {program: options(build()) | {"--help"} for program, build in _PROGRAMS.items()}
    wrong = [
        (name, call)
        for name, text in pages()
        for call in _CALL.findall(text)
        if set(_OPTION.findall(call)) - known[call.split()[0]]
    ]
    assert wrong == []


@pytest.mark.parametrize("usage", [keystore_setup.USAGE, keystore_cert_import.USAGE])
def test_the_arguments_of_a_certificate_script_are_on_its_page(usage: str) -> None:
    assert f"    {usage}" in (_REPOSITORY / "docs/keys.md").read_text().splitlines()
