# SPDX-License-Identifier: Apache-2.0
"""What handlers are given, with a link that writes down what it is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssvm_agent.appliance.keystore import AgentKeystore
from ssvm_agent.appliance.recording import RecordingAppliance
from ssvm_agent.config.settings import DownloadSettings, Settings
from ssvm_agent.config.state import AgentState
from ssvm_agent.dispatch.executor import Executor
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.host.clock import SystemClock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.ingest.assembly import open_ingest
from ssvm_agent.masking import Secret
from ssvm_agent.messages.base import Answer, Command
from ssvm_agent.messages.envelope import decode_answers, encode_commands
from ssvm_agent.storage.service import StoreService
from tests.fakes.machine import FakeRunner


@dataclass
class FakeLink:
    """Remembers each request as (method, its arguments)."""

    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def ready(self, **arguments: Any) -> None:
        self.asked.append(("ready", arguments))

    def refused(self, reason: str) -> None:
        self.asked.append(("refused", {"reason": reason}))

    def apply_servers(self, servers: Any, **arguments: Any) -> None:
        self.asked.append(("apply_servers", {"servers": servers, **arguments}))

    def migrate(self, servers: Any, **arguments: Any) -> None:
        self.asked.append(("migrate", {"servers": servers, **arguments}))

    def forbid_reconnect(self) -> None:
        self.asked.append(("forbid_reconnect", {}))


@dataclass
class FakeWeb:
    """Remembers what the HTTP side is told; ``failing`` makes it refuse."""

    told: list[tuple[Any, ...]] = field(default_factory=list)
    failing: Exception | None = None

    def _note(self, *what: Any) -> None:
        if self.failing is not None:
            raise self.failing
        self.told.append(what)

    async def allow_copy_from(self, addresses: Any, *, replace: bool) -> None:
        self._note("copy from", list(addresses), replace)

    async def configure_copy_auth(self, user: str, password: Secret) -> None:
        self._note("copy user", user, password.reveal())

    async def set_upload_key(self, key: Secret) -> None:
        self._note("upload key", key.reveal())

    async def install_certificate(self, certificate: Any) -> None:
        self._note("certificate", certificate)


@dataclass
class Rig:
    """Services on a temporary machine, and the executor in front of the handlers."""

    services: Services
    executor: Executor[Services]
    link: FakeLink
    appliance: RecordingAppliance
    web: FakeWeb

    async def ask(self, command: Command) -> Answer | None:
        """Send a command the way the link would; the answer is decoded again."""
        content = await self.executor.execute(encode_commands([command]), stop_on_error=True)
        if content is None:
            return None
        (answer,) = decode_answers(content)
        assert isinstance(answer, Answer), answer
        return answer


@asynccontextmanager
async def handler_rig(root: Path, download: DownloadSettings | None = None) -> AsyncIterator[Rig]:
    """A rig below a directory; the stores are plain directories (``file:///…``)."""
    download = download or DownloadSettings(allow_loopback_sources=True)
    settings = Settings(
        guid="s-1-VM", zone="1", name="s-1-VM", conf_dir=root / "conf", state_dir=root / "state",
        mount_root=root / "mnt", download=download,
    )  # fmt: skip
    disk = WorkPool("test disk")
    state = AgentState(settings.agent_properties, settings.resource_class)
    link, web, appliance, clock = FakeLink(), FakeWeb(), RecordingAppliance(), SystemClock()
    async with open_ingest(settings, clock=clock, owner="s-1-VM") as ingest:
        stores = StoreService(mount_root=settings.mount_root, runner=FakeRunner(), clock=clock)
        services = Services(
            settings=settings, state=state, clock=clock, runner=FakeRunner(), local_disk=disk,
            keystore=AgentKeystore(settings.conf_dir, state), stores=stores, jobs=ingest.jobs,
            appliance=appliance, link=link,
            web=web,  # type: ignore[arg-type]  # only what these handlers call
        )  # fmt: skip
        async with Executor(REGISTRY, services, normal=4, long=2) as executor:
            yield Rig(services, executor, link, appliance, web)
        await stores.close()
    disk.close()
