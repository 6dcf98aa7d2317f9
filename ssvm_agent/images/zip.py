# SPDX-License-Identifier: Apache-2.0
"""Taking a ZIP archive off the one file it holds, while it streams (requirements R16, H12).

Accepted: exactly one regular file with a plain name, stored or deflated, with sizes before or
behind the data, zip64 or not. The central directory at the end must describe the very same file:
readers that start from either end then see the same thing.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from ssvm_agent.images.codecs import PIECE_BYTES, inflater, junk, pump, truncated
from ssvm_agent.images.errors import ArchiveRefusedError, CompressionError
from ssvm_agent.images.names import plain_name

_LOCAL, _CENTRAL, _DESCRIPTOR = b"PK\x03\x04", b"PK\x01\x02", b"PK\x07\x08"
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_LOCAL_BYTES, _CENTRAL_BYTES, _END_BYTES = 30, 46, 22
_ENCRYPTED = 1 | 1 << 6 | 1 << 13
_SIZES_FOLLOW = 1 << 3
_UTF8 = 1 << 11
_STORED, _DEFLATED = 0, 8
_IN_ZIP64 = 0xFFFFFFFF
_ZIP64_EXTRA = 1
_UNIX = 3
_FILE_TYPES = frozenset({0, stat.S_IFREG, stat.S_IFIFO})
"""A pipe is what the zip program notes when it archived its standard input."""
_MAX_TRAILER_BYTES = 512 << 10
"""A central directory with one entry and all comments at their longest is smaller than this."""


@dataclass(frozen=True, slots=True)
class _LocalHeader:
    """The header in front of the data; sizes are None when they follow behind it."""

    name: str
    method: int
    compressed_size: int | None
    size: int | None
    crc: int | None
    length: int

    @classmethod
    def parse(cls, data: bytes) -> _LocalHeader:
        flags, method, _, _, crc, compressed, size, name_bytes, extra_bytes = struct.unpack_from(
            "<HHHHIIIHH", data, 6
        )
        if flags & _ENCRYPTED:
            raise ArchiveRefusedError("The ZIP archive is encrypted.")
        if method not in {_STORED, _DEFLATED}:
            raise ArchiveRefusedError(
                f"The ZIP archive uses compression method {method}; only deflate is supported."
            )
        raw_name = data[_LOCAL_BYTES : _LOCAL_BYTES + name_bytes]
        name = raw_name.decode("utf-8" if flags & _UTF8 else "cp437", "replace")
        length = _LOCAL_BYTES + name_bytes + extra_bytes
        if flags & _SIZES_FOLLOW:
            if method == _STORED:
                raise ArchiveRefusedError(
                    "The ZIP archive stores a file without saying how long it is."
                )
            return cls(plain_name(name), method, None, None, None, length)
        if _IN_ZIP64 in {compressed, size}:
            extra = data[_LOCAL_BYTES + name_bytes : length]
            size, compressed = _zip64_sizes(extra, size, compressed)
        return cls(plain_name(name), method, compressed, size, crc, length)


def _zip64_sizes(extra: bytes, size: int, compressed: int) -> tuple[int, int]:
    """Take the sizes a ZIP64 extra field has instead of the 32-bit ones."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind != _ZIP64_EXTRA:
            continue
        values = [value for (value,) in struct.iter_unpack("<Q", field[: length // 8 * 8])]
        wanted = [size == _IN_ZIP64, compressed == _IN_ZIP64]
        if len(values) < sum(wanted):
            break
        size = values.pop(0) if wanted[0] else size
        compressed = values.pop(0) if wanted[1] else compressed
        return size, compressed
    raise CompressionError("The ZIP archive is damaged: its 64-bit sizes are missing.")


class ZipCodec:
    """Decodes a ZIP archive with exactly one member to that member's data."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._header: _LocalHeader | None = None
        self._inflate = inflater(raw=True)
        self._in_body = True
        self._compressed = 0
        self._size = 0
        self._crc = 0

    def feed(self, data: memoryview) -> Iterator[bytes | memoryview]:
        """Take input; yield what comes out of it. The iterator must be exhausted."""
        if self._header is None:
            self._buffer += data
            self._header = self._parse_header()
            if self._header is None:
                return
            data = memoryview(bytes(self._buffer[self._header.length :]))
            self._buffer.clear()
        if self._in_body:
            body = self._stored(data) if self._header.method == _STORED else self._deflated(data)
            for piece in body:
                self._size += len(piece)
                self._crc = zlib.crc32(piece, self._crc)
                yield piece
        else:
            self._buffer += data
        if not self._in_body:
            self._check_trailer_start(self._header)

    def finish(self) -> None:
        """Check the data and everything behind it.

        Raises:
            CompressionError: The archive is damaged or ends too early.
            ArchiveRefusedError: It has another member.
        """
        if self._header is None or self._in_body:
            raise truncated("ZIP")
        found = (self._crc, self._compressed, self._size)
        told = (self._header.crc, self._header.compressed_size, self._header.size)
        if self._header.crc is not None and found != told:
            raise CompressionError("The ZIP archive is damaged: its checksum does not fit.")
        rest = bytes(self._buffer)
        if self._header.crc is None:
            rest = self._cut_descriptor(rest)
        start = self._header.length + self._compressed + len(self._buffer) - len(rest)
        _check_directory(rest, start, self._header.name, found)

    def _parse_header(self) -> _LocalHeader | None:
        buffer = self._buffer
        if len(buffer) < _LOCAL_BYTES:
            return None
        if not buffer.startswith(_LOCAL):
            raise junk("ZIP")
        if len(buffer) < _LOCAL_BYTES + sum(struct.unpack_from("<HH", buffer, 26)):
            return None
        return _LocalHeader.parse(bytes(buffer))

    def _stored(self, data: memoryview) -> Iterator[memoryview]:
        assert self._header is not None
        assert self._header.compressed_size is not None
        body = data[: self._header.compressed_size - self._compressed]
        self._compressed += len(body)
        for start in range(0, len(body), PIECE_BYTES):
            yield body[start : start + PIECE_BYTES]
        if self._compressed == self._header.compressed_size:
            self._in_body = False
            self._buffer += data[len(body) :]

    def _deflated(self, data: memoryview) -> Iterator[bytes]:
        for start in range(0, len(data), PIECE_BYTES):
            step = data[start : start + PIECE_BYTES]
            self._compressed += len(step)
            yield from pump(self._inflate, step, "ZIP")
            if self._inflate.eof:
                rest = self._inflate.unused_data
                self._compressed -= len(rest)
                self._in_body = False
                self._buffer += rest
                self._buffer += data[start + len(step) :]
                return

    def _check_trailer_start(self, header: _LocalHeader) -> None:
        """Refuse a second member as soon as it shows."""
        if len(self._buffer) > _MAX_TRAILER_BYTES:
            raise ArchiveRefusedError("The ZIP archive holds more than one file.")
        rest = bytes(self._buffer[:64])
        starts = (0,) if header.crc is not None else (12, 16, 20, 24)
        if any(rest[start : start + 4] == _LOCAL for start in starts):
            raise ArchiveRefusedError(
                "The ZIP archive holds more than one file; it must hold exactly one image."
            )

    def _cut_descriptor(self, rest: bytes) -> bytes:
        """Remove the sizes behind the data, in any of their four shapes, when they are right."""
        for sizes in ("<III", "<IQQ"):
            expected = struct.pack(sizes, self._crc, *self._sizes_for(sizes))
            for descriptor in (_DESCRIPTOR + expected, expected):
                behind = rest[len(descriptor) :]
                if rest.startswith(descriptor) and behind.startswith(_CENTRAL):
                    return behind
        raise CompressionError("The ZIP archive is damaged: its checksum does not fit.")

    def _sizes_for(self, sizes: str) -> tuple[int, int]:
        mask = _IN_ZIP64 if sizes == "<III" else (1 << 64) - 1
        return self._compressed & mask, self._size & mask


def _check_directory(rest: bytes, start: int, name: str, found: tuple[int, int, int]) -> None:
    """The central directory must list the member just decoded, and nothing else.

    Args:
        rest: Everything from the central directory on.
        start: Its offset in the archive.
        name: Name of the member.
        found: Its checksum, compressed size and size.
    """
    if len(rest) < _CENTRAL_BYTES or not rest.startswith(_CENTRAL):
        raise truncated("ZIP")
    made_by, flags = struct.unpack_from("<HxxH", rest, 4)
    crc, compressed, size, name_bytes, extra_bytes, comment_bytes = struct.unpack_from(
        "<IIIHHH", rest, 16
    )
    attributes, offset = struct.unpack_from("<II", rest, 38)
    entry_bytes = _CENTRAL_BYTES + name_bytes + extra_bytes + comment_bytes
    if len(rest) < entry_bytes:
        raise truncated("ZIP")
    raw_name = rest[_CENTRAL_BYTES : _CENTRAL_BYTES + name_bytes]
    extra = rest[_CENTRAL_BYTES + name_bytes : _CENTRAL_BYTES + name_bytes + extra_bytes]
    if _IN_ZIP64 in {compressed, size}:
        size, compressed = _zip64_sizes(extra, size, compressed)
    mode = attributes >> 16 if made_by >> 8 == _UNIX else 0
    if stat.S_IFMT(mode) not in _FILE_TYPES:
        raise ArchiveRefusedError("The ZIP archive holds something that is not a regular file.")
    listed = raw_name.decode("utf-8" if flags & _UTF8 else "cp437", "replace")
    if (crc, compressed, size) != found or plain_name(listed) != name or offset:
        raise ArchiveRefusedError("The two directories of the ZIP archive contradict each other.")
    _check_end(rest[entry_bytes:], start, entry_bytes)


def _check_end(rest: bytes, start: int, directory_bytes: int) -> None:
    """Read the end record, and the 64-bit ones in front of it if there are any."""
    if rest.startswith(_CENTRAL):
        raise ArchiveRefusedError("The ZIP archive lists more than one file.")
    if rest.startswith(_END64) and len(rest) >= 12:
        (length,) = struct.unpack_from("<Q", rest, 4)
        if length > _MAX_TRAILER_BYTES or rest[12 + length : 16 + length] != _LOCATOR64:
            raise CompressionError("The ZIP archive is damaged at its end.")
        rest = rest[12 + length + 20 :]
    if len(rest) < _END_BYTES or not rest.startswith(_END):
        raise truncated("ZIP")
    entries, listed_bytes, listed_start, comment_bytes = struct.unpack_from("<HIIH", rest, 10)
    if entries not in {1, 0xFFFF}:
        raise ArchiveRefusedError("The ZIP archive lists more than one file.")
    if listed_start not in {start, _IN_ZIP64} or listed_bytes not in {directory_bytes, _IN_ZIP64}:
        raise ArchiveRefusedError("The two directories of the ZIP archive contradict each other.")
    if len(rest) != _END_BYTES + comment_bytes:
        raise junk("ZIP") if len(rest) > _END_BYTES + comment_bytes else truncated("ZIP")
