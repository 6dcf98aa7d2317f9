# SPDX-License-Identifier: Apache-2.0
"""Recorded frames: each line decodes to its header and content and encodes to the same bytes."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.wire.chunks import MAX_PLAINTEXT, ChunkReader, chunk_header
from ssvm_agent.wire.connection import (
    BadFrame,
    Connection,
    RequestReceived,
    ResponseReceived,
    Role,
    SequenceCounter,
    State,
)
from ssvm_agent.wire.errors import FrameError
from ssvm_agent.wire.frame import Frame, decode_frame, encode_frame
from ssvm_agent.wire.header import HEADER_SIZE, Flag, Header, decode_header

DATA = Path(__file__).parents[2] / "data" / "vectors"

Line = dict[str, Any]


def read_lines(name: str) -> list[Line]:
    """The objects of a vector file, one a line."""
    with (DATA / name).open(encoding="ascii") as file:
        return [json.loads(line) for line in file]


LINES = read_lines("frames.jsonl")
GOOD = [line for line in LINES if line.get("expect") != "error"]
BAD = [line for line in LINES if line.get("expect") == "error" and line["level"] == "frame"]
CHUNKED = [line for line in GOOD if "link_hex" in line]
VERSION_3 = [
    line for line in read_lines("java-parser-cases.jsonl") if line["name"] == "version3_request"
]


def name_of(line: Line) -> str:
    """The name of a vector, for the test's id."""
    return str(line["name"])


def as_vector_header(header: Header) -> dict[str, object]:
    """A header under the names the vectors use."""
    return {
        "version": header.version,
        "reserved": header.reserved,
        "flags": header.flags,
        "flag_names": header.flag_names(),
        "sequence": header.sequence,
        "content_length": header.content_length,
        "mgmt_id": header.management_server_id,
        "agent_id": header.agent_id,
        "via": header.via,
    }


def open_connection(line: Line) -> Connection:
    """The receiving side of a line, with the link already open."""
    if line.get("direction") == "from_agent":
        return Connection(Role.MANAGEMENT_SERVER)
    connection = Connection(Role.AGENT)
    connection.send_request(b"[]", flags=0)
    return connection


def test_the_vectors_are_all_here() -> None:
    assert len(GOOD) == 380
    assert len(BAD) == 10
    assert len(CHUNKED) == 134
    assert len(VERSION_3) == 1


@pytest.mark.parametrize("line", GOOD, ids=name_of)
def test_a_frame_decodes_to_its_header_and_content(line: Line) -> None:
    """wire-protocol.md 2 and 3."""
    frame = decode_frame(bytes.fromhex(line["frame_hex"]))
    assert as_vector_header(frame.header) == line["header"]
    assert frame.content == line["content"].encode()
    assert not frame.length_is_wrong


@pytest.mark.parametrize("line", GOOD, ids=name_of)
def test_a_frame_encodes_to_the_same_bytes(line: Line) -> None:
    """wire-protocol.md 9: compressed bodies are compared after inflating."""
    expected = bytes.fromhex(line["frame_hex"])
    content = line["content"].encode()
    header, _ = decode_header(expected)
    encoded = encode_frame(Frame(header=header, content=content))
    if header.is_compressed:
        assert encoded[:HEADER_SIZE] == expected[:HEADER_SIZE]
        assert zlib.decompress(encoded[HEADER_SIZE:], wbits=31) == content
    else:
        assert encoded == expected


@pytest.mark.parametrize("line", GOOD, ids=name_of)
def test_a_connection_reports_the_frame(line: Line) -> None:
    connection = open_connection(line)
    [event] = connection.receive_plaintext(bytes.fromhex(line["frame_hex"]), last=True)
    kind = RequestReceived if line["kind"] == "request" else ResponseReceived
    assert isinstance(event, kind)
    assert event.content == line["content"].encode()


