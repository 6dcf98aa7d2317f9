# SPDX-License-Identifier: Apache-2.0
"""Recorded contents: each decodes to structs and encodes to the same text, but for listed cases.

What a reader of the reference implementation makes of odd contents is recorded as well; where
wire-protocol.md 11 asks for more, the case stands here with its reason.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.messages.envelope import (
    Fault,
    Undecodable,
    decode_answers,
    decode_commands,
    encode_answers,
    encode_commands,
)

DATA = Path(__file__).parents[2] / "data" / "vectors"

Line = dict[str, Any]


def read_lines(name: str) -> list[Line]:
    with (DATA / name).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def name_of(line: Line) -> str:
    return str(line["name"])


def ascii_only(text: str) -> str:
    """The text as we send it: everything beyond ASCII escaped (wire-protocol.md 11)."""
    return re.sub(
        r"[^\x00-\x7f]",
        lambda found: json.dumps(found[0])[1:-1],
        text,
    )


def reencode(kind: str, content: bytes) -> tuple[str, list[Undecodable]]:
    """What is left after decoding and encoding, and what could not be decoded."""
    if kind == "request":
        commands = decode_commands(content)
        good = [c for c in commands if not isinstance(c, Undecodable)]
        return encode_commands(good).decode(), [c for c in commands if isinstance(c, Undecodable)]
    answers = decode_answers(content)
    fine = [a for a in answers if not isinstance(a, Undecodable)]
    return encode_answers(fine).decode(), [a for a in answers if isinstance(a, Undecodable)]


# -- frames.jsonl -------------------------------------------------------------------------------

FRAMES = [line for line in read_lines("frames.jsonl") if line.get("expect") != "error"]
PARENT_CLASS = "the echoed ping is declared as its parent class, so 'changes' is not read back"
FRAME_DIFFERENCES = {
    "ping_answer": PARENT_CLASS,
    "k.ping-answer.usual": PARENT_CLASS,
    "k.ping-answer.send-startup": PARENT_CLASS,
    "k.ping-answer.null-lists": PARENT_CLASS,
    "k.ping-answer.reconcile": PARENT_CLASS,
    "k.ping.minimal": "a ping without 'changes' reads as one with an empty map",
}
UNKNOWN_CLASS = {"k.edge.unknown-class", "k.edge.unknown-class-among-known"}
EXACT = [line for line in FRAMES if line["name"] not in FRAME_DIFFERENCES.keys() | UNKNOWN_CLASS]


@pytest.mark.parametrize("line", EXACT, ids=name_of)
def test_content_is_reproduced_to_the_byte(line: Line) -> None:
    """wire-protocol.md 4: field order, escapes, nulls left out, primitives always there."""
    text, faults = reencode(line["kind"], line["content"].encode())
    assert not faults
    assert text == ascii_only(line["content"])


@pytest.mark.parametrize(
    "line", [line for line in FRAMES if line["name"] in FRAME_DIFFERENCES], ids=name_of
)
def test_content_that_differs_after_decoding_keeps_its_other_fields(line: Line) -> None:
    text, faults = reencode(line["kind"], line["content"].encode())
    assert not faults
    sent, kept = json.loads(line["content"])[0], json.loads(text)[0]
    assert sent.keys() == kept.keys()
    (body_sent,), (body_kept,) = sent.values(), kept.values()
    body_sent.pop("changes", None)
    body_kept.pop("changes", None)
    if "_command" in body_sent:
        body_sent["_command"].pop("changes", None)
    assert body_sent == body_kept


@pytest.mark.parametrize("name", sorted(UNKNOWN_CLASS))
def test_unknown_class_spoils_its_own_position_only(name: str) -> None:
    """Differs: wire-protocol.md 11."""
    (line,) = (line for line in FRAMES if line["name"] == name)
    commands = decode_commands(line["content"].encode())
    sent = [next(iter(element)) for element in json.loads(line["content"])]
    assert len(commands) == len(sent)
    for class_name, command in zip(sent, commands, strict=True):
        if "Future" in class_name:
            assert isinstance(command, Undecodable)
            assert (command.class_name, command.kind) == (class_name, Fault.UNKNOWN_CLASS)
        else:
            assert not isinstance(command, Undecodable)


NEGATIVE_CONTENT = {
    "neg_no_content": (None, Fault.BAD_ENVELOPE),
    "neg_v3_with_via": ("com.cloud.agent.api.CheckHealthCommand", Fault.BAD_ENVELOPE),
    "neg_not_json": (None, Fault.BAD_ENVELOPE),
    "neg_truncated_json": ("com.cloud.agent.api.CheckHealthCommand", Fault.BAD_ENVELOPE),
    "neg_object_not_array": (None, Fault.BAD_ENVELOPE),
    "neg_null_document": (None, Fault.BAD_ENVELOPE),
    "neg_element_not_object": (None, Fault.BAD_ENVELOPE),
    "neg_empty_element": (None, Fault.BAD_ENVELOPE),
    "neg_response_trailing": ("com.cloud.agent.api.Answer", Fault.BAD_ENVELOPE),
}
NEGATIVE = [line for line in read_lines("frames.jsonl") if line.get("level") == "json"]


@pytest.mark.parametrize("line", NEGATIVE, ids=name_of)
def test_refused_content_is_a_fault_with_a_reason(line: Line) -> None:
    frame = bytes.fromhex(line["frame_hex"])
    kind = "request" if frame[3] & 1 else "response"
    text, faults = reencode(kind, frame[40:] if frame[0] == 0 else frame[32:])
    assert text == "[]"
    assert {(f.class_name, f.kind) for f in faults} == {NEGATIVE_CONTENT[line["name"]]}
    assert all(fault.reason for fault in faults)


# -- parser-behaviour.jsonl ---------------------------------------------------------------------

PARSER = [
    line
    for line in read_lines("parser-behaviour.jsonl")
    if line["kind"] != "frame" and not line["name"].startswith("frame.")
]
KEPT_AS_TEXT = "an unknown constant is kept as text (wire-protocol.md 11)"
CONTEXT_MAP = "contextMap is always written (wire-protocol.md 0.10)"
DATES = "dates are text, never read (wire-protocol.md 11)"
ALLOWED_HERE = {
    "request.pool-type-unknown": KEPT_AS_TEXT,
    "request.hypervisor-unknown": KEPT_AS_TEXT,
    "request.upload-command": "the class has one url, so it can be read",
    "request.date-jdk20-space": DATES,
    "request.date-millis": DATES,
}
REWRITTEN = {
    "request.missing-fields-no-ctor": CONTEXT_MAP,
    "request.null-primitive": CONTEXT_MAP,
    "response.no-ctor-class-minimal": CONTEXT_MAP,
    "response.new-data-wrapped": CONTEXT_MAP,
    "response.get-datadisks-minimal": f"{CONTEXT_MAP}; dataDiskDetails is always a list",
    "request.unknown-enum": KEPT_AS_TEXT,
    "request.enum-number": KEPT_AS_TEXT,
    "request.hypervisor-number": KEPT_AS_TEXT,
    "response.download-status-unknown": KEPT_AS_TEXT,
    "response.location-unknown": f"{CONTEXT_MAP}; {KEPT_AS_TEXT}",
    "request.enum-lower-case": "constants in any case (wire-protocol.md 11)",
    "request.list-with-null": "nulls in lists are left out",
    "request.date-iso": DATES,
    "request.date-old": DATES,
    "response.union-of-stats-fields": "the names of 4.5 are read too",
}


def java_refuses(line: Line) -> bool:
    """Whether the reference reader has no command or answer of the class that was sent."""
    result = line["parser_result"]
    return "BadCommand" in result or not result.startswith("accepts") or "null" in result


@pytest.mark.parametrize("line", PARSER, ids=name_of)
def test_odd_content_is_read_as_recorded(line: Line) -> None:
    text, faults = reencode(line["kind"], line["content"].encode())
    name = line["name"]
    if name in ALLOWED_HERE:
        assert not faults
    elif java_refuses(line):
        assert faults
        assert all(fault.reason for fault in faults)
    elif name in REWRITTEN:
        assert not faults
        assert text != ascii_only(line["reserialised"]), "no longer an exception: remove it"
    else:
        assert not faults
        assert text == ascii_only(line["reserialised"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("request.int-as-bad-string", "$.wait: expected a number, found text that is none"),
        ("request.bool-as-int", "$.bypassHostMaintenance: expected true or false, found a number"),
        ("request.string-as-object", "$.hostName: expected text, found an empty object"),
        ("request.null-body", "$: expected an object, found null"),
        (
            "request.wrapped-unknown",
            "$.store: expected a DataStoreTO, found the unknown class com.cloud.agent.api.to.NoTO",
        ),
        (
            "request.bytes-too-big",
            (
                "$.data['org.apache.cloudstack.storage.to.VolumeObjectTO'].passphrase: "
                "expected bytes, found a number out of range"
            ),
        ),
    ],
)
def test_unreadable_field_is_named_by_its_path(name: str, expected: str) -> None:
    """wire-protocol.md 11: the JSON path and what was expected, in the class's own answer."""
    (line,) = (line for line in PARSER if line["name"] == name)
    _, (fault,) = reencode(line["kind"], line["content"].encode())
    assert (fault.kind, fault.reason) == (Fault.BAD_FIELDS, expected)
    assert fault.class_name
    assert fault.class_name in line["content"]


