# SPDX-License-Identifier: Apache-2.0
"""Small pools of daemon threads for blocking work, with deadlines and an account of stuck threads.

Theory of operation: a system call on a dead network file system does not come back and cannot be
cancelled. So the *wait* for it ends by deadline, while its thread goes on unattended and is
counted as stuck until the call returns. Each store has a pool of its own, hence a dead server
costs its own threads and nobody else's. When all threads of a pool are stuck, further calls fail
at once instead of queueing behind them. The threads are daemons: a stuck one never keeps the
process alive (docs/adr/0030-per-store-pools.md).
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ssvm_agent.host.errors import PoolClosedError, PoolDeadlineError, PoolStuckError

T = TypeVar("T")

# Longer than any healthy metadata operation on a busy server, shorter than the patience of the
# management server for the commands that only look (storage-commands.md 3.9, 3.19).
DEFAULT_DEADLINE_S: Final = 60.0


@dataclass(slots=True, eq=False)
class _Work:
    """One call on its way through the pool; fields are written under the pool's lock."""

    call: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    running: bool = False
    abandoned: bool = False
    stuck: bool = False


class WorkPool:
    """A bounded number of daemon threads that run blocking functions for one resource.

    Args:
        name: What the threads work on, as a user may read it ("store 665d…").
        threads: The most that run at the same time; they are started when first needed.
    """

    def __init__(self, name: str, threads: int = 4) -> None:
        self.name = name
        self.threads = threads
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._started = 0
        self._busy = 0
        self._queued = 0
        self._stuck = 0
        self._closed = False

    @property
    def stuck(self) -> int:
        """How many threads hang in work whose deadline is over."""
        return self._stuck

    @property
    def busy(self) -> int:
        """How many threads are working, the stuck ones included."""
        return self._busy

    async def call(
        self,
        fn: Callable[..., T],
        *args: Any,
        deadline_s: float | None = DEFAULT_DEADLINE_S,
        **kwargs: Any,
    ) -> T:
        """Run ``fn(*args, **kwargs)`` in a thread of the pool and return its result.

        Cancelling the caller abandons the call: it is dropped if it waits for a thread, and left to
        end by itself if it runs.

        Args:
            fn: A blocking function; it sees the caller's context variables.
            args: Its positional arguments.
            deadline_s: For waiting in the queue and running together; None waits without end.
            kwargs: Its keyword arguments.

        Raises:
            PoolDeadlineError: The call was not done in time.
            PoolStuckError: All threads are stuck already; nothing was started.
            PoolClosedError: The pool was closed; nothing was started.
        """
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        future: asyncio.Future[T] = loop.create_future()
        work = _Work(lambda: context.run(fn, *args, **kwargs), loop, future)
        self._submit(work)
        try:
            await asyncio.wait([future], timeout=deadline_s)
        except asyncio.CancelledError:
            self._abandon(work, late=False)
            raise
        # What is done counts, also when the loop was held up beyond the deadline.
        if future.done():
            return future.result()
        self._abandon(work, late=True)
        raise PoolDeadlineError(self.name, deadline_s or 0)

    def close(self) -> None:
        """Let idle threads end and refuse new work; running work is left to end by itself."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            started = self._started
        for _ in range(started):
            self._queue.put(None)

    def _submit(self, work: _Work) -> None:
        with self._lock:
            if self._closed:
                raise PoolClosedError(self.name)
            if self._stuck >= self.threads:
                raise PoolStuckError(self.name)
            self._queued += 1
            idle = self._started - self._busy
            if self._queued > idle and self._started < self.threads:
                self._start_thread()
        self._queue.put(work)

    def _start_thread(self) -> None:
        self._started += 1
        threading.Thread(
            target=self._work_loop, name=f"{self.name}-{self._started}", daemon=True
        ).start()

    def _abandon(self, work: _Work, *, late: bool) -> None:
        work.future.cancel()
        with self._lock:
            work.abandoned = True
            if late and work.running and not work.stuck:
                work.stuck = True
                self._stuck += 1

    def _work_loop(self) -> None:
        while (work := self._queue.get()) is not None:
            with self._lock:
                self._queued -= 1
                if work.abandoned:
                    continue
                work.running = True
                self._busy += 1
            try:
                result, error = work.call(), None
            except BaseException as caught:  # noqa: BLE001 - handed to the caller, whatever it is
                result, error = None, caught
            with self._lock:
                work.running = False
                self._busy -= 1
                if work.stuck:
                    self._stuck -= 1
            _deliver(work, result, error)
            del work, result, error


def _deliver(work: _Work, result: object, error: BaseException | None) -> None:
    try:
        work.loop.call_soon_threadsafe(_settle, work.future, result, error)
    except RuntimeError:
        # The loop is closed: the process is on its way out and nobody waits any more.
        return


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):
        future.set_exception(RuntimeError("blocking work raised StopIteration"))
    else:
        future.set_exception(error)
