# SPDX-License-Identifier: Apache-2.0
"""Copying one file: sparse, in pieces, and compared with its source before anybody relies on it.

Theory of operation: the data of the source (what ``SEEK_DATA`` finds; blocks of zeros are left out
besides) is cut into pieces of some MiB, which two threads work off. Each piece is a short blocking
step, so a copy can be cancelled between steps and a server that stops answering is noticed. The
first piece tries ``copy_file_range``; where the file system does the copying itself, all pieces go
that way, otherwise through a buffer, and the CRC of every block is kept. After the target is synced
its blocks are read back and compared (requirements R33): all of them when the bytes went through
us, a sample when they did not. A source that changed meanwhile is an error.

Descriptors stay open as long as a step is in a thread, even when the copy was cancelled, so that
their numbers cannot be taken by other files.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from ssvm_agent.storage.errors import ConflictError, StorageError
from ssvm_agent.storage.paths import FILE_MODE

PIECE_BYTES: Final = 16 << 20
BLOCK_BYTES: Final = 1 << 20
# As many blocks are compared, evenly spread, when the file system did the copying.
_SAMPLES: Final = 16
# How a kernel says that it does not copy between these two files itself.
_NO_SERVER_COPY: Final = frozenset(
    {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EACCES,
     errno.ETXTBSY, errno.EBADF}
)  # fmt: skip
_ZEROS: Final = bytes(BLOCK_BYTES)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file that holds data: ``start`` up to ``end``."""

    start: int
    end: int


