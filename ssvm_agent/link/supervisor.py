# SPDX-License-Identifier: Apache-2.0
"""Keeping one link to some management server, for as long as the process lives.

Theory of operation
    One task owns the link. It takes the next server, opens a link, lets a session run until the
    link ends, notes why, pauses, and begins again (agent-lifecycle.md 2.8 and 3.3). Nothing else
    opens or replaces a link: whoever wants a change (a migration, the check for the preferred
    server, a refusal) says where to go next and ends the session, and the one task does the rest.
    So there are never two links, two ping schedules or two reconnects at a time.

    Handlers reach it through the methods from ``ready`` on; these return at once and are called in
    the loop, from within a request. A word about the link that comes from a request of an earlier
    link is ignored.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from ssvm_agent import log
from ssvm_agent.config.settings import Settings
from ssvm_agent.errors import AgentError, ConfigError
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.tasks import BackgroundTasks
from ssvm_agent.link.errors import LinkError, MovedError, RefusedError, Step
from ssvm_agent.link.memory import Keeper, LinkMemory
from ssvm_agent.link.moves import Moves
from ssvm_agent.link.opening import Opener
from ssvm_agent.link.reach import is_reachable
from ssvm_agent.link.servers import Backoff, ServerList
from ssvm_agent.link.session import ORIGIN, RequestSink, Session, StartupTimeoutError
from ssvm_agent.link.startup import StartupFacts, startup_command
from ssvm_agent.link.status import LinkState, LinkStatus, StatusBoard
from ssvm_agent.messages.agent import StartupAnswer
from ssvm_agent.wire.connection import SequenceCounter

_logger: Final = logging.getLogger(__name__)

_PROBE_DEADLINE_S: Final = 5.0  # 3.7
_STOP_PAUSE_S: Final = 1.0  # Compat: agent-lifecycle.md 3.6
_MAX_REASON: Final = 500  # a refusal may carry a whole stack trace


def _chance() -> float:
    return secrets.randbelow(1000) / 1000


class Supervisor:
    """The agent's connection to the management servers.

    Args:
        settings: Servers, port, directories, deadlines.
        facts: What Startup says; called in the pool before every connect.
        memory: What outlives a restart.
        pool: For whatever blocks.
        clock: Time.
        jitter: A number in [0, 1) for each pause.
        on_change: Told of every change of the status.

    Raises:
        ConfigError: No management server is known.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        facts: Callable[[], StartupFacts],
        memory: LinkMemory,
        pool: WorkPool,
        clock: Clock,
        jitter: Callable[[], float] = _chance,
        on_change: Callable[[LinkStatus], None] | None = None,
    ) -> None:
        if not settings.management_servers:
            raise ConfigError("No management server is known: the setting host is empty.")
        self._settings = settings
        self._facts = facts
        self._pool = pool
        self._clock = clock
        self._opener = Opener(settings.conf_dir, settings.link, pool=pool, clock=clock)
        self._servers = ServerList(settings.management_servers)
        self._backoff = Backoff(
            initial_s=settings.link.backoff_initial_s,
            max_s=settings.link.backoff_max_s,
            jitter=jitter,
        )
        self._board = StatusBoard(clock, on_change, host_id=memory.host_id)
        self._sequences = SequenceCounter()
        self._startup_deadline_s = settings.link.startup_timeout_s
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._side = BackgroundTasks()
        self._keeper = Keeper(memory, pool, self._side)
        self._moves = Moves(
            self._servers,
            self,
            clock=clock,
            tasks=self._side,
            probe=self._is_reachable,
            interval_s=settings.link.preferred_host_check_s,
        )
        self._wake = asyncio.Event()
        self._next_server: str | None = None
        self._is_transferred = False
        self._may_reconnect = True

    # --- for the application -------------------------------------------------------------------

    async def run(self, sink: RequestSink) -> None:
        """Keeps the link until :meth:`stop`, or until it ends after a server forbade to return.

        Args:
            sink: Carries out the requests of the servers.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self._task = group.create_task(self._stay_connected(sink), name="link")
                if not self._may_reconnect:
                    self._task.cancel()
        finally:
            self._board.set(LinkState.STOPPED)

    async def stop(self) -> None:
        """Tells the server that the agent stops, and ends :meth:`run`; takes a second at most."""
        self._may_reconnect = False
        if self._session is not None:
            await self._session.announce_stop(_STOP_PAUSE_S)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def status(self) -> LinkStatus:
        """The link at this moment."""
        return replace(
            self._board.status,
            servers=self._servers.servers,
            avoid=self._servers.avoid,
            algorithm=self._servers.algorithm,
            requests=self._session.requests if self._session else 0,
        )

    # --- for handlers --------------------------------------------------------------------------

    def ready(
        self,
        *,
        host_id: int | None,
        host_uuid: str | None,
        host_name: str | None,
        servers: Sequence[str] | None,
        avoid: Sequence[str] | None,
        algorithm: str | None,
        check_interval_s: int | None,
    ) -> None:
        """A Ready came: the agent is up at this server (agent-lifecycle.md 2.5)."""
        session = self._session_spoken_of()
        if session is None:
            return
        session.ready(host_id)
        self._backoff.reset()
        self._keeper.keep_host(host_id, host_uuid, host_name)
        self._apply(servers or (), avoid, algorithm, check_interval_s)
        self._board.ready(host_id)

    def refused(self, reason: str) -> None:
        """The server does not want this agent: leave, and come back later.

        Differs: agent-lifecycle.md 6, the process stays up.
        """
        session = self._session_spoken_of()
        if session is not None:
            text = reason.strip().partition("\n")[0][:_MAX_REASON]
            session.end(RefusedError(f"The management server refused this agent: {text}"))

    def apply_servers(
        self,
        servers: Sequence[str],
        *,
        avoid: Sequence[str] | None,
        algorithm: str | None,
        check_interval_s: int | None,
        check_now: bool,
    ) -> None:
        """Takes a server list (agent-lifecycle.md 3.7)."""
        self._apply(servers, avoid, algorithm, check_interval_s)
        if check_now:
            self._moves.check_now()

    def migrate(
        self,
        servers: Sequence[str] | None,
        *,
        avoid: Sequence[str] | None,
        algorithm: str | None,
        check_interval_s: int | None,
    ) -> None:
        """Moves to another server, a little later (agent-lifecycle.md 3.7)."""
        self._moves.migrate(
            lambda: self._update_before_migration(servers or (), avoid, algorithm, check_interval_s)
        )

    def forbid_reconnect(self) -> None:
        """The server sends us away: no pings, and no new link after this one (3.5)."""
        session = self._session_spoken_of()
        if session is not None:
            self._may_reconnect = False
            session.stop_pings()

    # --- for the session -----------------------------------------------------------------------

    def startup_accepted(self, answer: StartupAnswer) -> None:
        """The server took the Startup; the id is 0 unless the host is known already (2.4)."""
        self._is_transferred = False
        self._startup_deadline_s = self._settings.link.startup_timeout_s
        self._keeper.keep_host(answer.host_id, answer.host_uuid, answer.host_name)
        self._board.accepted(answer.ping_interval)

    def avoid_servers(self, servers: list[str]) -> None:
        """A PingAnswer names the servers to avoid from now on."""
        self._servers.avoid_only(servers)

    # --- for moves -----------------------------------------------------------------------------

    def present_server(self) -> str | None:
        """The server there is a link to; None without a link."""
        return self._board.status.server if self._session is not None else None

    def is_idle(self) -> bool:
        """Whether there is a link and no request is being carried out."""
        return self._session is not None and self._session.requests == 0

    def move_to(self, server: str, reason: str, *, is_transfer: bool) -> None:
        """Leaves the present server and connects to this one next, even when told not to return."""
        self._next_server = server
        self._is_transferred = is_transfer
        if self._session is not None:
            self._session.end(MovedError(f"The agent moves to {server}: {reason}."))
        self._wake.set()

    # --- the one task --------------------------------------------------------------------------

    async def _stay_connected(self, sink: RequestSink) -> None:
        async with self._side:
            while True:
                server = self._take_server()
                try:
                    error = await self._serve(server, sink)
                except LinkError as failure:
                    error = failure
                except AgentError as failure:
                    error = LinkError(failure.message, step=Step.TLS, detail=failure.detail)
                self._note_end(server, error)
                if self._next_server is not None:
                    continue
                if not self._may_reconnect:
                    return
                await self._pause()

    def _take_server(self) -> str:
        server, self._next_server = self._next_server, None
        return server or self._servers.next()

    async def _serve(self, server: str, sink: RequestSink) -> LinkError:
        self._board.set(LinkState.CONNECTING, server=server)
        host_id = self._keeper.host_id
        startup = startup_command(
            await self._pool.call(self._facts), host_id=host_id, transferred=self._is_transferred
        )
        session = Session(
            sink,
            self,
            clock=self._clock,
            sequences=self._sequences,
            missing_limit=self._settings.link.ping_missing_limit,
        )
        transport, trust = await self._opener.open(
            server,
            self._settings.port,
            session.connection,
            on_event=session.on_event,
            on_handshake=lambda: self._board.set(LinkState.HANDSHAKE),
        )
        self._session = session
        try:
            self._board.set(LinkState.STARTUP_SENT, trust=trust.value)
            return await session.run(
                transport,
                startup,
                host_id=host_id,
                startup_deadline_s=self._startup_deadline_s,
            )
        finally:
            self._session = None
            transport.abort()

    def _note_end(self, server: str, error: LinkError) -> None:
        if isinstance(error, StartupTimeoutError):
            # Compat: agent-lifecycle.md 2.3, 180 s and from then on 360 s until an answer came.
            self._startup_deadline_s = 2 * self._settings.link.startup_timeout_s
        if isinstance(error, MovedError):
            log.event(_logger, logging.INFO, "link left", server=server, reason=error.message)
            self._board.set(LinkState.DISCONNECTED)
            return
        # A server that is away for hours gets one line, not one for each attempt.
        is_news = error.message != self._board.status.last_error
        log.event(
            _logger, logging.WARNING if is_news else logging.DEBUG, "no link",
            server=server, step=error.step.value, reason=error.for_operators(),
        )  # fmt: skip
        self._board.failed(error)

    async def _pause(self) -> None:
        pause_s = self._backoff.next_s(len(self._servers.servers))
        self._wake.clear()
        alarm = self._side.start(self._sound_alarm(pause_s), name="pause")
        await self._wake.wait()
        alarm.cancel()

    async def _sound_alarm(self, pause_s: float) -> None:
        await self._clock.sleep(pause_s)
        self._wake.set()

    # --- lists, checks, moves ------------------------------------------------------------------

    def _session_spoken_of(self) -> Session | None:
        """The present session, unless the request at hand came over an earlier one."""
        origin = ORIGIN.get()
        return self._session if origin is None or origin is self._session else None

    def _apply(
        self,
        servers: Sequence[str],
        avoid: Sequence[str] | None,
        algorithm: str | None,
        check_interval_s: int | None,
    ) -> None:
        if algorithm and self._servers.replace(servers, algorithm):
            self._keeper.keep_servers(self._servers.servers, algorithm)
        self._servers.avoid_only(avoid)
        self._moves.schedule_check(check_interval_s)

    def _update_before_migration(
        self,
        servers: Sequence[str],
        avoid: Sequence[str] | None,
        algorithm: str | None,
        check_interval_s: int | None,
    ) -> None:
        if servers and algorithm:
            self._apply(servers, avoid, algorithm, check_interval_s)
        else:
            self._servers.avoid_only(avoid)

    async def _is_reachable(self, server: str) -> bool:
        return await is_reachable(
            server, self._settings.port, deadline_s=_PROBE_DEADLINE_S, pool=self._pool
        )
