# SPDX-License-Identifier: Apache-2.0
"""What a supervisor needs around it: a sink, a memory, certificates, and a running supervisor."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import trustme

from ssvm_agent.config.settings import LinkSettings, Settings
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.link.startup import NicFacts, StartupFacts
from ssvm_agent.link.status import LinkState, LinkStatus
from ssvm_agent.link.supervisor import Supervisor
from ssvm_agent.link.tls import server_context
from ssvm_agent.messages.agent import (
    CheckHealthAnswer,
    CheckHealthCommand,
    MigrateAgentConnectionAnswer,
    MigrateAgentConnectionCommand,
    ReadyAnswer,
    ReadyCommand,
    SetupMSListAnswer,
    SetupMSListCommand,
    ShutdownCommand,
)
from ssvm_agent.messages.base import Answer
from ssvm_agent.messages.envelope import Undecodable, decode_commands, encode_answers

FACTS = StartupFacts(
    zone="1",
    pod="1",
    guid="s-1-VM",
    resource_class="NfsSecondaryStorageResource",
    name="s-1-VM",
    version="4.22.0.0",
    private=NicFacts(address="10.1.34.20", netmask="255.255.255.0", mac="02:00:4c:5f:00:03"),
    public=NicFacts(address="203.0.113.21", netmask="255.255.255.0", mac="1e:00:1b:00:00:15"),
    server_list="10.1.32.5",
    architecture="x86_64",
)


@dataclass
class FakeMemory:
    """Remembers for the length of a test."""

    host_id: int | None = None
    hosts: list[tuple[int, str, str]] = field(default_factory=list)
    lists: list[tuple[tuple[str, ...], str]] = field(default_factory=list)

    def save_host(self, host_id: int, uuid: str, name: str) -> None:
        self.host_id = host_id
        self.hosts.append((host_id, uuid, name))

    def save_servers(self, servers: Sequence[str], algorithm: str) -> None:
        self.lists.append((tuple(servers), algorithm))


class FakeSink:
    """Carries out the commands that concern the link; others wait while ``gate`` is closed."""

    def __init__(self) -> None:
        self.link: Supervisor | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.started = 0
        self.cancelled = 0
        self.contents: list[bytes] = []
        self.answer: bytes | None = None
        self.changed = asyncio.Event()

    async def until(self, condition: Callable[[FakeSink], object]) -> None:
        """Waits for a request to begin, or to be cancelled, as the condition wants."""
        async with asyncio.timeout(10):
            while not condition(self):
                self.changed.clear()
                await self.changed.wait()

    async def execute(self, content: bytes, *, stop_on_error: bool) -> bytes | None:
        self.contents.append(content)
        answers = [self._act(command) for command in decode_commands(content)]
        if None in answers:
            return None
        self.started += 1
        self.changed.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            self.changed.set()
            raise
        if self.answer is not None:
            return self.answer
        return encode_answers([answer for answer in answers if answer is not None])

    def _act(self, command: object) -> Answer | None:
        link = self.link
        assert link is not None
        match command:
            case ReadyCommand() if command.details is not None:
                link.refused(command.details)
                return None
            case ReadyCommand():
                link.ready(
                    host_id=command.host_id,
                    host_uuid=command.host_uuid,
                    host_name=command.host_name,
                    servers=command.ms_host_list,
                    avoid=command.avoid_ms_host_list,
                    algorithm=command.lb_algorithm,
                    check_interval_s=command.lb_check_interval,
                )
                return ReadyAnswer()
            case SetupMSListCommand():
                link.apply_servers(
                    command.ms_list or [],
                    avoid=command.avoid_ms_list,
                    algorithm=command.lb_algorithm,
                    check_interval_s=command.lb_check_interval,
                    check_now=bool(command.trigger_host_lb),
                )
                return SetupMSListAnswer()
            case MigrateAgentConnectionCommand():
                link.migrate(
                    command.ms_list,
                    avoid=command.avoid_ms_list,
                    algorithm=command.lb_algorithm,
                    check_interval_s=command.lb_check_interval,
                )
                return MigrateAgentConnectionAnswer()
            case ShutdownCommand():
                link.forbid_reconnect()
                return Answer()
            case CheckHealthCommand():
                return CheckHealthAnswer(details="resource is alive")
            case Undecodable():
                return Answer(result=False, details=command.reason)
            case _:
                return Answer()


class CertificateFiles:
    """A cloud's CA, which is also its server's certificate, and the agent's own files."""

    def __init__(self, folder: Path, *, conf: Path | None = None) -> None:
        self.authority = trustme.CA()
        self.server_certificate = folder / "server.crt"
        self.server_key = folder / "server.key"
        self.conf = conf or folder / "conf"
        folder.mkdir(exist_ok=True)
        self.conf.mkdir(exist_ok=True)
        self.server_certificate.write_bytes(self.authority.cert_pem.bytes())
        self.server_key.write_bytes(self.authority.private_key_pem.bytes())

    def server_context(self, *, require_client: bool = False) -> ssl.SSLContext:
        """TLS as the real server does it."""
        return server_context(
            self.server_certificate,
            self.server_key,
            client_ca=self.server_certificate,
            require_client=require_client,
        )

    def install(self, *, not_after: datetime | None = None) -> None:
        """Gives the agent its certificate, its key and the CA."""
        issued = self.authority.issue_cert("s-1-VM", not_after=not_after)
        (self.conf / "cloud.crt").write_bytes(issued.cert_chain_pems[0].bytes())
        (self.conf / "cloud.key").write_bytes(issued.private_key_pem.bytes())
        self.install_authority()

    def install_authority(self) -> None:
        """Gives the agent the CA alone."""
        (self.conf / "cloud.ca.crt").write_bytes(self.authority.cert_pem.bytes())


