# SPDX-License-Identifier: Apache-2.0
"""Every command a zone needs is carried out, recorded, answered in its class, and documented.

One parameter is one row of the catalogue.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssvm_agent.handlers.base import REGISTRY
from ssvm_agent.handlers.catalogue import load
from ssvm_agent.messages.base import UnsupportedAnswer, class_name_of
from ssvm_agent.messages.catalogue import CATALOGUE, CatalogueRow, Direction, Priority

load()

NEEDED = [
    row
    for row in CATALOGUE
    if row.priority is not Priority.RARE and row.direction is not Direction.FROM_AGENT
]


# Described together with AgentControlCommand.
KIN = {"ConsoleAccessAuthenticationCommand", "ConsoleProxyLoadReportCommand"}
FAMILIES = {"TemplateOrVolumePostUploadCommand"}
DOCS = Path(__file__).parents[3] / "docs"
VECTORS = Path(__file__).parents[2] / "data" / "vectors" / "frames.jsonl"


def recorded_exchanges() -> Iterator[tuple[str, list[str]]]:
    """Kind of each recorded content, and the classes in it."""
    for line in VECTORS.read_text(encoding="utf-8").splitlines():
        frame = json.loads(line)
        if frame.get("kind") in ("request", "response"):
            yield frame["kind"], [next(iter(one)) for one in json.loads(frame["content"])]


RECORDED = {
    kind: {name for found, names in recorded_exchanges() if found == kind for name in names}
    for kind in ("request", "response")
}


def topic_pages() -> dict[str, str]:
    """The pages that describe commands, by name; not the overview, which lists them all."""
    pages = {page.name: page.read_text(encoding="utf-8") for page in DOCS.glob("commands/*.md")}
    del pages["README.md"]
    pages["http.md"] = (DOCS / "http.md").read_text(encoding="utf-8")
    return pages


PAGES = topic_pages()


@pytest.mark.parametrize("row", NEEDED, ids=lambda row: row.command.__name__)
def test_needed_command_is_carried_out_recorded_and_described(row: CatalogueRow) -> None:
    entry = REGISTRY.entry_for(row.command)
    assert entry is not None
    assert entry.answer is row.answer
    assert row.class_name in RECORDED["request"]
    assert class_name_of(row.answer) in RECORDED["response"]
    word = re.compile(rf"\b{row.command.__name__}\b")
    assert any(word.search(text) for text in PAGES.values()), "no page describes it"


def test_registered_commands_answer_as_the_catalogue_says() -> None:
    rows = {row.command: row for row in CATALOGUE}
    for entry in REGISTRY.entries():
        assert entry.answer is rows[entry.command].answer, entry.class_name


def test_documentation_names_the_lanes() -> None:
    page = DOCS / "commands" / "README.md"
    lanes = {
        cells[0].strip(" `"): cells[2].strip()
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith(("| `com.", "| `org."))
        and (cells := line.strip("|").split("|"))[1].strip() != "-"
    }
    for entry in REGISTRY.entries():
        if entry.answer is not UnsupportedAnswer:
            assert lanes[entry.class_name] == entry.lane, entry.class_name


def test_every_registered_command_is_described_on_a_page() -> None:
    words = set(re.findall(r"\w+Command\b", "".join(PAGES.values())))
    assert {entry.command.__name__ for entry in REGISTRY.entries()} - words == KIN


def test_pages_describe_no_command_that_is_not_there() -> None:
    names = {row.command.__name__ for row in CATALOGUE} | FAMILIES
    for page, text in PAGES.items():
        headings = re.findall(r"^## .*", text, re.MULTILINE)
        for name in re.findall(r"\w+Command\b", "".join(headings)):
            assert name in names, f"{page}: {name}"