class FileCopy:
    """One file on its way; every method blocks and may run in any thread.

    Args:
        source: A regular file.
        target: Does not exist yet.

    Attributes:
        size_bytes: Length of the source.
        data_bytes: How much of it is data.
        pieces: The data.
        by_kernel: Whether the file system copies by itself; None until the first piece.
    """

    def __init__(self, source: Path, target: Path) -> None:
        self.source = source
        self.target = target
        self.size_bytes = 0
        self.data_bytes = 0
        self.pieces: list[Piece] = []
        self.by_kernel: bool | None = None
        self._reader = self._writer = -1
        self._facts: os.stat_result | None = None
        self._blocks: dict[int, int] = {}
        self._lock = threading.Lock()
        self._users = 0
        self._closing = False

    def open(self) -> None:
        """Open both files and find the data.

        Raises:
            StorageError: The source is no regular file.
            OSError: One of them cannot be opened; the target is not left behind.
        """
        self._reader = os.open(self.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._facts = _facts(self._reader, self.source)
            self.size_bytes = self._facts.st_size
            self.pieces = list(_pieces(self._reader, self.size_bytes))
            self.data_bytes = sum(piece.end - piece.start for piece in self.pieces)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._writer = os.open(self.target, flags, FILE_MODE)
        except BaseException:
            os.close(self._reader)
            raise
        os.fchmod(self._writer, FILE_MODE)
        os.ftruncate(self._writer, self.size_bytes)

    def copy(self, piece: Piece) -> None:
        """Copy one piece.

        Raises:
            ConflictError: The source got shorter.
        """
        with self._in_use():
            if self.by_kernel is not False and self._copy_by_kernel(piece):
                return
            self._copy_through_us(piece)

    def sync(self) -> None:
        """Have the target on the disk of its server, which is where a full store shows up."""
        with self._in_use():
            os.fsync(self._writer)
            # What is compared next should come from the server rather than from our memory.
            os.posix_fadvise(self._writer, 0, 0, os.POSIX_FADV_DONTNEED)

    def samples(self) -> list[Piece]:
        """What to compare: everything, or a sample if the file system did the copying."""
        if not self.by_kernel:
            return self.pieces
        blocks = [
            Piece(start, min(start + BLOCK_BYTES, piece.end))
            for piece in self.pieces
            for start in range(piece.start, piece.end, BLOCK_BYTES)
        ]
        step = max(1, len(blocks) // _SAMPLES)
        chosen = blocks[::step]
        return chosen if not blocks or chosen[-1] == blocks[-1] else [*chosen, blocks[-1]]

    def compare(self, piece: Piece) -> None:
        """Compare a part of the target with what the source has there.

        Raises:
            StorageError: They differ.
        """
        with self._in_use():
            buffer = bytearray(BLOCK_BYTES)
            for start in range(piece.start, piece.end, BLOCK_BYTES):
                length = min(BLOCK_BYTES, piece.end - start)
                expected = self._blocks.get(start)
                if expected is None:
                    expected = _crc(_read(self._reader, buffer, start, length))
                if _crc(_read(self._writer, buffer, start, length)) != expected:
                    raise StorageError(
                        f"The copy of {self.source.name} differs from its source at byte {start}"
                    )

    def finish(self) -> None:
        """Make sure that the source stayed the same, and give the target its times.

        Raises:
            ConflictError: The source changed while it was copied.
            StorageError: The target has another length.
        """
        with self._in_use():
            before, now = self._facts, os.fstat(self._reader)
            assert before is not None
            if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise ConflictError(f"{self.source.name} changed while it was copied")
            if os.fstat(self._writer).st_size != self.size_bytes:
                raise StorageError(f"The copy of {self.source.name} has another length")
            os.utime(self._writer, ns=(before.st_atime_ns, before.st_mtime_ns))

    def close(self) -> None:
        """Close both files as soon as no step uses them."""
        with self._lock:
            self._closing = True
            if not self._users:
                self._close()

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        with self._lock:
            if self._closing:
                raise ConflictError(f"The copy of {self.source.name} was given up")
            self._users += 1
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._closing and not self._users:
                self._close()

    def _close(self) -> None:
        for descriptor in (self._reader, self._writer):
            if descriptor >= 0:
                os.close(descriptor)
        self._reader = self._writer = -1

    def _copy_by_kernel(self, piece: Piece) -> bool:
        """Let the file system copy a piece; False when it does not do that."""
        start = piece.start
        while start < piece.end:
            try:
                count = os.copy_file_range(
                    self._reader, self._writer, piece.end - start, start, start
                )
            except OSError as error:
                if self.by_kernel or error.errno not in _NO_SERVER_COPY:
                    raise
                self.by_kernel = False
                return False
            if not count:
                # The source got shorter, or the file system only pretends to be able to.
                self.by_kernel = False
                return False
            start += count
        if self.by_kernel is None:
            self.by_kernel = True
        return True

    def _copy_through_us(self, piece: Piece) -> None:
        buffer = bytearray(BLOCK_BYTES)
        for start in range(piece.start, piece.end, BLOCK_BYTES):
            length = min(BLOCK_BYTES, piece.end - start)
            data = _read(self._reader, buffer, start, length)
            self._blocks[start] = crc = _crc(data)
            # The CRC is there anyway and tells nearly always; only then comparing is worth it.
            if crc == _crc_of_zeros(length) and bytes(data) == _ZEROS[:length]:
                continue
            written = 0
            while written < length:
                written += os.pwrite(self._writer, data[written:], start + written)


def _facts(descriptor: int, path: Path) -> os.stat_result:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise StorageError(f"{path.name} is not a regular file")
    return found


def _pieces(descriptor: int, size_bytes: int) -> Iterator[Piece]:
    """The data of a file in order, cut where whole blocks end."""
    position = 0
    while position < size_bytes:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
            end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size_bytes)
        except OSError as error:
            if error.errno == errno.ENXIO:
                # Nothing but a hole up to the end.
                return
            if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:
                raise
            start, end = position, size_bytes
        for begin in range(start, end, PIECE_BYTES):
            yield Piece(begin, min(begin + PIECE_BYTES, end))
        position = end


def _read(descriptor: int, buffer: bytearray, start: int, length: int) -> memoryview:
    """Exactly this many bytes.

    Raises:
        ConflictError: The file ends before.
    """
    view = memoryview(buffer)[:length]
    filled = 0
    while filled < length:
        count = os.preadv(descriptor, [view[filled:]], start + filled)
        if not count:
            raise ConflictError("A file got shorter while it was copied")
        filled += count
    return view


def _crc(data: memoryview | bytes) -> int:
    from isal import isal_zlib

    return int(isal_zlib.crc32(data))


@lru_cache(maxsize=4)
def _crc_of_zeros(length: int) -> int:
    return _crc(_ZEROS[:length])
