# SPDX-License-Identifier: Apache-2.0
"""Every command a zone needs is carried out, answers in its class, and is documented so."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssvm_agent.handlers.base import REGISTRY
from ssvm_agent.handlers.catalogue import load
from ssvm_agent.messages.base import UnsupportedAnswer
from ssvm_agent.messages.catalogue import CATALOGUE, CatalogueRow, Direction, Priority

load()

NEEDED = [
    row
    for row in CATALOGUE
    if row.priority is not Priority.RARE and row.direction is not Direction.FROM_AGENT
]


@pytest.mark.parametrize("row", NEEDED, ids=lambda row: row.command.__name__)
def test_needed_command_is_carried_out(row: CatalogueRow) -> None:
    entry = REGISTRY.entry_for(row.command)
    assert entry is not None
    assert entry.answer is row.answer


def test_registered_commands_answer_as_the_catalogue_says() -> None:
    rows = {row.command: row for row in CATALOGUE}
    for entry in REGISTRY.entries():
        assert entry.answer is rows[entry.command].answer, entry.class_name


def test_documentation_names_the_lanes() -> None:
    page = Path(__file__).parents[3] / "docs" / "commands" / "README.md"
    lanes = {
        cells[0].strip(" `"): cells[2].strip()
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith(("| `com.", "| `org."))
        and (cells := line.strip("|").split("|"))[1].strip() != "-"
    }
    for entry in REGISTRY.entries():
        if entry.answer is not UnsupportedAnswer:
            assert lanes[entry.class_name] == entry.lane, entry.class_name