@dataclass
class RunningLink:
    """A supervisor at work, and what the test may look at."""

    supervisor: Supervisor
    sink: FakeSink
    memory: FakeMemory
    changes: list[LinkStatus]
    task: asyncio.Task[None]
    changed: asyncio.Event

    async def until(self, condition: Callable[[LinkStatus], object]) -> LinkStatus:
        """Waits for a status."""
        async with asyncio.timeout(10):
            while not condition(self.supervisor.status()):
                self.changed.clear()
                await self.changed.wait()
        return self.supervisor.status()

    async def until_state(self, state: LinkState) -> LinkStatus:
        """Waits for a state."""
        return await self.until(lambda status: status.state is state)


@asynccontextmanager
async def running_link(
    conf_dir: Path,
    *,
    port: int,
    clock: Clock,
    servers: Sequence[str] = ("127.0.0.1",),
    memory: FakeMemory | None = None,
    facts: Callable[[], StartupFacts] = lambda: FACTS,
    link: LinkSettings | None = None,
) -> AsyncIterator[RunningLink]:
    """A supervisor in a task of its own, stopped hard at the end."""
    changes: list[LinkStatus] = []
    changed = asyncio.Event()

    def note(status: LinkStatus) -> None:
        changes.append(status)
        changed.set()

    pool = WorkPool("link test")
    memory = memory or FakeMemory()
    sink = FakeSink()
    supervisor = Supervisor(
        Settings(
            management_servers=tuple(servers),
            port=port,
            conf_dir=conf_dir,
            link=link or LinkSettings(),
        ),
        facts=facts,
        memory=memory,
        pool=pool,
        clock=clock,
        jitter=lambda: 0.0,
        on_change=note,
    )
    sink.link = supervisor
    task = asyncio.create_task(supervisor.run(sink))
    try:
        yield RunningLink(supervisor, sink, memory, changes, task, changed)
    finally:
        task.cancel()
        await asyncio.wait([task])
        pool.close()
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]
