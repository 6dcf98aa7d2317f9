# SPDX-License-Identifier: Apache-2.0
"""Frames: compression by size, refusal of what is damaged or too long."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest

from ssvm_agent.wire.errors import FrameError, LocalProtocolError
from ssvm_agent.wire.frame import COMPRESS_FROM_BYTES, Frame, decode_frame, encode_frame
from ssvm_agent.wire.header import HEADER_SIZE, Flag, Header, decode_header, encode_header
from ssvm_agent.wire.limits import Limits

HEADER = Header(flags=0x23, sequence=7)
CONTENT = b'[{"some.Command":{"wait":0}}]'


def raw_frame(body: bytes, *, stated: int, compressed: bool = True) -> bytes:
    """A frame put together by hand, right or wrong."""
    flags = HEADER.flags | (Flag.COMPRESSED if compressed else 0)
    return encode_header(replace(HEADER, flags=flags, content_length=stated)) + body


@pytest.mark.parametrize("size", [0, 1, COMPRESS_FROM_BYTES - 1, COMPRESS_FROM_BYTES, 100_000])
def test_compression_begins_at_8192_bytes(size: int) -> None:
    """wire-protocol.md 3: 8191 stays plain."""
    data = encode_frame(Frame(header=HEADER, content=b"x" * size))
    header, _ = decode_header(data)
    assert header.is_compressed == (size >= COMPRESS_FROM_BYTES)
    assert header.content_length == size
    assert decode_frame(data).content == b"x" * size


def test_the_flag_decides_not_the_size() -> None:
    """wire-protocol.md 3: a short compressed content and a long plain one are both fine."""
    short = raw_frame(gzip.compress(CONTENT), stated=len(CONTENT))
    assert decode_frame(short).content == CONTENT
    long = raw_frame(b"y" * 20_000, stated=20_000, compressed=False)
    assert decode_frame(long).content == b"y" * 20_000


def test_a_stale_compression_flag_is_not_sent() -> None:
    header = replace(HEADER, flags=HEADER.flags | Flag.COMPRESSED)
    assert not decode_header(encode_frame(Frame(header=header, content=CONTENT)))[0].is_compressed


def test_a_plain_content_of_another_length_is_accepted() -> None:
    """wire-protocol.md 11: accepted, and the caller may say so once."""
    frame = decode_frame(raw_frame(CONTENT, stated=9999, compressed=False))
    assert frame.content == CONTENT
    assert frame.length_is_wrong


@pytest.mark.parametrize(
    ("body", "stated"),
    [
        (gzip.compress(CONTENT), len(CONTENT) - 1),
        (gzip.compress(CONTENT), len(CONTENT) + 1),
        (gzip.compress(CONTENT), -1),
        (gzip.compress(CONTENT)[:-1], len(CONTENT)),
        (gzip.compress(CONTENT)[:-8] + bytes(8), len(CONTENT)),
        (gzip.compress(CONTENT) + b"junk", len(CONTENT)),
        (gzip.compress(CONTENT) + gzip.compress(b""), len(CONTENT)),
        (b"", 0),
        (CONTENT, len(CONTENT)),
        (gzip.compress(b"x"), 0),
    ],
    ids=["more", "less", "negative", "cut", "checksum", "junk", "two", "empty", "plain", "zero"],
)
def test_a_compressed_content_must_be_exactly_what_it_claims(body: bytes, stated: int) -> None:
    """wire-protocol.md 11: anything else and the frame is refused."""
    with pytest.raises(FrameError):
        decode_frame(raw_frame(body, stated=stated))


def test_an_empty_compressed_content_is_fine() -> None:
    assert decode_frame(raw_frame(gzip.compress(b""), stated=0)).content == b""


def test_a_bomb_is_stopped_at_the_stated_length() -> None:
    bomb = gzip.compress(bytes(1 << 20))
    with pytest.raises(FrameError, match="more than the stated 100"):
        decode_frame(raw_frame(bomb, stated=100))


def test_a_stated_length_over_the_cap_is_refused_before_inflating() -> None:
    with pytest.raises(FrameError, match="impossible length"):
        decode_frame(
            raw_frame(gzip.compress(CONTENT), stated=101), limits=Limits(max_content_bytes=100)
        )


def test_a_plain_content_over_the_cap_is_refused() -> None:
    with pytest.raises(FrameError, match="over the limit"):
        decode_frame(
            raw_frame(bytes(101), stated=101, compressed=False),
            limits=Limits(max_content_bytes=100),
        )


def test_a_content_over_the_cap_is_not_sent() -> None:
    with pytest.raises(LocalProtocolError):
        encode_frame(Frame(header=HEADER, content=bytes(11)), limits=Limits(max_content_bytes=10))


def test_the_head_is_forty_bytes() -> None:
    assert len(encode_frame(Frame(header=HEADER, content=b""))) == HEADER_SIZE
