# SPDX-License-Identifier: Apache-2.0
"""Why a link that works is left for another server: preference and migration.

It decides and says where to; leaving and connecting is done by the one task that owns the link
(agent-lifecycle.md 3.7).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from ssvm_agent.host.clock import Clock
from ssvm_agent.host.tasks import BackgroundTasks, TaskHandle
from ssvm_agent.link.servers import ServerList

_logger: Final = logging.getLogger(__name__)

# Compat: agent-lifecycle.md 3.7, a migration begins this long after its answer.
MIGRATION_DELAY_S: Final = 3.0
_SHUFFLE: Final = "shuffle"


class MovableLink(Protocol):
    """The link, as far as it can be led elsewhere."""

    def present_server(self) -> str | None:
        """The server there is a link to; None without a link."""
        ...

    def is_idle(self) -> bool:
        """Whether there is a link and no request is being carried out."""
        ...

    def move_to(self, server: str, reason: str, *, is_transfer: bool) -> None:
        """Leaves the present server, if any, and connects to this one next."""
        ...


class Moves:
    """The checks and migrations of one agent.

    Args:
        servers: The list that is looked at.
        link: What is moved.
        clock: Time.
        tasks: Owner of the waiting.
        probe: Whether a server can be reached.
        interval_s: Interval of the check that beats what servers say; 0 for none.
    """

    def __init__(
        self,
        servers: ServerList,
        link: MovableLink,
        *,
        clock: Clock,
        tasks: BackgroundTasks,
        probe: Callable[[str], Awaitable[bool]],
        interval_s: int,
    ) -> None:
        self._servers = servers
        self._link = link
        self._clock = clock
        self._tasks = tasks
        self._probe = probe
        self._interval_s = interval_s
        self._check: TaskHandle | None = None

    def schedule_check(self, interval_s: int | None) -> None:
        """Replaces the schedule of the check; None or 0 ends it."""
        if self._check is not None:
            self._check.cancel()
            self._check = None
        interval_s = self._interval_s or interval_s or 0
        if interval_s > 0:
            self._check = self._tasks.start(
                self._check_at_intervals(interval_s), name="preferred server check"
            )

    def check_now(self) -> None:
        """Looks at once whether the preferred server is there."""
        self._tasks.start(self._prefer(), name="preferred server")

    def migrate(self, prepare: Callable[[], None]) -> None:
        """Moves, after a while, to the first reachable server that is not to be avoided.

        Args:
            prepare: Brings the list and the avoid list up to date when the time has come.
        """
        self._tasks.start(self._migrate(prepare), name="migration")

    async def _check_at_intervals(self, interval_s: int) -> None:
        while True:
            await self._clock.sleep(interval_s)
            await self._prefer()
            if self._servers.algorithm == _SHUFFLE:
                return  # Compat: agent-lifecycle.md 3.7, once is enough with a shuffled list.

    async def _prefer(self) -> None:
        preferred = self._servers.preferred
        if self._link.present_server() in (None, preferred):
            return
        is_there = preferred in self._servers.allowed() and await self._probe(preferred)
        if is_there and self._link.is_idle():
            self._servers.start_over()
            reason = "it is the preferred management server"
            self._link.move_to(preferred, reason, is_transfer=False)

    async def _migrate(self, prepare: Callable[[], None]) -> None:
        await self._clock.sleep(MIGRATION_DELAY_S)
        prepare()
        for server in self._candidates():
            # Differs: agent-lifecycle.md 3.7, every candidate is tried, not only the first.
            if await self._probe(server):
                reason = "the management server asks for it"
                self._link.move_to(server, reason, is_transfer=True)
                return
        _logger.warning("no other management server can be reached: the agent does not migrate")

    def _candidates(self) -> Sequence[str]:
        present = self._link.present_server()
        return [server for server in self._servers.allowed() if server != present]
