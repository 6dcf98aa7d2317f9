# SPDX-License-Identifier: Apache-2.0
"""Taking gzip, bzip2, xz and raw deflate apart in bounded pieces.

Every codec takes input of any size and yields output pieces of at most :data:`PIECE_BYTES`. Streams
that follow each other are one (parallel compressors write them so); anything else that follows is
junk and refused, except zeros used as padding.
"""

from __future__ import annotations

import bz2
import functools
import importlib.util
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol, cast

from ssvm_agent.images.errors import CompressionError

PIECE_BYTES = 1 << 20
"""The largest piece of output handed out at once."""

_INPUT_STEP_BYTES = 64 << 10
_MANY_STREAMS, _MANY_BYTES = 1000, 1 << 20
"""More streams than this for each mebibyte of output only cost time; no compressor writes them."""


# What liblzma says through lzma.LZMAError, which has no codes.
_TOO_LITTLE_MEMORY = "Memory usage limit"


class Decompressor(Protocol):
    """What ``bz2.BZ2Decompressor`` and its kin have in common."""

    @property
    def eof(self) -> bool:
        """Whether the end of the stream has been reached."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether more output needs more input."""
        ...

    @property
    def unused_data(self) -> bytes:
        """Input behind the end of the stream."""
        ...

    def decompress(self, data: bytes | memoryview, max_length: int = -1) -> bytes:
        """Take input, return at most ``max_length`` bytes of output."""
        ...


class Codec(Protocol):
    """A push decoder of one wrapper format."""

    def feed(self, data: memoryview) -> Iterator[bytes | memoryview]:
        """Take input; yield what comes out of it. The iterator must be exhausted."""
        ...

    def finish(self) -> None:
        """Check that the input is complete."""
        ...


class ZlibDecompressor:
    """The standard library's inflate with the interface of the others."""

    def __init__(self, window_bits: int) -> None:
        self._inflate = zlib.decompressobj(window_bits)
        self._more = True

    @property
    def eof(self) -> bool:
        """Whether the end of the stream has been reached."""
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        """Whether more output needs more input."""
        return self._more and not self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        """Input behind the end of the stream."""
        return self._inflate.unused_data

    def decompress(self, data: bytes | memoryview, max_length: int = -1) -> bytes:
        """Take input, return at most ``max_length`` bytes of output."""
        held = self._inflate.unconsumed_tail
        piece = self._inflate.decompress(held + data if held else data, max(max_length, 0))
        # A full piece may have left output inside, whether or not input is left as well.
        self._more = not self._inflate.unconsumed_tail and len(piece) != max_length
        return piece


def inflater(*, raw: bool) -> Decompressor:
    """An inflate decompressor for gzip, or for the raw deflate data inside a ZIP."""
    if importlib.util.find_spec("isal") is None:
        return ZlibDecompressor(-zlib.MAX_WBITS if raw else zlib.MAX_WBITS | 16)
    from isal import igzip_lib

    flag = igzip_lib.DECOMP_DEFLATE if raw else igzip_lib.DECOMP_GZIP
    return cast("Decompressor", igzip_lib.IgzipDecompressor(flag=flag))


@functools.cache
def codec_errors() -> tuple[type[Exception], ...]:
    """What the codec libraries raise about damaged data."""
    errors: tuple[type[Exception], ...] = (
        OSError, EOFError, ValueError, lzma.LZMAError, zlib.error,
    )  # fmt: skip
    if importlib.util.find_spec("isal") is None:
        return errors
    from isal import igzip_lib

    return (*errors, cast("type[Exception]", igzip_lib.IsalError))


