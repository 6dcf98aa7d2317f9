# SPDX-License-Identifier: Apache-2.0
"""Decoding never raises; encoding and decoding are inverse; nothing but ASCII leaves."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ssvm_agent.messages.agent import ReadyCommand
from ssvm_agent.messages.base import (
    FAMILIES,
    Answer,
    Command,
    FieldPlan,
    Mark,
    Message,
    TransferObject,
    fields_of,
)
from ssvm_agent.messages.catalogue import CATALOGUE
from ssvm_agent.messages.delete import DeleteCommand
from ssvm_agent.messages.envelope import (
    Undecodable,
    decode_answers,
    decode_commands,
    encode_answers,
    encode_commands,
)
from ssvm_agent.messages.objects import (
    BackupDeltaTO,
    SnapshotObjectTO,
    TemplateObjectTO,
    VolumeObjectTO,
)
from ssvm_agent.messages.stores import S3TO, ImageStoreTO, NfsTO, PrimaryDataStoreTO, SwiftTO

COMMANDS = sorted({row.command for row in CATALOGUE}, key=lambda c: c.__name__)
ANSWERS = sorted({row.answer for row in CATALOGUE}, key=lambda c: c.__name__)
MEMBERS: dict[type[TransferObject], tuple[type[Message], ...]] = {
    FAMILIES[0]: (NfsTO, S3TO, SwiftTO, ImageStoreTO, PrimaryDataStoreTO),
    FAMILIES[1]: (TemplateObjectTO, VolumeObjectTO, SnapshotObjectTO, BackupDeltaTO),
}

# Texts without lone halves: those are sent as question marks, by design.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=12,
)


def plain(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a bare field type."""
    if annotation is str:
        return texts
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        return st.integers(-(2**63), 2**63 - 1)
    if annotation is bytes:
        return st.binary(max_size=8)
    if annotation is Any:
        return texts
    if isinstance(annotation, type) and issubclass(annotation, Message):
        return messages(annotation)
    origin, arguments = annotation.__origin__, annotation.__args__
    if origin is list:
        return st.lists(plain(arguments[0]), max_size=2)
    return st.dictionaries(plain(arguments[0]), plain(arguments[1]), max_size=2)


def values(field: FieldPlan) -> st.SearchStrategy[Any]:
    if field.family is not None:
        return st.one_of(*(messages(member) for member in MEMBERS[field.family]))
    if field.constants is not None:
        return st.sampled_from([member.value for member in field.constants])
    if Mark.INT32 in field.marks:
        return st.integers(-(2**31), 2**31 - 1)
    return plain(field.annotation)


@st.composite
def messages(draw: st.DrawFn, struct: type[Message]) -> Message:
    """A message with some of its fields set."""
    chosen = draw(st.sets(st.sampled_from(fields_of(struct)), max_size=4))
    return struct(**{field.name: draw(values(field)) for field in chosen})


@given(st.data(), st.sampled_from(COMMANDS))
def test_command_survives_the_way(data: st.DataObject, struct: type[Command]) -> None:
    sent = data.draw(messages(struct))
    assert isinstance(sent, Command)
    content = encode_commands([sent])
    assert content.isascii()
    assert not set(b"<>&='") & set(content)
    assert decode_commands(content) == [sent]
    json.loads(content)


@given(st.data(), st.sampled_from(ANSWERS))
def test_answer_survives_the_way(data: st.DataObject, struct: type[Answer]) -> None:
    sent = data.draw(messages(struct))
    assert isinstance(sent, Answer)
    if struct.__name__ == "PingAnswer":
        sent = struct()
    assert decode_answers(encode_answers([sent])) == [sent]


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_decode_to_something(content: bytes) -> None:
    """The commands of a request, or a fault that has a reason."""
    for found in (*decode_commands(content), *decode_answers(content)):
        assert not isinstance(found, Undecodable) or found.reason


@settings(max_examples=300)
@given(st.text(alphabet="[]{}:,;=\"'\\/*#ab10\n u\ufeff\x00", max_size=60))
def test_almost_json_decodes_to_something(text: str) -> None:
    for found in decode_commands(text.encode()):
        assert not isinstance(found, Undecodable) or found.reason


@settings(max_examples=300)
@given(st.sampled_from(COMMANDS), st.data())
def test_any_json_in_a_field_is_read_or_named(struct: type[Command], data: st.DataObject) -> None:
    """wire-protocol.md 11: the answer tells the path; other commands are not touched."""
    field = data.draw(st.sampled_from(fields_of(struct)))
    name = next(row.class_name for row in CATALOGUE if row.command is struct)
    content = json.dumps([{name: {field.wire: data.draw(json_values)}}, {name: {}}])
    found, other = decode_commands(content.encode())
    assert other == struct()
    if isinstance(found, Undecodable):
        assert found.class_name == name
        assert found.reason.startswith(f"$.{field.wire}")
    else:
        encode_commands([found])


@given(st.text(st.characters(), max_size=20))
def test_every_text_can_be_sent(text: str) -> None:
    """File names that are not UTF-8 hold lone halves; they must not keep an answer back."""
    content = encode_answers([Answer(result=False, details=text)])
    (body,) = json.loads(content)[0].values()
    assert body["details"] == text.encode(errors="replace").decode()


@given(st.integers())
def test_numbers_lose_their_upper_bits_like_the_servers(number: int) -> None:
    """wire-protocol.md 4: ints and longs are cut, whatever number arrives."""
    content = json.dumps([{"com.cloud.agent.api.ReadyCommand": {"wait": number, "hostId": number}}])
    (command,) = decode_commands(content.encode())
    assert isinstance(command, ReadyCommand)
    assert command.host_id is not None
    assert (command.wait - number) % 2**32 == 0
    assert (command.host_id - number) % 2**64 == 0
    assert -(2**31) <= command.wait < 2**31
    assert -(2**63) <= command.host_id < 2**63


def test_deeply_nested_content_is_a_fault() -> None:
    for content in (b"[" * 100_000, b'{"a":' * 100_000, b"[" * 900 + b"]" * 900):
        (found,) = decode_commands(content)
        assert isinstance(found, Undecodable)


def test_unknown_fields_of_any_depth_are_ignored() -> None:
    nested = b'{"x":' * 300 + b"1" + b"}" * 300
    name = b"org.apache.cloudstack.storage.command.DeleteCommand"
    assert decode_commands(b'[{"' + name + b'":{"zzz":' + nested + b"}}]") == [DeleteCommand()]
