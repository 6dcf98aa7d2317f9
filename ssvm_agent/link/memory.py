# SPDX-License-Identifier: Apache-2.0
"""What the link remembers over a restart, and writing it down without making anybody wait.

Where it is kept is somebody else's business; here only the order of the writes is kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.tasks import BackgroundTasks

_logger: Final = logging.getLogger(__name__)


class LinkMemory(Protocol):
    """What the link knows across restarts; the writing methods block."""

    @property
    def host_id(self) -> int | None:
        """The host id of the last Ready."""
        ...

    def save_host(self, host_id: int, uuid: str, name: str) -> None:
        """Keeps the identity the server gave."""
        ...

    def save_servers(self, servers: Sequence[str], algorithm: str) -> None:
        """Keeps the server list."""
        ...


class Keeper:
    """Writes to the memory in the background, in the order it was told.

    Args:
        memory: Where to.
        pool: For the blocking writes.
        tasks: Owner of the writing.
    """

    def __init__(self, memory: LinkMemory, pool: WorkPool, tasks: BackgroundTasks) -> None:
        self._memory = memory
        self._pool = pool
        self._tasks = tasks
        self._turn = asyncio.Lock()

    @property
    def host_id(self) -> int | None:
        """The host id that was kept last."""
        return self._memory.host_id

    def keep_host(self, host_id: int | None, uuid: str | None, name: str | None) -> None:
        """Keeps the identity of the host; an id of 0 or none at all is no identity."""
        if host_id and host_id > 0:
            self._start(self._memory.save_host, host_id, uuid or "", name or "")

    def keep_servers(self, servers: Sequence[str], algorithm: str) -> None:
        """Keeps the server list."""
        self._start(self._memory.save_servers, servers, algorithm)

    def _start(self, save: Callable[..., None], *values: object) -> None:
        self._tasks.start(self._save(save, *values), name="saving", on_error=_failed)

    async def _save(self, save: Callable[..., None], *values: object) -> None:
        # The pool has several threads, and what was told last has to be written last.
        async with self._turn:
            await self._pool.call(save, *values)


def _failed(error: Exception) -> None:
    _logger.warning("the agent's state could not be saved: %s", error)
