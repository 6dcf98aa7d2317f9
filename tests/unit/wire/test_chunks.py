# SPDX-License-Identifier: Apache-2.0
"""The four-byte framing outside TLS."""

from __future__ import annotations

import pytest

from ssvm_agent.wire.chunks import MAX_CHUNK, Chunk, ChunkReader, chunk_header
from ssvm_agent.wire.errors import LocalProtocolError, RemoteProtocolError


def test_the_head_holds_length_and_continuation() -> None:
    """wire-protocol.md 1.1: a full AES-GCM chunk is 0x401d bytes."""
    assert chunk_header(0x401D, more=True) == bytes.fromhex("0001401d")
    assert chunk_header(0x00AB, more=False) == bytes.fromhex("000000ab")


@pytest.mark.parametrize("length", [-1, MAX_CHUNK + 1])
def test_a_chunk_no_peer_reads_is_not_made(length: int) -> None:
    with pytest.raises(LocalProtocolError):
        chunk_header(length, more=False)


def test_several_chunks_in_one_segment_are_told_apart() -> None:
    reader = ChunkReader()
    data = chunk_header(2, more=True) + b"ab" + chunk_header(1, more=False) + b"c"
    assert reader.feed(data) == [Chunk(b"ab", True), Chunk(b"c", False)]
    assert reader.pending_bytes == 0


def test_a_chunk_may_come_byte_by_byte() -> None:
    reader = ChunkReader()
    data = chunk_header(3, more=False) + b"abc"
    results = [reader.feed(data[i : i + 1]) for i in range(len(data))]
    assert results[:-1] == [[]] * (len(data) - 1)
    assert results[-1] == [Chunk(b"abc", False)]


def test_the_upper_bits_are_ignored() -> None:
    """wire-protocol.md 1.1: bits 17 to 31 are ignored when read."""
    assert ChunkReader().feed(bytes.fromhex("fffe0001") + b"a") == [Chunk(b"a", False)]


def test_an_empty_chunk_is_a_chunk() -> None:
    assert ChunkReader().feed(bytes(4)) == [Chunk(b"", False)]
    assert ChunkReader().feed(chunk_header(0, more=True)) == [Chunk(b"", True)]


def test_the_longest_chunk_is_read_and_one_more_is_refused() -> None:
    """wire-protocol.md 1.1: 18000 is accepted, 18001 closes."""
    [chunk] = ChunkReader().feed(chunk_header(MAX_CHUNK, more=False) + bytes(MAX_CHUNK))
    assert len(chunk.payload) == MAX_CHUNK
    with pytest.raises(RemoteProtocolError, match="18001"):
        ChunkReader().feed((MAX_CHUNK + 1).to_bytes(4, "big"))


def test_a_negative_length_is_refused() -> None:
    """wire-protocol.md 1.1: taken as a signed 16-bit value by the peer."""
    with pytest.raises(RemoteProtocolError):
        ChunkReader().feed(bytes.fromhex("00008000"))


def test_a_broken_stream_stays_broken() -> None:
    reader = ChunkReader()
    with pytest.raises(RemoteProtocolError):
        reader.feed(b"\0\0\xff\xff")
    with pytest.raises(LocalProtocolError):
        reader.feed(b"")
