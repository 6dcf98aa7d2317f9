# SPDX-License-Identifier: Apache-2.0
"""The catalogue is complete: vectors in both directions for all that a zone needs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from ssvm_agent.messages.base import Answer, UnsupportedAnswer, class_name_of, find_class
from ssvm_agent.messages.catalogue import CATALOGUE, CatalogueRow, Direction, Priority

DATA = Path(__file__).parents[2] / "data"

NEEDED = [row for row in CATALOGUE if row.priority is not Priority.RARE]
# Classes that stand in the reference list as a family or are no command of the link.
FAMILIES = {
    "com.cloud.agent.api.CronCommand",
    "com.cloud.agent.api.AgentControlCommand (subclasses)",
    "com.cloud.agent.api.UnsupportedAnswer",
    "org.apache.cloudstack.storage.command.TemplateOrVolumePostUploadCommand",
}
LEGACY = "CleanupSnapshotBackupCommand"


def sent_classes(kind: str) -> set[str]:
    with (DATA / "vectors" / "frames.jsonl").open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return {
        next(iter(element))
        for line in lines
        if line.get("kind") == kind
        for element in json.loads(line["content"])
    }


REQUESTS, RESPONSES = sent_classes("request"), sent_classes("response")


def name_of(row: CatalogueRow) -> str:
    return row.command.__name__


@pytest.mark.parametrize("row", NEEDED, ids=name_of)
def test_needed_command_has_vectors_in_both_directions(row: CatalogueRow) -> None:
    assert row.class_name in REQUESTS
    assert class_name_of(row.answer) in RESPONSES


@pytest.mark.parametrize("row", CATALOGUE, ids=name_of)
def test_row_says_whether_it_has_vectors(row: CatalogueRow) -> None:
    found = row.class_name in REQUESTS and class_name_of(row.answer) in RESPONSES
    assert row.in_vectors == found


@pytest.mark.parametrize("row", CATALOGUE, ids=name_of)
def test_answer_class_can_tell_a_failure(row: CatalogueRow) -> None:
    """Whatever happens, a command is answered in its own class with a text."""
    for answer in filter(None, (row.answer, row.on_failure)):
        failed = answer(result=False, details="no")
        assert (failed.result, failed.details) == (False, "no")
        assert issubclass(answer, Answer)


def test_no_command_stands_twice() -> None:
    names = [row.class_name for row in CATALOGUE]
    assert len(names) == len(set(names))


def reference_rows() -> list[dict[str, str]]:
    with (DATA / "command-catalogue.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.mark.parametrize("listed", reference_rows(), ids=lambda row: row["class"].split(" ")[0])
def test_reference_list_and_catalogue_agree(listed: dict[str, str]) -> None:
    if listed["class"] in FAMILIES or listed["class"].startswith(LEGACY):
        return
    (row,) = (row for row in CATALOGUE if row.class_name == listed["class"])
    assert row.priority == listed["priority"]
    assert row.since == listed["version_range"].split(",")[0].split(" ")[0]
    assert (row.direction is not Direction.TO_AGENT) == (listed["direction"] != "MS->agent")
    if row.answer is UnsupportedAnswer:
        assert listed["handled_by_real_agent"] != "y"
    else:
        assert class_name_of(row.answer) == listed["answer_class"].split(" | ")[0]


def test_families_and_plain_objects_are_known_classes() -> None:
    assert find_class("com.cloud.agent.api.AgentControlCommand")
    assert find_class("com.cloud.agent.api.UnsupportedAnswer")
    assert find_class("org.apache.cloudstack.storage.command.TemplateOrVolumePostUploadCommand")


def documented_rows() -> list[list[str]]:
    page = Path(__file__).parents[3] / "docs" / "commands" / "README.md"
    lines = page.read_text(encoding="utf-8").splitlines()
    return [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith(("| `com.", "| `org."))
    ]


def test_table_of_the_documentation_is_the_catalogue() -> None:
    documented = [(name, answer, since) for name, answer, _, _, since in documented_rows()]
    expected = [
        (
            row.class_name,
            "-"
            if row.answer is UnsupportedAnswer
            else ", ".join(cls.__name__ for cls in (row.answer, row.on_failure) if cls),
            row.since,
        )
        for row in CATALOGUE
    ]
    assert documented == expected