@pytest.mark.parametrize("line", CHUNKED, ids=name_of)
def test_a_link_stream_is_cut_into_the_chunks_of_its_frame(line: Line) -> None:
    """wire-protocol.md 1.1 and 9; the recorded link carries clear text in place of TLS records."""
    stream, frame = bytes.fromhex(line["link_hex"]), bytes.fromhex(line["frame_hex"])
    chunks = ChunkReader().feed(stream)
    assert b"".join(chunk.payload for chunk in chunks) == frame
    assert [chunk.more for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    connection = open_connection(line)
    events = [
        event
        for chunk in chunks
        for event in connection.receive_plaintext(chunk.payload, last=not chunk.more)
    ]
    assert len(events) == 1


@pytest.mark.parametrize("line", CHUNKED, ids=name_of)
def test_a_frame_is_cut_into_the_same_chunks(line: Line) -> None:
    frame = bytes.fromhex(line["frame_hex"])
    stream = b""
    for start in range(0, len(frame), MAX_PLAINTEXT):
        piece = frame[start : start + MAX_PLAINTEXT]
        stream += chunk_header(len(piece), start + MAX_PLAINTEXT < len(frame)) + piece
    assert stream.hex() == line["link_hex"]


@pytest.mark.parametrize("line", BAD, ids=name_of)
def test_a_bad_frame_is_refused(line: Line) -> None:
    """wire-protocol.md 7 and 11; a truncated or damaged gzip is refused too."""
    with pytest.raises(FrameError):
        decode_frame(bytes.fromhex(line["frame_hex"]))


@pytest.mark.parametrize("line", BAD, ids=name_of)
def test_a_bad_frame_leaves_the_link_open(line: Line) -> None:
    """wire-protocol.md 7: the frame is dropped, the link stays."""
    connection = open_connection({"direction": "from_agent"})
    [event] = connection.receive_plaintext(bytes.fromhex(line["frame_hex"]), last=True)
    assert isinstance(event, BadFrame)
    assert connection.state is State.OPEN


@pytest.mark.parametrize("line", VERSION_3, ids=name_of)
def test_a_version_3_request_is_read_and_answered_with_version_0(line: Line) -> None:
    """wire-protocol.md 2: 32 bytes when read, and our answer carries 40."""
    connection = open_connection(line)
    [event] = connection.receive_plaintext(bytes.fromhex(line["frame_hex"]), last=True)
    assert isinstance(event, RequestReceived)
    assert as_vector_header(event.header) == line["header"]
    assert event.content == line["content"].encode()
    answer = connection.send_response(event.header, b"[]")
    assert answer[0] == 0
    assert decode_frame(answer).header.via == event.header.via


def test_a_recorded_request_is_answered_with_the_recorded_head() -> None:
    """wire-protocol.md 8: CheckHealthCommand and its answer."""
    request = Header(
        flags=0x23,
        sequence=0x1A2B00000000000D,
        management_server_id=345052215515,
        agent_id=5,
        via=5,
    )
    answer = (
        b'[{"com.cloud.agent.api.CheckHealthAnswer":{"result":true,"details":"resource is alive",'
        b'"contextMap":{},"wait":0,"bypassHostMaintenance":false}}]'
    )
    frame = encode_frame(Frame(header=request.response(), content=answer))
    assert frame[:HEADER_SIZE].hex(" ", 4) == (
        "00000002 1a2b0000 0000000d 00000090 00000050 56b6f8db 00000000 00000005 00000000 00000005"
    )


def test_the_agent_numbers_its_first_startup_as_recorded() -> None:
    """wire-protocol.md 8: flags 0x05, sequence 0, all ids -1."""
    [line] = [line for line in GOOD if line["name"] == "startup_first_boot"]
    frame = Connection(Role.AGENT, sequences=SequenceCounter()).send_request(
        line["content"].encode(), flags=Flag.IN_SEQUENCE
    )
    assert frame.hex() == line["frame_hex"]
