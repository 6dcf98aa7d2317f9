# SPDX-License-Identifier: Apache-2.0
"""What all sessions of one simulated server share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ssvm_agent.host.tasks import BackgroundTasks, KeyedLocks
from ssvm_agent.simulator.attache import Attache
from ssvm_agent.simulator.downloads import Download
from ssvm_agent.simulator.errors import NoAgentError
from ssvm_agent.simulator.model import Fields, Host, HostStatus, Message, Violation
from ssvm_agent.simulator.rules import Finding
from ssvm_agent.simulator.timing import Timing
from ssvm_agent.simulator.zone import Zone

if TYPE_CHECKING:
    from ssvm_agent.simulator.session import Session

_logger = logging.getLogger(__name__)

NODE_ID: Final = 345052215515  # any 48-bit number; opaque to agents


@dataclass(slots=True, kw_only=True)
class Faults:
    """Ways to misbehave, switched on and off by tests while the server runs."""

    close_at_accept: bool = False
    stall_handshake: bool = False
    ignore_startup: bool = False
    ignore_pings: bool = False
    refuse_with: str | None = None


@dataclass(slots=True, kw_only=True)
class ServerState:
    """The zone, who is connected, and what went against the rules."""

    zone: Zone
    timing: Timing
    node_id: int = NODE_ID
    faults: Faults = field(default_factory=Faults)
    violations: list[Violation] = field(default_factory=list)
    sessions: dict[int, Session] = field(default_factory=dict)
    unknown_images: set[str] = field(default_factory=set)
    """Listed by an agent and registered nowhere; a real server deletes such volumes."""
    tasks: BackgroundTasks = field(default_factory=BackgroundTasks)
    joins: KeyedLocks = field(default_factory=KeyedLocks)
    _change: asyncio.Event = field(default_factory=asyncio.Event)

    def report(self, agent: str, finding: Finding) -> None:
        """Write down a broken rule."""
        violation = Violation(finding.rule, finding.text, agent)
        _logger.warning("violation %s", violation)
        self.violations.append(violation)
        self.changed()

    def become(self, host: Host, status: HostStatus) -> None:
        """Change the status of a host row."""
        _logger.info("host %s is %s", host.name, status)
        host.become(status)
        self.changed()

    def changed(self) -> None:
        """Wake whoever waits for something to become true."""
        self._change.set()

    async def next_change(self) -> None:
        """Wait for the next thing to happen."""
        self._change.clear()
        await self._change.wait()

    async def wait_until(self, predicate: Callable[[], bool], deadline_s: float) -> None:
        """Wait until something about this state is true.

        Raises:
            TimeoutError: It did not become so.
        """
        async with asyncio.timeout(deadline_s):
            while not predicate():
                await self.next_change()

    def attache_for_work(self) -> Attache:
        """Any agent that can be given work: Up, or Connecting as well (agent-lifecycle.md 2.5).

        Raises:
            NoAgentError: There is none.
        """
        usable = (HostStatus.UP, HostStatus.CONNECTING)
        for status in usable:
            for session in self.sessions.values():
                if session.attache is not None and session.attache.host.status is status:
                    return session.attache
        raise NoAgentError("No agent is connected.")

    async def ask_any(self, message: Message) -> Message:
        """Give one command to whichever agent is there."""
        attache = self.attache_for_work()
        answers = await attache.send([message], wait_s=self.timing.command_wait_s)
        return answers[0] if answers else Message("")

    def start(self, download: Download) -> None:
        """Watch a download in the background, anew if it is being watched already."""
        if download.watcher is not None:
            download.watcher.cancel()
        name = f"download {download.image.name}"
        download.watcher = self.tasks.start(download.run(self.ask_any), name=name)

    def synchronise(self, listed: Mapping[str, Fields]) -> None:
        """Compare an agent's lists with what is registered (agent-lifecycle.md 2.5 i).

        What is not there is downloaded; what is there needs no download.
        """
        for download in self.zone.downloads.values():
            if download.list_key is None:
                continue
            entry = listed.get(download.list_key)
            if entry is None:
                self.start(download)
            elif download.watcher is None or download.watcher.done():
                download.found(entry)
        registered = {download.list_key for download in self.zone.downloads.values()}
        self.unknown_images |= listed.keys() - registered
