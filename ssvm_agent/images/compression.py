# SPDX-License-Identifier: Apache-2.0
"""Decompressing what comes in, by content and while it passes (requirements R15, R16, H11, H12).

One layer of gzip, bzip2, xz, zstd or zip, and a tar around exactly one file, are taken off. The
declared format decides about tar and zip: an OVA is a tar and stays one. Output comes in pieces of
at most a mebibyte, counted to the byte against a limit, so a bomb costs one piece of memory.

Pure: bytes in, bytes out. The codecs release the GIL, so callers feed from a worker thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from ssvm_agent.images.codecs import PIECE_BYTES, Codec, make_bzip2, make_gzip, make_xz
from ssvm_agent.images.dictionaries import xz_dictionary_bytes, zstd_window_bytes
from ssvm_agent.images.errors import SizeLimitError
from ssvm_agent.images.formats import ImageFormat

DETECT_BYTES = 512
"""How much of the head :func:`detect` wants to see."""
MOST_DECODING_BYTES = 160 << 20
"""The largest xz preset needs 65 MiB; dictionaries far beyond it would endanger the machine."""
_LARGEST_WINDOW_BYTES = 128 << 20
"""What zstd's own program accepts without being asked for more."""
_LEAST_BYTES = 16 << 20
"""So that streams of the usual settings may follow each other, whatever the first says: 8 MiB."""
_BESIDE_DICTIONARY_BYTES = 1 << 20


class Compression(StrEnum):
    """A wrapper around an image."""

    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTD = "zstd"
    ZIP = "zip"
    TAR = "tar"


_KEPT = {
    ImageFormat.OVA: Compression.TAR,
    ImageFormat.TAR: Compression.TAR,
    ImageFormat.ZIP: Compression.ZIP,
}


def detect(head: bytes, declared: ImageFormat | None = None) -> Compression | None:
    """Say what an image is wrapped in.

    Args:
        head: The first :data:`DETECT_BYTES` bytes, or all of a shorter stream.
        declared: The declared format; a wrapper that *is* this format is not reported.
    """
    found: Compression | None = None
    if head.startswith(b"\x1f\x8b\x08"):
        found = Compression.GZIP
    elif head[:3] == b"BZh" and head[3:4] in b"123456789" and _is_bzip2_block(head[4:10]):
        found = Compression.BZIP2
    elif head.startswith(b"\xfd7zXZ\0"):
        found = Compression.XZ
    elif head.startswith(b"\x28\xb5\x2f\xfd"):
        found = Compression.ZSTD
    elif head.startswith(b"PK\x03\x04"):
        found = Compression.ZIP
    elif is_tar_header(head):
        found = Compression.TAR
    if declared is not None and _KEPT.get(declared) is found:
        return None
    return found


def _is_bzip2_block(magic: bytes) -> bool:
    """A first block, or the end mark of a stream without any."""
    return magic in {b"1AY&SY", b"\x17rE8P\x90"}


def is_tar_header(head: bytes) -> bool:
    """Whether the first 512 bytes are a tar header with the right checksum."""
    block = head[:512]
    if len(block) < 512 or not block[0]:
        return False
    digits = block[148:156].strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        return False
    return int(digits, 8) == sum(block) - sum(block[148:156]) + 8 * ord(" ")


def decoding_memory_bytes(compression: Compression, head: bytes) -> int:
    """What a :class:`Decoder` of this stream needs; 0 where it is too little to count.

    Args:
        compression: As :func:`detect` found it.
        head: Like there.
    """
    match compression:
        case Compression.XZ:
            dictionary = xz_dictionary_bytes(head)
        case Compression.ZSTD:
            dictionary = zstd_window_bytes(head)
        case _:
            return 0
    return min(max(dictionary + _BESIDE_DICTIONARY_BYTES, _LEAST_BYTES), MOST_DECODING_BYTES)


def _make_codec(compression: Compression, memory_bytes: int) -> Codec:
    match compression:
        case Compression.GZIP:
            return make_gzip()
        case Compression.BZIP2:
            return make_bzip2()
        case Compression.XZ:
            return make_xz(memory_bytes)
        case Compression.ZSTD:
            from ssvm_agent.images.zstd import ZstdCodec

            return ZstdCodec(min(memory_bytes, _LARGEST_WINDOW_BYTES))
        case Compression.ZIP:
            from ssvm_agent.images.zip import ZipCodec

            return ZipCodec()
        case Compression.TAR:
            from ssvm_agent.images.untar import TarCodec

            return TarCodec()


class Decoder:
    """Takes one wrapper off a stream.

    Args:
        compression: The wrapper, as :func:`detect` found it.
        max_output_bytes: The most that may come out; a byte more is an error.
        max_ratio: The most output for each byte of input beyond the first mebibyte of output; None
            for no bound, because an empty disk compresses by a factor of many thousands.
        memory_bytes: The most it may look back over; :func:`decoding_memory_bytes` says what the
            stream wants.
    """

    def __init__(
        self,
        compression: Compression,
        *,
        max_output_bytes: int,
        max_ratio: int | None = None,
        memory_bytes: int = MOST_DECODING_BYTES,
    ) -> None:
        self.compression = compression
        self._codec = _make_codec(compression, memory_bytes)
        self._max_output_bytes = max_output_bytes
        self._max_ratio = max_ratio
        self._input_bytes = 0
        self._output_bytes = 0

    @property
    def input_bytes(self) -> int:
        """How much has gone in."""
        return self._input_bytes

    @property
    def output_bytes(self) -> int:
        """How much has come out."""
        return self._output_bytes

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[bytes | memoryview]:
        """Take input and yield the output it gives, in pieces of at most :data:`PIECE_BYTES`.

        The iterator must be exhausted before the next call; pieces may be views of ``data``.

        Raises:
            CompressionError: The input is damaged or followed by junk.
            ArchiveRefusedError: An archive does not hold exactly one acceptable file.
            SizeLimitError: More comes out than allowed.
        """
        view = memoryview(data)
        self._input_bytes += len(view)
        for piece in self._codec.feed(view):
            self._count(len(piece))
            yield piece

    def finish(self) -> None:
        """Say that the input has ended.

        Raises:
            CompressionError: It is incomplete, or followed by junk.
            ArchiveRefusedError: An archive does not hold exactly one acceptable file.
        """
        self._codec.finish()

    def _count(self, length: int) -> None:
        self._output_bytes += length
        if self._output_bytes > self._max_output_bytes:
            raise SizeLimitError(
                f"The decompressed image is larger than the {self._max_output_bytes} bytes allowed."
            )
        if (
            self._max_ratio is not None
            and self._output_bytes > PIECE_BYTES + self._max_ratio * self._input_bytes
        ):
            raise SizeLimitError(
                f"The image grows more than {self._max_ratio} times when it is decompressed."
            )
