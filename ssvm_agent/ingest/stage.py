# SPDX-License-Identifier: Apache-2.0
"""The temporary file an image grows in: decompress, inspect, write once.

Blocking; every method runs in a thread of the store. One call does a bounded amount of work, so
that a deadline on it means something even for a megabyte that decompresses to a terabyte. The lock
keeps clean-up away from a call that was abandoned by its waiter but still runs.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Final

from ssvm_agent.images.compression import (
    DETECT_BYTES,
    Compression,
    Decoder,
    decoding_memory_bytes,
    detect,
)
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.inspector import ImageInspector
from ssvm_agent.images.report import ImageReport
from ssvm_agent.ingest.errors import AbortedError, TooBigError
from ssvm_agent.ingest.limits import BLOCK_SIZE_BYTES, MIB
from ssvm_agent.ingest.source import BytesLike

# Decompressed bytes per call; 0.1 s with a slow decoder.
_STEP_BYTES: Final = 4 * MIB
# How much may be written before the kernel is told to begin writing it back. The file then is
# nearly clean when it is synced, and the cache is left to those who read.
_WRITE_BACK_BYTES: Final = 32 * MIB
# Hypervisors reach the store as whatever user its export maps them to (storage-commands.md 4.5).
_FILE_MODE: Final = 0o666
_ZEROS: Final = bytes(BLOCK_SIZE_BYTES)
_SMALLEST_HOLE_BYTES: Final = 64 << 10


class Treatment(Enum):
    """What happens to the bytes on their way into the file."""

    FULL = "decompress and inspect"
    INSPECT = "inspect"
    NONE = "nothing"


class Stage:
    """One temporary file and what is known about its content so far.

    Args:
        path: Where it is; nothing else may have this name.
        declared: The format the content must have; ``None`` takes any safe one.
        max_size_bytes: Limit of the file's length.
        max_virtual_size_bytes: Limit of the size the image announces.
        treatment: What happens to the bytes besides being written.
    """

    def __init__(
        self,
        path: Path,
        *,
        declared: ImageFormat | None,
        max_size_bytes: int,
        max_virtual_size_bytes: int | None = None,
        treatment: Treatment = Treatment.FULL,
    ) -> None:
        self.path = path
        self._declared = declared
        self._max_size_bytes = max_size_bytes
        self._max_virtual_size_bytes = max_virtual_size_bytes
        self._treatment = treatment
        self._lock = threading.Lock()
        self._fd = -1
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        self.bytes_written = 0
        self._started = False
        self._decoder: Decoder | None = None
        self._pending: Iterator[BytesLike] = iter(())
        self._written_back = 0
        self._ends_in_hole = False
        self._inspector: ImageInspector | None = None
        if self._treatment is not Treatment.NONE:
            self._inspector = ImageInspector(
                self._declared, max_virtual_size_bytes=self._max_virtual_size_bytes
            )

    @property
    def is_resumable(self) -> bool:
        """Whether a later process could continue: a decompressor's state cannot be kept."""
        return self._started and self._decoder is None and self.bytes_written > 0

    def create(self) -> None:
        """Make the file; one of the same name is our own from earlier and is replaced."""
        with self._lock:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
            self._fd = os.open(
                self.path,
                os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                _FILE_MODE,
            )
            os.fchmod(self._fd, _FILE_MODE)

    def reopen(self, offset: int) -> None:
        """Take up the file of an earlier process, which is known to be good up to ``offset``.

        Raises:
            FileNotFoundError: It is gone, or shorter than it should be.
        """
        with self._lock:
            self._fd = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            if os.fstat(self._fd).st_size < offset:
                raise FileNotFoundError(2, os.strerror(2), str(self.path))
            os.ftruncate(self._fd, offset)

    def read_back(self, offset: int) -> bytes:
        """The next block of a file taken up, for the digest; it is inspected on the way.

        This is the only place where a byte of ours is read again, because digest and inspection do
        not outlive a process.
        """
        with self._lock:
            self._check_open()
            block = os.pread(
                self._fd, min(BLOCK_SIZE_BYTES, offset - self.bytes_written), self.bytes_written
            )
            self._started = True
            if self._inspector is not None:
                self._inspector.feed(block)
            self.bytes_written += len(block)
            os.lseek(self._fd, self.bytes_written, os.SEEK_SET)
            return block

    def restart(self) -> None:
        """Forget everything received; the file becomes empty."""
        with self._lock:
            self._check_open()
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
            self._begin()

    def memory_bytes(self, head: BytesLike) -> int:
        """What taking the wrapper off will need, by the first block."""
        return 0 if self._started else self._wrapper(head)[1]

    def feed(self, block: BytesLike) -> bool:
        """Take the next bytes as received; True asks for :meth:`step` before the next block.

        Raises:
            ImageError: The content is refused.
            TooBigError: The file would exceed its limit.
        """
        with self._lock:
            self._check_open()
            if not self._started:
                self._started = True
                self._choose_decoder(block)
            self._pending = iter((block,)) if self._decoder is None else self._decoder.feed(block)
            return self._work()

    def step(self) -> bool:
        """Go on with the block given last; True means there is more of it."""
        with self._lock:
            self._check_open()
            return self._work()

    def finish(self) -> ImageReport:
        """The stream has ended: judge the whole and make it durable.

        Raises:
            ImageError: The content is refused.
        """
        with self._lock:
            self._check_open()
            if self._decoder is not None:
                self._decoder.finish()
            report = self._report()
            if self._ends_in_hole:
                os.ftruncate(self._fd, self.bytes_written)
            os.fsync(self._fd)
            return report

    def _report(self) -> ImageReport:
        if self._inspector is not None:
            return self._inspector.finish()
        return ImageReport(
            accepted=True,
            detected=None,
            virtual_size_bytes=0,
            physical_size_bytes=self.bytes_written,
        )

    def sync(self) -> int:
        """Make what is written durable; the length that now is."""
        with self._lock:
            self._check_open()
            if self._ends_in_hole:
                os.ftruncate(self._fd, self.bytes_written)
            os.fdatasync(self._fd)
            return self.bytes_written

    def close(self) -> None:
        """Let go of the file, wherever it is."""
        with self._lock:
            self._closed = True
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def discard(self) -> None:
        """Remove the file; it is no error when it is gone."""
        self.close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()

    def _check_open(self) -> None:
        if self._closed:
            raise AbortedError("The transfer was stopped")

    def _choose_decoder(self, head: BytesLike) -> None:
        compression, memory_bytes = self._wrapper(head)
        if compression is not None:
            self._decoder = Decoder(
                compression, max_output_bytes=self._max_size_bytes, memory_bytes=memory_bytes
            )

    def _wrapper(self, head: BytesLike) -> tuple[Compression | None, int]:
        """What the stream is wrapped in, and the memory for taking that off."""
        if self._treatment is not Treatment.FULL:
            return None, 0
        view = bytes(head[:DETECT_BYTES])
        compression = detect(view, self._declared)
        return compression, decoding_memory_bytes(compression, view) if compression else 0

    def _work(self) -> bool:
        done = 0
        for piece in self._pending:
            if self._inspector is not None:
                self._inspector.feed(piece)
            self._write(piece)
            done += len(piece)
            if done >= _STEP_BYTES:
                return True
        self._pending = iter(())
        return False

    def _write(self, piece: BytesLike) -> None:
        if self.bytes_written + len(piece) > self._max_size_bytes:
            raise TooBigError(f"The image is larger than the allowed {self._max_size_bytes} bytes")
        if self._is_hole(piece):
            os.lseek(self._fd, len(piece), os.SEEK_CUR)
            self._ends_in_hole = True
        else:
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
            self._ends_in_hole = False
        self.bytes_written += len(piece)
        if self.bytes_written - self._written_back >= _WRITE_BACK_BYTES:
            self._begin_write_back()

    def _is_hole(self, piece: BytesLike) -> bool:
        """Whether a raw disk's piece is all zeros; comparing ends at the first other byte."""
        return (
            self._declared is ImageFormat.RAW
            and _SMALLEST_HOLE_BYTES <= len(piece) <= len(_ZEROS)
            and _ZEROS.startswith(piece)
        )

    def _begin_write_back(self) -> None:
        length = self.bytes_written - self._written_back
        os.posix_fadvise(self._fd, self._written_back, length, os.POSIX_FADV_DONTNEED)
        self._written_back = self.bytes_written
