# SPDX-License-Identifier: Apache-2.0
"""The facts of an OVF, written down and read again."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.images.ovf import OvfFacts
from ssvm_agent.images.ovf_disks import data_disks
from ssvm_agent.images.ovf_reading import read_ovf
from ssvm_agent.images.ovf_record import MAX_RECORD_CHARS, from_record, to_record

DATA = Path(__file__).parents[2] / "data" / "ovf"
SIZES = {"app-disk1.vmdk": 70_000, "app-disk2.vmdk": 80_000, "tools.iso": 4096, "app.ovf": 1}


@pytest.fixture
def facts() -> OvfFacts:
    """The descriptor with everything in it."""
    return read_ovf((DATA / "vmware-prefixed.ovf").read_bytes(), "app.ovf")


def test_everything_comes_back(facts: OvfFacts) -> None:
    assert facts.eulas
    assert facts.hardware
    disks = data_disks(facts, SIZES)
    assert from_record(json.loads(json.dumps(to_record(facts, disks)))) == (facts, disks)
    assert from_record(to_record(None, ())) == (None, ())


def test_what_another_agent_wrote_is_taken_as_far_as_it_goes(facts: OvfFacts) -> None:
    record = to_record(replace(facts, eulas=()), ())
    assert record is not None
    record["facts"]["news"] = 1
    del record["facts"]["eulas"]
    assert from_record(record) == (replace(facts, eulas=()), ())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("facts", "name"), 5),
        (("facts", "files"), 5),
        (("facts", "disks", 0), "text"),
        (("facts", "disks", 0), {}),
        (("facts", "eulas", 0, "compressed_license"), "no base64"),
        (("facts",), None),
    ],
)
def test_nonsense_is_refused(facts: OvfFacts, path: tuple[Any, ...], value: object) -> None:
    record = copy.deepcopy(to_record(facts, ()))
    place: Any = record
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises((TypeError, ValueError)):
        from_record(record)


def test_a_descriptor_too_long_to_remember_is_left_out(facts: OvfFacts) -> None:
    assert to_record(replace(facts, name="x" * MAX_RECORD_CHARS), ()) is None
