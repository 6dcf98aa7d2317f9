# SPDX-License-Identifier: Apache-2.0
"""The asynchronous side of a copy: its thread, its deadlines, its log lines, its clean-up.

A copy waits for two stores at once, so it works in a thread of its own instead of one of theirs:
when one of them hangs, neither loses a thread. Steps and clean-up share that thread, hence nothing
is removed under a step that still runs.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from ssvm_agent import log
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.errors import PoolError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.storage.copying import CopiedFile, FileCopy
from ssvm_agent.storage.errors import (
    NoSpaceError,
    StorageError,
    StoreUnavailableError,
    from_os_error,
)
from ssvm_agent.storage.stores import Life, Store

_logger = logging.getLogger(__name__)

T = TypeVar("T")

# For one step of 16 MiB or one small operation: a store that needs longer is as good as dead.
STEP_DEADLINE_S: Final = 300.0
# For making a file durable; a server may hold all of it in memory until then.
_SYNC_S_PER_GIB: Final = 900.0
_CLEAN_UP_DEADLINE_S: Final = 60.0
_LOG_EVERY_PERCENT: Final = 10

# Since this version a server copies by itself (RFC 7862); before, copy_file_range only moves the
# data through this machine, unverified.
_NFS_COPIES_SINCE: Final = (4, 2)


class Copier:
    """One copy job of any number of files; an async context manager.

    Leaving it with an error removes every temporary file that was not renamed, and then calls what
    was given to :meth:`undo`, the last first.

    Args:
        what: What is copied, for the log.
        clock: For the speed in the log.
    """

    def __init__(self, what: str, *, clock: Clock) -> None:
        self._what = what
        self._clock = clock
        self._pool = WorkPool(f"copy of {what}", threads=1)
        self._copies: list[FileCopy] = []
        self._undo: list[Callable[[], None]] = []
        self._expected_bytes = 0
        self._done_bytes = 0
        self._shown_percent = 0
        self._started_s = clock.monotonic()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._log_end()
            else:
                await self._clean_up()
        finally:
            self._pool.close()

    def expect(self, size_bytes: int) -> None:
        """Tell how much data there will be, for the percentages in the log."""
        self._expected_bytes = size_bytes
        log.event(_logger, logging.INFO, "copy started", of=self._what, bytes=size_bytes)

    def undo(self, action: Callable[[], None]) -> None:
        """Have something blocking done should the job fail; its ``OSError`` is logged."""
        self._undo.append(action)

    async def call(
        self,
        fn: Callable[..., T],
        *args: Any,
        what: str = "",
        deadline_s: float = STEP_DEADLINE_S,
        **kwargs: Any,
    ) -> T:
        """Run something blocking in the thread of this job.

        Args:
            fn: It raises plain ``OSError`` or storage errors.
            args: Its positional arguments.
            what: What it does, as the end of "Unable to …"; by default "copy <this>".
            deadline_s: For this call.
            kwargs: Its keyword arguments.

        Raises:
            StoreUnavailableError: It was not done in time.
            StorageError: What an ``OSError`` of it means.
        """
        try:
            return await self._pool.call(fn, *args, deadline_s=deadline_s, **kwargs)
        except PoolError as error:
            raise StoreUnavailableError(
                f"Unable to {what or f'copy {self._what}'}: the secondary storage does not respond",
                detail=error.message,
            ) from error
        except OSError as error:
            raise from_os_error(error, what or f"copy {self._what}") from error

    async def copy(
        self,
        source: Path,
        temporary: Path,
        examine: Callable[[int], T],
        *,
        in_kernel: bool,
        keep_time: bool = False,
    ) -> tuple[CopiedFile, T]:
        """Copy one file, verify it, have it examined; the caller renames it.

        Args:
            source: A regular file.
            temporary: Name under which it grows.
            examine: Looks at the finished file by its descriptor; raises to refuse it.
            in_kernel: See :func:`copies_in_kernel`.
            keep_time: Whether it keeps its modification time.

        Raises:
            CopyMismatchError: The target differs from the source.
            StorageError: One of the stores failed.
            AgentError: What ``examine`` raised.
        """
        copy = FileCopy(source, temporary, in_kernel=in_kernel, keep_time=keep_time)
        self._copies.append(copy)
        what = f"copy {source.name}"
        await self.call(copy.open, what=what)
        before = self._done_bytes
        while await self.call(copy.step, what=what, deadline_s=_deadline_of(copy)):
            self._done_bytes = before + copy.data_bytes
            self._log_progress()
        self._done_bytes = before + copy.data_bytes
        found = await self.call(copy.look, examine, what=f"inspect the copy of {source.name}")
        await self.call(copy.close, what=what)
        return copy.result(), found

    async def _clean_up(self) -> None:
        """Leave nothing behind; what cannot be removed now is swept later (requirements R13)."""
        for action in (*(copy.discard for copy in self._copies), *reversed(self._undo)):
            try:
                await self.call(action, what="clean up", deadline_s=_CLEAN_UP_DEADLINE_S)
            except StorageError as error:
                log.event(
                    _logger, logging.WARNING, "copy left something behind", of=self._what,
                    reason=error.for_operators(),
                )  # fmt: skip

    def _log_progress(self) -> None:
        if not self._expected_bytes:
            return
        percent = min(100, 100 * self._done_bytes // self._expected_bytes)
        if percent - self._shown_percent >= _LOG_EVERY_PERCENT:
            self._shown_percent = percent - percent % _LOG_EVERY_PERCENT
            log.event(
                _logger, logging.INFO, "copying", of=self._what, percent=self._shown_percent,
                bytes=self._done_bytes,
            )  # fmt: skip

    def _log_end(self) -> None:
        seconds = max(self._clock.monotonic() - self._started_s, 0.001)
        copied = [copy.result() for copy in self._copies]
        log.event(
            _logger, logging.INFO, "copy done", of=self._what, files=len(copied),
            bytes=self._done_bytes, mib_s=round(self._done_bytes / seconds / (1 << 20), 1),
            server_side=all(one.in_kernel for one in copied), seconds=round(seconds, 3),
        )  # fmt: skip


def _deadline_of(copy: FileCopy) -> float:
    if not copy.is_syncing:
        return STEP_DEADLINE_S
    return max(STEP_DEADLINE_S, _SYNC_S_PER_GIB * copy.size_bytes / (1 << 30))


def copies_in_kernel(source: Store, destination: Store) -> bool:
    """Whether a copy between these two may be left to the kernel (blocking).

    It is when both are one file system whose server copies by itself, or a local one.
    """
    if source.root.stat().st_dev != destination.root.stat().st_dev:
        return False
    if source.url.scheme != "nfs":
        return True
    with contextlib.suppress(ValueError):
        parts = (source.negotiated_version or "").split(".")
        return tuple(int(part) for part in parts) >= _NFS_COPIES_SINCE
    return False


async def require_alive(destination: Store) -> None:
    """Make sure that what is written lands on the store and not beneath a mount that is gone.

    Raises:
        StoreUnavailableError: It would not (requirements R12).
    """
    life = await destination.probe()
    if life is not Life.ALIVE:
        raise StoreUnavailableError(
            f"The secondary storage {destination.ref.display} is {life.value}"
        )


async def check_space(destination: Store, needed_bytes: int, *, in_kernel: bool) -> None:
    """Refuse at once what cannot fit.

    Args:
        destination: Where it goes.
        needed_bytes: How much data there is.
        in_kernel: Whether the file system copies by itself; it may then share the data, so its
            free space says nothing.

    Raises:
        NoSpaceError: There is less left than needed.
    """
    found = await destination.statvfs()
    free_bytes = found.f_bavail * found.f_frsize
    if not in_kernel and found.f_blocks and free_bytes < needed_bytes:
        raise NoSpaceError(
            f"No space is left on the secondary storage {destination.ref.display}: "
            f"{needed_bytes} bytes are needed and {free_bytes} are free"
        )
