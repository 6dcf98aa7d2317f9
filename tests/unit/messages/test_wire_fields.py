# SPDX-License-Identifier: Apache-2.0
"""Names, order and kinds of all fields, against the table of wire-protocol.md 4.3."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, get_origin

import pytest

from ssvm_agent.messages.base import (
    Answer,
    Command,
    FieldPlan,
    Mark,
    Message,
    WireClass,
    fields_of,
    find_class,
)
from ssvm_agent.messages.catalogue import CATALOGUE
from ssvm_agent.messages.envelope import Undecodable, decode_commands
from ssvm_agent.messages.objects import TemplateProp
from ssvm_agent.messages.ovf import DatadiskTO, OVFInformationTO
from ssvm_agent.messages.reading import read_message
from ssvm_agent.messages.writing import to_object

DATA = Path(__file__).parents[2] / "data"

Row = dict[str, str]

UNNAMED: dict[str, type[Message]] = {
    "com.cloud.agent.api.to.DatadiskTO": DatadiskTO,
    "com.cloud.agent.api.to.OVFInformationTO": OVFInformationTO,
    "com.cloud.storage.template.TemplateProp": TemplateProp,
}
# Fields of other releases, which the table of 4.22 does not have (wire-protocol.md 4.3, end).
OTHER_RELEASES = {"deleteChain", "abort", "zoneId", "extractLinkUUID", "used", "capacity"}
DOUBLED = {
    "com.cloud.agent.api.storage.UploadCommand",
    "com.cloud.agent.api.storage.UploadProgressCommand",
}
PRIMITIVES: dict[str, Any] = {"boolean": bool, "int": int, "long": int}
BOXES: dict[str, Any] = {"Boolean": bool, "Integer": int, "Long": int, "String": str}


def table() -> list[Row]:
    with (DATA / "wire-fields.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def listed_fields(row: Row) -> list[tuple[str, str]]:
    pairs = [entry.split(":", 1) for entry in row["fields"].split()]
    fields = [(name, java) for name, java in pairs]
    if row["class"] in DOUBLED:
        fields = list(dict(fields).items())
    return fields


def struct_of(row: Row) -> type[Message]:
    if row["class"] in UNNAMED:
        return UNNAMED[row["class"]]
    known = find_class(row["class"])
    assert known is not None, row["class"]
    return known.struct


def own_fields(struct: type[Message]) -> list[FieldPlan]:
    base = {"context_map", "wait", "bypass_host_maintenance", "external_details"}
    if issubclass(struct, Answer):
        base |= {"result"}
        if struct.__name__ != "ReadyCommand":
            base |= {"details"}
    if not issubclass(struct, Command):
        base = set()
    return [
        field
        for field in fields_of(struct)
        if field.name not in base and field.wire not in OTHER_RELEASES
    ]


@pytest.mark.parametrize("row", table(), ids=lambda row: row["class"].rsplit(".", 1)[1])
def test_class_has_the_fields_of_the_table_in_its_order(row: Row) -> None:
    own = own_fields(struct_of(row))
    assert [field.wire for field in own] == [name for name, _ in listed_fields(row)]


@pytest.mark.parametrize("row", table(), ids=lambda row: row["class"].rsplit(".", 1)[1])
def test_fields_are_of_the_tables_kinds(row: Row) -> None:
    plans = {field.wire: field for field in own_fields(struct_of(row))}
    for name, java in listed_fields(row):
        plan = plans[name]
        if java in PRIMITIVES:
            assert (plan.annotation, plan.nullable) == (PRIMITIVES[java], False), name
        elif java in BOXES:
            assert (plan.annotation, plan.nullable) == (BOXES[java], True), name
        elif java in {"DataTO", "DataStoreTO"}:
            assert plan.family is not None, name
            assert plan.family.__name__ == java
        elif java.startswith(("List<", "Set<", "String[]", "CommandInfo[]")):
            assert get_origin(plan.annotation) is list, name
        elif java.startswith(("Map<", "HashMap<")):
            assert get_origin(plan.annotation) is dict, name
        assert (Mark.INT32 in plan.marks) == (java in {"int", "Integer"}), name


@pytest.mark.parametrize("row", table(), ids=lambda row: row["class"].rsplit(".", 1)[1])
def test_classes_without_constructor_are_known_as_such(row: Row) -> None:
    known = find_class(row["class"])
    if known is not None:
        assert known.bare == (row["constructor"] == "n")


KNOWN: list[WireClass] = [
    known for known in (find_class(row["class"]) for row in table()) if known is not None
]


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.struct.__name__)
def test_every_field_may_be_missing_or_null(known: WireClass) -> None:
    """wire-protocol.md 4.3, end: a reader must tolerate every field missing (4.5 sends fewer)."""
    bare = read_message(known.struct, {})
    nulls = {field.wire: None for field in fields_of(known.struct)}
    emptied = read_message(known.struct, nulls)
    for field in fields_of(known.struct):
        value = getattr(emptied, field.name)
        assert value is None if field.nullable else value is not None, field.name
    assert read_message(known.struct, to_object(bare)) == bare


OLD_REQUESTS = [
    ('{"com.cloud.agent.api.ReadyCommand":{"dcId":1,"hostId":5,"contextMap":{},"wait":0}}'),
    (
        '{"com.cloud.agent.api.SecStorageSetupCommand":{"store":{"com.cloud.agent.api.to.NfsTO":'
        '{"_url":"nfs://10.1.1.5/sec","_role":"Image"}},"secUrl":"nfs://10.1.1.5/sec",'
        '"contextMap":{},"wait":0}}'
    ),
    (
        '{"com.cloud.agent.api.storage.CreateEntityDownloadURLCommand":{"installPath":"a/b.iso",'
        '"parent":"p","extractLinkUUID":"u.iso","accountId":0,"contextMap":{},"wait":0}}'
    ),
    (
        '{"com.cloud.agent.api.storage.ListVolumeCommand":{"store":{"com.cloud.agent.api.to.NfsTO":'
        '{"_url":"nfs://10.1.1.5/sec","_role":"Image"}},"secUrl":"nfs://10.1.1.5/sec",'
        '"contextMap":{},"wait":0}}'
    ),
]


@pytest.mark.parametrize("element", OLD_REQUESTS)
def test_request_of_4_5_is_read(element: str) -> None:
    (command,) = decode_commands(f"[{element}]".encode())
    assert not isinstance(command, Undecodable)
    ((_, sent),) = json.loads(element).items()
    assert to_object(command) == {**to_object(type(command)()), **sent}


def test_every_class_of_the_catalogue_stands_in_the_table_or_is_rare() -> None:
    listed = {row["class"] for row in table()}
    missing = {row.class_name for row in CATALOGUE if row.class_name not in listed}
    assert missing <= {row.class_name for row in CATALOGUE if row.priority == "rare"}
