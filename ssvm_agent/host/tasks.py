# SPDX-License-Identifier: Apache-2.0
"""Background work with an owner, and locks by name.

Theory of operation: the root TaskGroup of the application holds the essential services, and one of
them failing ends the process. Everything else (requests, jobs, sweeps) is started here instead.
The guard at the edge of such a task catches what went wrong, logs it once and tells the owner; the
other tasks do not notice. Leaving the context cancels what still runs and waits for it, so no task
outlives its owner.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

_logger = logging.getLogger(__name__)


class TaskHandle:
    """A started background task, as far as its starter may touch it."""

    __slots__ = ("_task",)

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    @property
    def name(self) -> str:
        """The name given at the start."""
        return self._task.get_name()

    def cancel(self) -> None:
        """Ask the task to stop; it may still clean up afterwards."""
        self._task.cancel()

    def done(self) -> bool:
        """Whether the task has ended, in whatever way."""
        return self._task.done()

    async def wait(self) -> None:
        """Return when the task has ended; a cancelled waiter leaves it running."""
        await asyncio.wait([self._task])


class BackgroundTasks:
    """The owner of tasks that may fail without taking anything else along.

    Use as an async context manager; on exit whatever is left is cancelled and awaited.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._cancel_all()

    def start(
        self,
        coro: Coroutine[Any, Any, object],
        *,
        name: str,
        on_error: Callable[[Exception], None] | None = None,
    ) -> TaskHandle:
        """Run a coroutine in the background.

        Args:
            coro: The work; its result is dropped.
            name: Shown in logs when it fails.
            on_error: Called once, in the loop, with the exception that ended the task. Without it
                the exception is logged with its stack; with it the owner decides what to say.
        """
        task = asyncio.create_task(_guarded(coro, name, on_error), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task cancelled before its first step never gets to its work.
        task.add_done_callback(lambda _: coro.close())
        return TaskHandle(task)

    async def drain(self, deadline_s: float) -> bool:
        """Let the running tasks end by themselves, then cancel those that did not.

        Returns:
            Whether all of them ended within the deadline.
        """
        waiting = set(self._tasks)
        if not waiting:
            return True
        _, late = await asyncio.wait(waiting, timeout=deadline_s)
        await self._cancel_all()
        return not late

    async def _cancel_all(self) -> None:
        while self._tasks:
            running = set(self._tasks)
            for task in running:
                task.cancel()
            await asyncio.wait(running)


async def _guarded(
    coro: Coroutine[Any, Any, object], name: str, on_error: Callable[[Exception], None] | None
) -> None:
    try:
        await coro
    except Exception as error:
        # The edge of background work (see the module docstring): nothing may pass it.
        if on_error is None:
            _logger.exception("background task failed task=%s", name)
            return
        try:
            on_error(error)
        except Exception:
            _logger.exception("error handler of a background task failed task=%s", name)


@dataclass(slots=True)
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class KeyedLocks:
    """One lock per key, for as long as somebody holds or wants it."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def is_held(self, key: Hashable) -> bool:
        """Whether somebody holds the lock of this key now."""
        entry = self._entries.get(key)
        return entry is not None and entry.lock.locked()

    @asynccontextmanager
    async def hold(self, key: Hashable) -> AsyncIterator[None]:
        """Hold the lock of this key; waiters are served in order of arrival."""
        entry = self._entries.setdefault(key, _Entry())
        entry.users += 1
        try:
            async with entry.lock:
                yield
        finally:
            entry.users -= 1
            if not entry.users:
                del self._entries[key]
