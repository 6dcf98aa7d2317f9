# SPDX-License-Identifier: Apache-2.0
"""What the headers of xz and zstd streams ask for, by the usual programs."""

from __future__ import annotations

import lzma
import os
import subprocess

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ssvm_agent.images.compression import (
    MOST_DECODING_BYTES,
    Compression,
    Decoder,
    decoding_memory_bytes,
)
from ssvm_agent.images.dictionaries import xz_dictionary_bytes, zstd_window_bytes
from ssvm_agent.images.errors import CompressionError

MIB = 1 << 20
BODY = os.urandom(3 * MIB) + bytes(MIB)


def xz(dictionary_bytes: int, body: bytes = BODY) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": dictionary_bytes}]
    return lzma.compress(body, lzma.FORMAT_XZ, filters=filters)


def zstd(window_log: int, body: bytes = BODY) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return stream.compress(body) + stream.flush()


@pytest.mark.parametrize("size", [1 << 12, 3 << 20, 8 << 20, 64 << 20, 96 << 20, 1 << 30])
def test_the_dictionary_of_xz(size: int) -> None:
    assert xz_dictionary_bytes(xz(size, b"x")[:512]) == size


@pytest.mark.needs("xz")
@pytest.mark.parametrize(
    ("words", "size"), [("-6", 8 << 20), ("-T2 -9", 64 << 20), ("--x86 --lzma2=dict=5MiB", 6 << 20)]
)
def test_the_dictionary_of_the_program(words: str, size: int) -> None:
    made = subprocess.run(["xz", *words.split()], input=BODY, capture_output=True, check=True)
    assert 5 << 20 <= xz_dictionary_bytes(made.stdout[:512]) <= size


@pytest.mark.parametrize("log", [10, 21, 27, 30])
def test_the_window_of_zstd(log: int) -> None:
    assert zstd_window_bytes(zstd(log, b"x")[:512]) == 1 << log


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65791, 65792, MIB])
def test_a_frame_in_one_piece_needs_its_content(size: int) -> None:
    made = zstandard.ZstdCompressor(write_content_size=True).compress(bytes(size))
    assert zstd_window_bytes(made[:512]) in {size, 1 << 10}


@given(st.binary(max_size=40))
def test_no_header_is_no_trouble(data: bytes) -> None:
    assert xz_dictionary_bytes(data) >= 0
    assert zstd_window_bytes(data) >= 0


@pytest.mark.parametrize(
    ("compression", "head", "need"),
    [
        (Compression.XZ, xz(1 << 20, b"x"), 16 * MIB),
        (Compression.XZ, xz(64 << 20, b"x"), 65 * MIB),
        (Compression.XZ, xz(1 << 30, b"x"), MOST_DECODING_BYTES),
        (Compression.ZSTD, zstd(27, b"x"), 129 * MIB),
        (Compression.GZIP, b"\x1f\x8b\x08", 0),
    ],
)
def test_what_decoding_needs(compression: Compression, head: bytes, need: int) -> None:
    assert decoding_memory_bytes(compression, head[:512]) == need


@pytest.mark.parametrize(
    ("compression", "fits", "too_large"),
    [(Compression.XZ, xz(12 << 20), xz(24 << 20)), (Compression.ZSTD, zstd(24), zstd(25))],
)
def test_a_stream_gets_what_its_beginning_asks_for(
    compression: Compression, fits: bytes, too_large: bytes
) -> None:
    """A later part that wants more is refused by name."""
    decoder = Decoder(compression, max_output_bytes=1 << 30, memory_bytes=16 * MIB)
    assert b"".join(decoder.feed(fits)) == BODY
    with pytest.raises(CompressionError, match="dictionary too large for this machine, or for"):
        list(decoder.feed(too_large))


@pytest.mark.parametrize("made", [xz(1 << 20), xz(64 << 20), zstd(20), zstd(27)])
def test_what_is_reckoned_suffices(made: bytes) -> None:
    compression = Compression.XZ if made.startswith(b"\xfd7zXZ") else Compression.ZSTD
    need = decoding_memory_bytes(compression, made[:512])
    decoder = Decoder(compression, max_output_bytes=1 << 30, memory_bytes=need)
    assert b"".join(decoder.feed(made)) == BODY
    decoder.finish()
