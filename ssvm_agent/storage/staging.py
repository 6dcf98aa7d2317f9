# SPDX-License-Identifier: Apache-2.0
"""Copying a set of files between stores: all of them appear at the target, or none.

Theory of operation: every file is copied to a temporary beside its final name, synced and compared
(:mod:`ssvm_agent.storage.filecopy`); only when all are there, they are renamed in one short step,
the properties file last. Until then an empty properties file keeps the directory out of lists.
Whatever ends the copy before, an error, a deadline or a cancellation, removes the temporaries, the
empty properties file and the directories that were made.

A copy has threads of its own, because it waits for two stores: one that hangs must not take threads
of the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar
from uuid import uuid4

from ssvm_agent import log
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.errors import PoolError
from ssvm_agent.host.files import fsync_directory
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.storage.errors import (
    ConflictError,
    NoSpaceError,
    StorageError,
    StoreUnavailableError,
    from_os_error,
)
from ssvm_agent.storage.filecopy import FileCopy, Piece
from ssvm_agent.storage.layout import ImageKind, properties_name, temporary_name
from ssvm_agent.storage.paths import make_directories, resolve_inside
from ssvm_agent.storage.properties import mark_in_progress
from ssvm_agent.storage.stores import Store

T = TypeVar("T")

_logger = logging.getLogger(__name__)

# Two pieces at a time keep reading and writing going at once.
_WORKERS: Final = 2
# A piece of 16 MiB at 130 KiB/s; slower than that is a store that hangs.
_STEP_S: Final = 120.0
# What a server may need to bring a gibibyte from its memory to its disks.
_SYNC_S_PER_GIB: Final = 900.0
_REPORT_EVERY_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyTools:
    """What every copy needs.

    Attributes:
        owner: Host name of this agent; part of the names of temporaries.
        clock: For progress reports and the date in properties files.
    """

    owner: str
    clock: Clock


@dataclass(frozen=True, slots=True)
class Pair:
    """A file and the place it goes to, relative to their stores."""

    source: PurePosixPath
    target: PurePosixPath


@asynccontextmanager
async def staged(
    source: Store, target: Store, pairs: Sequence[Pair], *, kind: ImageKind, tools: CopyTools
) -> AsyncIterator[Staging]:
    """Copy files to temporaries at the target; the body looks at them and publishes.

    Args:
        source: Where the files are.
        target: Where they go.
        pairs: The files, in the order in which they are to appear.
        kind: Decides the properties file that marks the copy as going on.
        tools: See :class:`CopyTools`.

    Raises:
        StorageError: Something went wrong; nothing is left at the target.
    """
    staging = Staging(source, target, pairs, kind, tools)
    try:
        await staging.copy()
        yield staging
    finally:
        await staging.leave()


class Staging:
    """Files that were copied and wait to be published; made by :func:`staged`."""

    def __init__(
        self,
        source: Store,
        target: Store,
        pairs: Sequence[Pair],
        kind: ImageKind,
        tools: CopyTools,
    ) -> None:
        self.job_id = str(uuid4())
        self._source = source
        self._target = target
        self._kind = kind
        self._tools = tools
        self._pool = WorkPool(f"the copy {self.job_id[:8]}", threads=_WORKERS)
        self._places = _Places(target.root, pairs, kind, tools.owner, self.job_id)
        self._copies: list[FileCopy] = []
        self._reported_s = tools.clock.monotonic()

    @property
    def size_bytes(self) -> int:
        """Length of all files together."""
        return sum(copy.size_bytes for copy in self._copies)

    def temporary(self, pair: Pair) -> Path:
        """Where the copy of a file waits."""
        return self._places.temporary(pair)

    async def length(self, pair: Pair) -> int:
        """Length of a copy, as it is now."""
        return (await self.call(self.temporary(pair).lstat, what="measure the copy")).st_size

    async def copy(self) -> None:
        """Copy, sync and compare every file."""
        started_s = self._tools.clock.monotonic()
        pairs = self._places.pairs
        log.event(
            _logger, logging.INFO, "copy started", job=self.job_id, source=self._source.ref.display,
            path=pairs[0].source, target=self._target.ref.display, files=len(pairs),
        )  # fmt: skip
        async with self._target.locks.hold(str(self._places.top)):
            await self.call(self._places.prepare, what=f"prepare {self._places.top}")
        for pair in pairs:
            place = await self.call(resolve_inside, self._source.root, pair.source, must_exist=True)
            copy = FileCopy(place, self.temporary(pair))
            self._copies.append(copy)
            await self.call(copy.open, what=f"copy {pair.source}")
        await self._check_space()
        for pair, copy in zip(pairs, self._copies, strict=True):
            await self._copy_one(pair, copy)
        log.event(
            _logger, logging.INFO, "copy verified", job=self.job_id, bytes=self.size_bytes,
            data=sum(copy.data_bytes for copy in self._copies),
            seconds=round(self._tools.clock.monotonic() - started_s, 1),
        )  # fmt: skip

    async def publish(self, finish: Callable[[Path], None] | None = None) -> None:
        """Give all files their names.

        Args:
            finish: Blocking; called with the directory of the first file when all have their names.

        Raises:
            StorageError: Not all could be renamed; those that could are removed again.
        """
        async with self._target.locks.hold(str(self._places.top)):
            await self.call(self._places.publish, finish, what=f"publish {self._places.top}")

    async def leave(self) -> None:
        """Let go of everything; what was not published is removed."""
        try:
            await self.call(self._let_go)
        except StorageError as error:
            log.event(
                _logger, logging.WARNING, "temporary files left behind", job=self.job_id,
                directory=self._places.top, reason=error.for_operators(),
            )  # fmt: skip
        self._pool.close()

    def _let_go(self) -> None:
        for copy in self._copies:
            copy.close()
        self._places.discard()

    async def call(
        self,
        fn: Callable[..., T],
        *args: Any,
        what: str = "copy",
        deadline_s: float = _STEP_S,
        **kwargs: Any,
    ) -> T:
        """Run a blocking step of this copy.

        Raises:
            StorageError: What an ``OSError`` of it means, or that it was not done in time.
        """
        try:
            return await self._pool.call(partial(fn, *args, **kwargs), deadline_s=deadline_s)
        except PoolError as error:
            raise StoreUnavailableError(
                f"Unable to {what}: one of the stores does not respond", detail=error.message
            ) from error
        except OSError as error:
            raise from_os_error(error, what) from error

    async def _copy_one(self, pair: Pair, copy: FileCopy) -> None:
        what = f"copy {pair.source}"
        await self._each(copy, copy.pieces, copy.copy, what)
        sync_s = _STEP_S + copy.data_bytes / (1 << 30) * _SYNC_S_PER_GIB
        await self.call(copy.sync, what=what, deadline_s=sync_s)
        await self._each(copy, copy.samples(), copy.compare, f"verify {pair.source}")
        await self.call(copy.finish, what=what)

    async def _each(
        self, copy: FileCopy, pieces: list[Piece], step: Callable[[Piece], None], what: str
    ) -> None:
        waiting = iter(pieces)
        done_bytes = 0

        async def work() -> None:
            nonlocal done_bytes
            for piece in waiting:
                await self.call(step, piece, what=what)
                done_bytes += piece.end - piece.start
                self._report(what, done_bytes, copy.data_bytes)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_WORKERS, len(pieces))):
                    group.create_task(work())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    def _report(self, what: str, done_bytes: int, data_bytes: int) -> None:
        now_s = self._tools.clock.monotonic()
        if now_s - self._reported_s >= _REPORT_EVERY_S:
            self._reported_s = now_s
            log.event(
                _logger, logging.INFO, "copy goes on", job=self.job_id, step=what,
                bytes=done_bytes, data=data_bytes, percent=done_bytes * 100 // max(1, data_bytes),
            )  # fmt: skip

    async def _check_space(self) -> None:
        """Refuse at once what cannot fit; a store without figures is simply tried."""
        found = await self._target.statvfs()
        free_bytes = found.f_bavail * found.f_frsize
        needed_bytes = sum(copy.data_bytes for copy in self._copies)
        if found.f_blocks and free_bytes < needed_bytes:
            raise NoSpaceError(
                f"Unable to copy {self._places.pairs[0].source}: it needs {needed_bytes} bytes, "
                f"and {free_bytes} are free on {self._target.ref.display}"
            )


class _Places:
    """The places at the target; its methods block, and never overlap."""

    def __init__(
        self, root: Path, pairs: Sequence[Pair], kind: ImageKind, owner: str, job_id: str
    ) -> None:
        self.pairs = list(pairs)
        self.top = pairs[0].target.parent
        self._root = root
        self._kind = kind
        self._temporaries = {
            pair: pair.target.parent / temporary_name(owner, f"{job_id}-{number}")
            for number, pair in enumerate(pairs)
        }
        self._made: list[Path] = []
        self._lock = threading.Lock()
        self._over = False

    def temporary(self, pair: Pair) -> Path:
        return self._root / self._temporaries[pair]

    def prepare(self) -> None:
        with self._lock:
            for directory in dict.fromkeys(pair.target.parent for pair in self.pairs):
                for place in reversed([directory, *directory.parents[:-1]]):
                    if not (self._root / place).exists():
                        self._made.append(self._root / place)
                make_directories(self._root, directory)
            mark_in_progress(self._root / self.top, self._kind)

    def publish(self, finish: Callable[[Path], None] | None) -> None:
        with self._lock:
            if self._over:
                raise ConflictError("The copy was given up")
            named: list[Path] = []
            try:
                for pair in self.pairs:
                    target = resolve_inside(self._root, pair.target)
                    fresh = not target.exists()
                    self.temporary(pair).replace(target)
                    if fresh:
                        named.append(target)
                for directory in dict.fromkeys(pair.target.parent for pair in self.pairs):
                    fsync_directory(self._root / directory)
                if finish is not None:
                    finish(self._root / self.top)
            except BaseException:
                for target in named:
                    with contextlib.suppress(OSError):
                        target.unlink()
                raise
            self._over = True

    def discard(self) -> None:
        with self._lock:
            if self._over:
                return
            self._over = True
            for temporary in self._temporaries.values():
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    (self._root / temporary).unlink()
            marker = properties_name(self._kind)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if marker and not (self._root / self.top / marker).lstat().st_size:
                    (self._root / self.top / marker).unlink()
            for directory in reversed(self._made):
                # Not empty: somebody else has put something there.
                with contextlib.suppress(OSError):
                    directory.rmdir()