# -- java-parser-cases.jsonl --------------------------------------------------------------------

CASES = read_lines("java-parser-cases.jsonl")
FRAME_LEVEL = {"odd_compressed_size_too_big", "odd_compressed_bad_crc"}
READ_HERE = {
    "neg_unknown_hypervisor": KEPT_AS_TEXT,
    "neg_unknown_pool_type": "constants in any case, " + KEPT_AS_TEXT,
    "neg_upload_command_duplicate_field": "the class has one url, so it can be read",
}
REDECODED = {
    "odd_unknown_enum": KEPT_AS_TEXT,
    "odd_missing_context_map": CONTEXT_MAP,
}


def content_of(line: Line) -> tuple[str, bytes]:
    frame = bytes.fromhex(line["frame_hex"])
    body = frame[32:] if frame[0] == 2 else frame[40:]
    return "request" if frame[3] & 1 else "response", (
        gzip.decompress(body) if frame[3] & 0x80 else body
    )


@pytest.mark.parametrize(
    "line", [line for line in CASES if line["name"] not in FRAME_LEVEL], ids=name_of
)
def test_case_that_needs_the_classes_is_read_as_recorded(line: Line) -> None:
    kind, content = content_of(line)
    text, faults = reencode(kind, content)
    name = line["name"]
    if line["expect"] == "ok" or name in READ_HERE:
        assert not faults
        wanted = line.get("java_redecoded")
        if wanted is not None:
            assert (text == ascii_only(wanted)) == (name not in REDECODED)
    else:
        assert faults
        assert all(fault.reason for fault in faults)


def test_unknown_class_second_leaves_the_first_command_readable() -> None:
    """Differs: wire-protocol.md 11: one UnsupportedAnswer for that position."""
    (line,) = (line for line in CASES if line["name"] == "neg_unknown_class_second")
    first, second = decode_commands(content_of(line)[1])
    assert not isinstance(first, Undecodable)
    assert isinstance(second, Undecodable)
    assert second.class_name == "com.cloud.agent.api.NoSuchCommand"
