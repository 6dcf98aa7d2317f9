# SPDX-License-Identifier: Apache-2.0
"""Copying one file: sparse-aware, inside the file server where that works, else verified.

Blocking, in pieces: every call does a bounded amount of work, so that a deadline on it means
something and a copy can be given up between two calls. Knows nothing of images, names or threads.

Theory of operation (docs/adr/0031-copies.md). Holes of the source are found by ``SEEK_DATA`` and
stay holes. With ``in_kernel`` the data goes by ``copy_file_range``; nothing passes through us, and
the length and an unchanged source are what can be verified. Otherwise the data passes by in cells
of 1 MiB. Zeros are not written; of all other cells a checksum is taken while they pass, and one
digest of these and their offsets is compared with that of what the target really has after it was
synced.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final, TypeVar

from ssvm_agent.storage.errors import ConflictError, NotFoundError, StorageError
from ssvm_agent.storage.paths import FILE_MODE

T = TypeVar("T")

# One call moves at most this: a second on a slow server, nothing against the cost of a thread hop.
STEP_BYTES: Final = 16 << 20
CELL_BYTES: Final = 1 << 20
# The smallest hole file systems make.
_PAGE_BYTES: Final = 4096
_ZEROS: Final = bytes(CELL_BYTES)
# How much may be written before the kernel is told to begin writing it back, so that the file is
# nearly clean when it is synced.
_WRITE_BACK_BYTES: Final = 16 << 20

# What copy_file_range answers where it does not work; anything else is a fault of a store.
_NOT_IN_KERNEL: Final = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.ETXTBSY}
)
# What lseek answers where holes are not told.
_HOLES_UNKNOWN: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})


class CopyMismatchError(StorageError):
    """What arrived is not what was sent."""

    code = "copy-mismatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedFile:
    """A file that was copied and verified.

    Attributes:
        size_bytes: Its length.
        data_bytes: How much of it was moved; the rest are holes.
        in_kernel: Whether the data went by ``copy_file_range``.
    """

    size_bytes: int
    data_bytes: int
    in_kernel: bool


class _Phase(Enum):
    COPY = auto()
    SYNC = auto()
    VERIFY = auto()
    DONE = auto()


class FileCopy:
    """One file on its way.

    Args:
        source: A regular file; not followed when it is a link.
        target: Does not exist yet; in the directory of its final name.
        in_kernel: Whether to try ``copy_file_range``.
        keep_time: Whether the target gets the modification time of the source.
    """

    def __init__(
        self, source: Path, target: Path, *, in_kernel: bool, keep_time: bool = False
    ) -> None:
        self.source = source
        self.target = target
        self.size_bytes = 0
        self.data_bytes = 0
        self._in_kernel = in_kernel
        self._keep_time = keep_time
        self._phase = _Phase.COPY
        self._in = self._out = -1
        self._made = False
        self._position = 0
        self._extent_end = 0
        self._written_back = 0
        self._sent = self._arrived = hashlib.sha256(usedforsecurity=False)
        self._buffer = memoryview(bytearray(0))

    def open(self) -> None:
        """Open the source and make the target.

        Raises:
            NotFoundError: The source is not a regular file.
            OSError: One of the stores refuses.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._in = os.open(self.source, flags)
        self._before = os.fstat(self._in)
        if not stat.S_ISREG(self._before.st_mode):
            raise NotFoundError(f"{self.source.name} is not a regular file")
        self.size_bytes = self._before.st_size
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._out = os.open(self.target, flags, FILE_MODE)
        self._made = True
        os.fchmod(self._out, FILE_MODE)
        os.posix_fadvise(self._in, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        self._begin()

    def _begin(self) -> None:
        """Start at the beginning; what is not written later is a hole."""
        os.ftruncate(self._out, 0)
        os.ftruncate(self._out, self.size_bytes)
        self._position = self._extent_end = self._written_back = self.data_bytes = 0
        self._sent = hashlib.sha256(usedforsecurity=False)
        self._arrived = hashlib.sha256(usedforsecurity=False)
        if not self._in_kernel:
            self._buffer = memoryview(bytearray(CELL_BYTES))

    def step(self) -> bool:
        """Do a bounded piece of the work; False when the copy is complete and verified.

        Raises:
            CopyMismatchError: The target differs from the source.
            ConflictError: The source changed meanwhile.
            OSError: One of the stores failed.
        """
        match self._phase:
            case _Phase.COPY:
                move = self._move_in_kernel if self._in_kernel else self._move_cells
                if not move():
                    self._phase = _Phase.SYNC
            case _Phase.SYNC:
                self._sync()
                self._position = 0
                self._phase = _Phase.DONE if self._in_kernel else _Phase.VERIFY
            case _Phase.VERIFY:
                if not self._read_back():
                    self._phase = _Phase.DONE
            case _Phase.DONE:
                pass
        return self._phase is not _Phase.DONE

    @property
    def is_syncing(self) -> bool:
        """Whether the next step waits for the target to have everything on disk."""
        return self._phase is _Phase.SYNC

    def result(self) -> CopiedFile:
        """What was done, once :meth:`step` said so."""
        assert self._phase is _Phase.DONE
        return CopiedFile(
            size_bytes=self.size_bytes, data_bytes=self.data_bytes, in_kernel=self._in_kernel
        )

    def look(self, examine: Callable[[int], T]) -> T:
        """Show the finished target, by its descriptor, to somebody who knows its content."""
        assert self._phase is _Phase.DONE
        return examine(self._out)

    def close(self) -> None:
        """Let go of both files."""
        for descriptor in (self._in, self._out):
            if descriptor >= 0:
                os.close(descriptor)
        self._in = self._out = -1

    def discard(self) -> None:
        """Remove the target, if this copy made it and it still has its temporary name."""
        self.close()
        if self._made:
            with contextlib.suppress(FileNotFoundError):
                self.target.unlink()

    def _move_in_kernel(self) -> bool:
        budget = STEP_BYTES
        while budget > 0:
            if self._position >= self._extent_end:
                extent = _next_data(self._in, self._position, self.size_bytes)
                if extent is None:
                    return False
                self._position, self._extent_end = extent
            length = min(self._extent_end - self._position, budget)
            try:
                moved = os.copy_file_range(
                    self._in, self._out, length, self._position, self._position
                )
            except OSError as error:
                if error.errno not in _NOT_IN_KERNEL:
                    raise
                moved = 0
            if not moved:
                # Not here, or not any more: the other way, from the start, so that all of it is
                # verified.
                self._in_kernel = False
                self._begin()
                return True
            self._advance(moved)
            budget -= moved
        return True

    def _move_cells(self) -> bool:
        for _ in range(STEP_BYTES // CELL_BYTES):
            cell = self._next_cell(self._in)
            if cell is None:
                return False
            if not _ZEROS.startswith(cell):
                _take(self._sent, self._position, cell)
                for start, end in _runs(cell):
                    _write_at(self._out, cell[start:end], self._position + start)
                self.data_bytes += len(cell)
            self._position += len(cell)
            self._begin_write_back()
        return True

    def _read_back(self) -> bool:
        for _ in range(STEP_BYTES // CELL_BYTES):
            cell = self._next_cell(self._out)
            if cell is None:
                if self._sent.digest() != self._arrived.digest():
                    raise CopyMismatchError(
                        f"The copy of {self.source.name} differs from the original"
                    )
                return False
            if not _ZEROS.startswith(cell):
                _take(self._arrived, self._position, cell)
            self._position += len(cell)
        return True

    def _next_cell(self, descriptor: int) -> memoryview | None:
        """The next cell of a file with data in it, whole; moves the position to its start."""
        extent = _next_data(descriptor, self._position, self.size_bytes)
        if extent is None:
            return None
        self._position = max(self._position, extent[0] // CELL_BYTES * CELL_BYTES)
        cell = self._buffer[: min(CELL_BYTES, self.size_bytes - self._position)]
        done = 0
        while done < len(cell):
            count = os.preadv(descriptor, [cell[done:]], self._position + done)
            if not count:
                raise ConflictError(f"{self.source.name} became shorter while it was copied")
            done += count
        return cell

    def _advance(self, moved: int) -> None:
        self._position += moved
        self.data_bytes += moved
        self._begin_write_back()

    def _begin_write_back(self) -> None:
        length = self._position - self._written_back
        if length >= _WRITE_BACK_BYTES:
            os.posix_fadvise(self._out, self._written_back, length, os.POSIX_FADV_DONTNEED)
            self._written_back = self._position

    def _sync(self) -> None:
        after = os.fstat(self._in)
        if (after.st_size, after.st_mtime_ns) != (self.size_bytes, self._before.st_mtime_ns):
            raise ConflictError(f"{self.source.name} was changed while it was copied")
        if self._keep_time:
            os.utime(self._out, ns=(self._before.st_atime_ns, self._before.st_mtime_ns))
        os.fsync(self._out)
        length = os.fstat(self._out).st_size
        if length != self.size_bytes:
            raise CopyMismatchError(
                f"The copy of {self.source.name} has {length} bytes instead of {self.size_bytes}"
            )
        # What is read back now comes from the store and not from our memory of it.
        os.posix_fadvise(self._out, 0, 0, os.POSIX_FADV_DONTNEED)


def _next_data(descriptor: int, position: int, size_bytes: int) -> tuple[int, int] | None:
    """The next extent with data within the size; the whole rest where holes are not told."""
    if position >= size_bytes:
        return None
    try:
        start = os.lseek(descriptor, position, os.SEEK_DATA)
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        if error.errno in _HOLES_UNKNOWN:
            return position, size_bytes
        raise
    return (start, min(end, size_bytes)) if start < size_bytes else None


def _runs(cell: memoryview) -> Iterator[tuple[int, int]]:
    """The parts of a cell that are not zeros, in whole pages."""
    begin = -1
    for start in range(0, len(cell), _PAGE_BYTES):
        zero = _ZEROS.startswith(cell[start : start + _PAGE_BYTES])
        if zero and begin >= 0:
            yield begin, start
            begin = -1
        elif not zero and begin < 0:
            begin = start
    if begin >= 0:
        yield begin, len(cell)


def _take(digest: hashlib._Hash, position: int, cell: memoryview) -> None:
    # Faults are looked for here, not forgers: a CRC for each cell finds them at a thirtieth of the
    # cost of a cryptographic digest.
    digest.update(struct.pack(">QI", position, _crc32(cell)))


def _crc32(cell: memoryview) -> int:
    try:
        from isal.isal_zlib import crc32
    except ImportError:
        from zlib import crc32
    return int(crc32(cell))


def _write_at(descriptor: int, data: memoryview, position: int) -> None:
    while data:
        count = os.pwrite(descriptor, data, position)
        data, position = data[count:], position + count
