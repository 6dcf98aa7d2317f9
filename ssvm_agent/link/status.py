# SPDX-License-Identifier: Apache-2.0
"""What the link tells about itself: to the log, the status page and ``ssvm-check`` (R1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from ssvm_agent.host.clock import Clock
from ssvm_agent.link.errors import LinkError, Step


class LinkState(StrEnum):
    """Where the link stands (agent-lifecycle.md 2.8)."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    HANDSHAKE = "handshake"
    STARTUP_SENT = "startup sent"
    SETTING_UP = "setting up"
    READY = "ready"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatus:
    """The link at one moment.

    Attributes:
        state: Where it stands.
        since: When it came there.
        server: The management server it is, or was last, connected or connecting to.
        failing_step: The first step that failed at the last attempt; None when it did not fail.
        last_error: What went wrong last, in one sentence; None once the link is ready.
        failures: Attempts that failed since the link was ready last.
        trust: Why the server's certificate was believed; None before a handshake.
        host_id: The host row's id as the server last told it.
        servers: Management servers in the order they are tried.
        avoid: Servers that ask not to be used at present.
        algorithm: Name of the order's algorithm, as the server called it.
        ping_interval_s: Seconds between pings; None before the first StartupAnswer.
        requests: Requests of the server being worked on.
    """

    state: LinkState
    since: datetime
    server: str | None = None
    failing_step: Step | None = None
    last_error: str | None = None
    failures: int = 0
    trust: str | None = None
    host_id: int | None = None
    servers: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    algorithm: str | None = None
    ping_interval_s: int | None = None
    requests: int = 0

    @property
    def is_ready(self) -> bool:
        """Whether the management server has declared this agent ready."""
        return self.state is LinkState.READY


class StatusBoard:
    """Keeps the status and tells somebody of each change.

    Args:
        clock: For the time of a change.
        on_change: Told of the new status; must not block.
        host_id: As persisted.
    """

    def __init__(
        self,
        clock: Clock,
        on_change: Callable[[LinkStatus], None] | None,
        *,
        host_id: int | None,
    ) -> None:
        self._clock = clock
        self._on_change = on_change
        self.status = LinkStatus(state=LinkState.DISCONNECTED, since=clock.now(), host_id=host_id)

    def set(self, state: LinkState, **changes: Any) -> None:
        """Enters a state, with whatever else changes along."""
        since = self.status.since if state is self.status.state else self._clock.now()
        self.status = replace(self.status, state=state, since=since, **changes)
        if self._on_change is not None:
            self._on_change(self.status)

    def accepted(self, ping_interval_s: int) -> None:
        """The Startup was accepted; a second answer does not undo a Ready."""
        state = LinkState.READY if self.status.is_ready else LinkState.SETTING_UP
        self.set(state, ping_interval_s=ping_interval_s)

    def ready(self, host_id: int | None) -> None:
        """A Ready came: what went wrong before is history."""
        self.set(
            LinkState.READY,
            host_id=host_id or self.status.host_id,
            failing_step=None,
            last_error=None,
            failures=0,
        )

    def failed(self, error: LinkError) -> None:
        """An attempt, or a link, ended."""
        self.set(
            LinkState.DISCONNECTED,
            failing_step=error.step,
            last_error=error.message,
            failures=self.status.failures + 1,
        )
