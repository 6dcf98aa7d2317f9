# SPDX-License-Identifier: Apache-2.0
"""Building the working rooms: stores, ingest, web, handlers, and the executor in front of them.

Importing this module and calling :func:`load_handlers` loads most of the package (blocking); the
application does so in a thread, after the Startup is out.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent import log
from ssvm_agent.app.status_numbers import WorkNumbers
from ssvm_agent.app.status_source import AgentStatus
from ssvm_agent.appliance.base import Appliance
from ssvm_agent.appliance.keystore import AgentKeystore
from ssvm_agent.config.settings import Settings
from ssvm_agent.config.state import AgentState
from ssvm_agent.dispatch.executor import Executor
from ssvm_agent.errors import AgentError
from ssvm_agent.handlers import catalogue
from ssvm_agent.handlers.base import REGISTRY, LinkControl, Services
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.outside import OutsideRunner
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import Runner
from ssvm_agent.host.tasks import BackgroundTasks
from ssvm_agent.ingest.assembly import open_ingest
from ssvm_agent.link.status import LinkStatus
from ssvm_agent.storage.layout import StoreUrl
from ssvm_agent.storage.mounts import Mounter
from ssvm_agent.storage.service import StoreService
from ssvm_agent.storage.stores import Store
from ssvm_agent.storage.usage import UsageIndex
from ssvm_agent.web.assembly import WebParts, open_status, open_web
from ssvm_agent.web.recent_warnings import RecentWarnings
from ssvm_agent.web.server import WebServices

_LOGGER: Final = logging.getLogger(__name__)


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
        link_status: The connection at this moment.
    """

    settings: Settings
    state: AgentState
    clock: Clock
    runner: Runner
    disk: WorkPool
    appliance: Appliance
    link: LinkControl
    link_status: Callable[[], LinkStatus]


class RoutingMounter(Mounter):
    """Makes the route to a store before mounting it (storage-commands.md 3.1 step 1).

    Args:
        machine: Has the appliance that makes routes, and the programs that mount.
        numbers: Told how long each mount took.
    """

    def __init__(self, machine: Machine, numbers: WorkNumbers) -> None:
        settings, runner = machine.settings, machine.runner
        if settings.mounts_outside:
            runner = OutsideRunner(runner)
        super().__init__(runner, machine.disk, mount_deadline_s=settings.mount_timeout_s)
        self._appliance = machine.appliance
        self._clock = machine.clock
        self._numbers = numbers

    async def mount(
        self, url: StoreUrl, address: str, directory: Path, version: str | None
    ) -> None:
        """Route, then mount."""
        await self._appliance.route_to_storage(address)
        began_s, outcome = self._clock.monotonic(), "failed"
        try:
            await super().mount(url, address, directory, version)
            outcome = "done"
        finally:
            self._numbers.mounted(outcome, self._clock.monotonic() - began_s)


def load_handlers() -> None:
    """Fill the registry of commands; once, before :func:`open_domain`."""
    catalogue.load()


class AccountUsage:
    """Usage per account for quotas: as last measured, measured now when it never was (R23)."""

    def __init__(self, index: UsageIndex) -> None:
        self._index = index

    async def used_bytes(self, store: Store, account_id: int) -> int:
        """Bytes of the account on a store."""
        usage = self._index.of(store) or await self._index.refresh(store)
        return usage.bytes_by_account.get(account_id, 0)


@asynccontextmanager
async def open_domain(machine: Machine) -> AsyncIterator[Executor[Services]]:
    """The executor with everything behind it.

    Leaving the context lets running commands end (for as long as ``stop_timeout_s``), then stops
    the HTTP side, then the jobs, which keep what can be continued, then the stores.
    """
    settings, clock = machine.settings, machine.clock
    async with AsyncExitStack() as rooms:
        warnings = rooms.enter_context(_remembered_warnings())
        numbers = WorkNumbers()

        def attached(store: Store) -> None:
            ingest.jobs.store_attached(store)

        stores = StoreService(
            mount_root=settings.mount_root,
            runner=machine.runner,
            clock=clock,
            nfs_version=settings.nfs_version,
            mounter=RoutingMounter(machine, numbers),
            on_attached=attached,
        )
        # Jobs write their last to the stores when they stop, so the stores are let go after them.
        rooms.push_async_callback(stores.close)
        ingest = await rooms.enter_async_context(
            open_ingest(settings, clock=clock, owner=settings.name)
        )
        tasks = await rooms.enter_async_context(BackgroundTasks())
        status = AgentStatus(
            settings=settings, clock=clock, link=machine.link_status, stores=stores,
            jobs=ingest.jobs, warnings=warnings, numbers=numbers,
        )  # fmt: skip
        usage = UsageIndex(clock)
        tasks.start(usage.keep_fresh(stores.known), name="usage")
        tasks.start(status.keep_measured(), name="store state")
        parts = WebParts(
            stores=stores, tools=ingest.tools, usage=AccountUsage(usage), runner=machine.runner,
            pool=machine.disk, clock=clock, upload_key=machine.appliance.upload_key,
        )  # fmt: skip
        await rooms.enter_async_context(_status_if_possible(settings, status, machine.disk))
        web = await rooms.enter_async_context(_web_if_possible(settings, parts))
        services = Services(
            settings=settings,
            state=machine.state,
            clock=clock,
            runner=machine.runner,
            local_disk=machine.disk,
            keystore=AgentKeystore(settings.conf_dir, machine.state),
            stores=stores,
            jobs=ingest.jobs,
            appliance=machine.appliance,
            link=machine.link,
            web=web,
        )
        executor = await rooms.enter_async_context(
            Executor(
                REGISTRY,
                services,
                normal=max(settings.commands.normal, settings.workers),
                long=settings.commands.long,
                observer=numbers,
            )
        )
        status.late.web, status.late.executor = web, executor
        yield executor
        await executor.drain(settings.stop_timeout_s)


@contextmanager
def _remembered_warnings() -> Iterator[RecentWarnings]:
    warnings = RecentWarnings()
    logging.getLogger().addHandler(warnings)
    try:
        yield warnings
    finally:
        logging.getLogger().removeHandler(warnings)


@asynccontextmanager
async def _status_if_possible(
    settings: Settings, source: AgentStatus, pool: WorkPool
) -> AsyncIterator[None]:
    """The status page, on its own: it is there to tell why the public ports are not."""
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(open_status(settings.status.listen, source, pool))
        except AgentError as error:
            log.event(_LOGGER, logging.ERROR, "no status page", reason=error.for_operators())
        yield


@asynccontextmanager
async def _web_if_possible(
    settings: Settings, parts: WebParts
) -> AsyncIterator[WebServices | None]:
    """The HTTP side; without it (a port is taken, Apache is broken) the rest still works."""
    async with AsyncExitStack() as stack:
        web: WebServices | None = None
        try:
            web = await stack.enter_async_context(open_web(settings, parts))
        except AgentError as error:
            log.event(_LOGGER, logging.ERROR, "no links and uploads: the HTTP side did not start",
                      reason=error.for_operators())  # fmt: skip
        yield web
