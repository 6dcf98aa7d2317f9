# SPDX-License-Identifier: Apache-2.0
"""Whatever way the input is cut, the events are the same; whatever is encoded, decodes."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ssvm_agent.wire.chunks import MAX_PLAINTEXT, ChunkReader, chunk_header
from ssvm_agent.wire.connection import Connection, Event, Role
from ssvm_agent.wire.errors import FrameError, RemoteProtocolError
from ssvm_agent.wire.frame import Frame, decode_frame, encode_frame
from ssvm_agent.wire.header import Header

INT64 = st.integers(-(2**63), 2**63 - 1)
HEADERS = st.builds(
    Header,
    flags=st.integers(0, 0xFFFF),
    sequence=INT64,
    management_server_id=INT64,
    agent_id=INT64,
    via=INT64,
)
# Long contents are made of a repeated piece, or generating them would be the whole test.
CONTENTS = st.one_of(
    st.binary(max_size=200),
    st.tuples(st.binary(min_size=1, max_size=50), st.integers(0, 2000)).map(lambda t: t[0] * t[1]),
)
FRAMES = st.builds(Frame, header=HEADERS, content=CONTENTS)


def cut(data: bytes, marks: list[int]) -> list[bytes]:
    """The data in pieces that end at the marks."""
    edges = sorted({0, len(data), *(mark % (len(data) + 1) for mark in marks)})
    return [data[start:end] for start, end in pairwise(edges)]


def chunked(frame: bytes, marks: list[int]) -> bytes:
    """A frame as chunks cut at the marks, none longer than a record holds."""
    pieces = [
        piece[start : start + MAX_PLAINTEXT]
        for piece in cut(frame, marks)
        for start in range(0, len(piece), MAX_PLAINTEXT)
    ]
    return b"".join(
        chunk_header(len(piece), index < len(pieces) - 1) + piece
        for index, piece in enumerate(pieces)
    )


def receive(pieces: list[bytes]) -> list[Event]:
    """What the server's side makes of a stream in these pieces."""
    reader, connection = ChunkReader(), Connection(Role.MANAGEMENT_SERVER)
    return [
        event
        for piece in pieces
        for chunk in reader.feed(piece)
        for event in connection.receive_plaintext(chunk.payload, last=not chunk.more)
    ]


MARKS = st.lists(st.integers(0, 1 << 20), max_size=12)


@given(st.lists(FRAMES, min_size=1, max_size=4), MARKS, MARKS)
def test_any_split_of_the_input_gives_the_same_events(
    frames: list[Frame], chunk_marks: list[int], segment_marks: list[int]
) -> None:
    encoded = [encode_frame(frame) for frame in frames]
    whole = receive([chunk_header(0, more=True), *(chunked(data, []) for data in encoded)])
    stream = b"".join(chunked(data, chunk_marks) for data in encoded)
    assert receive(cut(stream, segment_marks)) == whole
    assert [event.content for event in whole if hasattr(event, "content")] == [
        frame.content for frame in frames
    ]


@given(FRAMES)
def test_decoding_undoes_encoding(frame: Frame) -> None:
    decoded = decode_frame(encode_frame(frame))
    assert decoded.content == frame.content
    for name in ("sequence", "management_server_id", "agent_id", "via"):
        assert getattr(decoded.header, name) == getattr(frame.header, name)
    assert decoded.header.flags | 0x80 == frame.header.flags | 0x80


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_understood_but_never_crashes(data: bytes) -> None:
    with suppress(FrameError):
        decode_frame(data)


@given(st.lists(st.binary(max_size=64), max_size=20))
def test_a_garbage_stream_ends_in_events_or_a_protocol_error(pieces: list[bytes]) -> None:
    with suppress(RemoteProtocolError):
        receive(pieces)
