# SPDX-License-Identifier: Apache-2.0
"""Building the working rooms: stores, ingest, handlers, and the executor in front of them.

Importing this module and calling :func:`load_handlers` loads most of the package (blocking); the
application does so in a thread, after the Startup is out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ssvm_agent.appliance.base import Appliance
from ssvm_agent.appliance.keystore import AgentKeystore
from ssvm_agent.config.settings import Settings
from ssvm_agent.config.state import AgentState
from ssvm_agent.dispatch.executor import Executor
from ssvm_agent.handlers import catalogue
from ssvm_agent.handlers.base import REGISTRY, LinkControl, Services
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import Runner
from ssvm_agent.ingest.assembly import open_ingest
from ssvm_agent.storage.layout import StoreUrl
from ssvm_agent.storage.mounts import Mounter
from ssvm_agent.storage.service import StoreService


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the working rooms stand on.

    Attributes:
        settings: Everything configured.
        state: What outlives a restart.
        clock: Time.
        runner: Programs.
        disk: Threads for the machine's own file system.
        appliance: Changes of the machine.
        link: The connection, as handlers see it.
    """

    settings: Settings
    state: AgentState
    clock: Clock
    runner: Runner
    disk: WorkPool
    appliance: Appliance
    link: LinkControl


class RoutingMounter(Mounter):
    """Makes the route to a store before mounting it (storage-commands.md 3.1 step 1)."""

    def __init__(self, machine: Machine) -> None:
        deadline_s = machine.settings.mount_timeout_s
        super().__init__(machine.runner, machine.disk, mount_deadline_s=deadline_s)
        self._appliance = machine.appliance

    async def mount(
        self, url: StoreUrl, address: str, directory: Path, version: str | None
    ) -> None:
        """Route, then mount."""
        await self._appliance.route_to_storage(address)
        await super().mount(url, address, directory, version)


def load_handlers() -> None:
    """Fill the registry of commands; once, before :func:`open_domain`."""
    catalogue.load()


@asynccontextmanager
async def open_domain(machine: Machine) -> AsyncIterator[Executor[Services]]:
    """The executor with everything behind it.

    Leaving the context lets running commands end (for as long as ``stop_timeout_s``), then stops
    the jobs, which keep what can be continued, then the stores.
    """
    settings = machine.settings
    async with open_ingest(settings, clock=machine.clock, owner=settings.name) as ingest:
        stores = StoreService(
            mount_root=settings.mount_root,
            runner=machine.runner,
            clock=machine.clock,
            nfs_version=settings.nfs_version,
            mounter=RoutingMounter(machine),
            on_attached=ingest.jobs.store_attached,
        )
        services = Services(
            settings=settings,
            state=machine.state,
            clock=machine.clock,
            runner=machine.runner,
            local_disk=machine.disk,
            keystore=AgentKeystore(settings.conf_dir, machine.state),
            stores=stores,
            jobs=ingest.jobs,
            appliance=machine.appliance,
            link=machine.link,
        )
        executor = Executor(
            REGISTRY,
            services,
            normal=max(settings.commands.normal, settings.workers),
            long=settings.commands.long,
        )
        try:
            async with executor:
                yield executor
                await executor.drain(settings.stop_timeout_s)
        finally:
            # Jobs write down where a later process can go on, and need their stores for that.
            await ingest.jobs.close()
            await stores.close()