def pump(decompressor: Decompressor, data: memoryview, name: str) -> Iterator[bytes]:
    """Push input through a decompressor until it wants more or its stream has ended.

    Raises:
        CompressionError: The data is damaged.
    """
    step: bytes | memoryview = data
    while True:
        try:
            piece = decompressor.decompress(step, PIECE_BYTES)
        except codec_errors() as error:
            if _TOO_LITTLE_MEMORY in str(error):
                raise too_large_dictionary(name) from error
            raise CompressionError(
                f"The {name} data is damaged.", detail=f"{type(error).__name__}: {error}"
            ) from error
        if piece:
            yield piece
        if decompressor.eof or decompressor.needs_input:
            return
        step = b""


def _steps(data: memoryview) -> Iterator[memoryview]:
    """Cut input so that no codec keeps a large rest of it."""
    for start in range(0, len(data), _INPUT_STEP_BYTES):
        yield data[start : start + _INPUT_STEP_BYTES]


class StreamCodec:
    """Decodes one or more streams of one kind that follow each other.

    Args:
        name: The kind, for messages.
        magic: How each stream begins.
        make: Makes the decompressor of one stream.
    """

    def __init__(self, name: str, magic: bytes, make: Callable[[], Decompressor]) -> None:
        self._name = name
        self._magic = magic
        self._make = make
        self._current: Decompressor | None = None
        self._lead = b""
        self._streams = 0
        self._output_bytes = 0

    def feed(self, data: memoryview) -> Iterator[bytes]:
        """Take input; yield what comes out of it. The iterator must be exhausted."""
        for step in _steps(data):
            rest = step
            while rest:
                current = self._current
                if current is None:
                    current, rest = self._begin(rest)
                    if current is None:
                        break
                for piece in pump(current, rest, self._name):
                    self._output_bytes += len(piece)
                    yield piece
                rest = memoryview(current.unused_data)
                self._current = None if current.eof else current

    def finish(self) -> None:
        """Check that the last stream is complete.

        Raises:
            CompressionError: It is not, or something else follows it.
        """
        if self._current is not None or not self._streams:
            raise truncated(self._name)
        if self._lead:
            raise junk(self._name)

    def _begin(self, data: memoryview) -> tuple[Decompressor | None, memoryview]:
        """Open the next stream when its magic is complete; returns it and what to feed it."""
        padding_ends = not self._lead and self._streams
        available = bytes(data).lstrip(b"\0") if padding_ends else bytes(data)
        lead = (self._lead + available)[: len(self._magic)]
        if not self._magic.startswith(lead):
            raise junk(self._name)
        available = available[len(lead) - len(self._lead) :]
        if lead != self._magic:
            self._lead = lead
            return None, memoryview(b"")
        self._lead = b""
        self._streams += 1
        if self._streams > _MANY_STREAMS * (1 + self._output_bytes // _MANY_BYTES):
            raise CompressionError(f"The {self._name} data is cut into absurdly small pieces.")
        self._current = self._make()
        return self._current, memoryview(lead + available)


def too_large_dictionary(name: str) -> CompressionError:
    """The error for a stream that looks back further than is allowed."""
    return CompressionError(
        f"The {name} data was compressed with a dictionary too large for this machine, or for what "
        f"its beginning says. Compress it anew with the usual settings."
    )


def junk(name: str) -> CompressionError:
    """The error for data behind the end of a stream."""
    return CompressionError(f"The {name} data is followed by something that does not belong to it.")


def truncated(name: str) -> CompressionError:
    """The error for a stream without its end."""
    return CompressionError(f"The {name} data ends too early; the transfer was probably cut short.")


def make_gzip() -> StreamCodec:
    """A decoder of gzip."""
    return StreamCodec("gzip", b"\x1f\x8b\x08", lambda: inflater(raw=False))


def make_bzip2() -> StreamCodec:
    """A decoder of bzip2."""
    return StreamCodec("bzip2", b"BZh", bz2.BZ2Decompressor)


def make_xz(memory_bytes: int) -> StreamCodec:
    """A decoder of xz that takes no more memory than this."""
    return StreamCodec(
        "xz",
        b"\xfd7zXZ\0",
        lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=memory_bytes),
    )
