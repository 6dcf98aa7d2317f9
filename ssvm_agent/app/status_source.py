# SPDX-License-Identifier: Apache-2.0
"""Everything the status page shows, gathered from the rooms that know it.

A report never waits: what could be slow (the state of stores) is measured in the background and
reported as last seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ssvm_agent import __version__
from ssvm_agent.app.status_numbers import WorkNumbers, log_rows, traffic_rows
from ssvm_agent.config.settings import Settings
from ssvm_agent.dispatch.executor import Executor
from ssvm_agent.errors import AgentError
from ssvm_agent.handlers.base import Services
from ssvm_agent.host.clock import Clock
from ssvm_agent.ingest.job import Job, JobStatus
from ssvm_agent.ingest.jobs import JobTable
from ssvm_agent.link.status import LinkState, LinkStatus
from ssvm_agent.storage.service import StoreService
from ssvm_agent.storage.stores import Store
from ssvm_agent.storage.usage import capacity
from ssvm_agent.web import status_rows
from ssvm_agent.web.recent_warnings import RecentWarnings
from ssvm_agent.web.server import WebServices
from ssvm_agent.web.status_report import (
    CounterRow,
    Health,
    LaneRow,
    LinkRow,
    ServerRow,
    StatusReport,
    StoreRow,
    WorkRow,
)

_MEASURE_EVERY_S: Final = 15.0
_UNDERWAY: Final = frozenset({LinkState.CONNECTING, LinkState.HANDSHAKE, LinkState.STARTUP_SENT})


@dataclass(slots=True)
class LateParts:
    """What is built after the status source, because it needs the source itself."""

    web: WebServices | None = None
    executor: Executor[Services] | None = None


class AgentStatus:
    """Makes status reports.

    Args:
        settings: For the name of the machine.
        clock: Time.
        link: The link at this moment.
        stores: The known stores.
        jobs: The downloads.
        warnings: Remembers the last warnings of the log.
        numbers: Counts what commands and mounts did.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        link: Callable[[], LinkStatus],
        stores: StoreService,
        jobs: JobTable,
        warnings: RecentWarnings,
        numbers: WorkNumbers,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._link = link
        self._stores = stores
        self._jobs = jobs
        self._warnings = warnings
        self._numbers = numbers
        self._started = clock.now()
        self._measured: dict[str, StoreRow] = {}
        self.late = LateParts()

    async def report(self) -> StatusReport:
        """The state now."""
        now = self._clock.now()
        status = self._link()
        web, executor = self.late.web, self.late.executor
        return StatusReport(
            version=__version__,
            host_name=self._settings.name,
            now=now,
            started=self._started,
            link=link_row(status),
            servers=server_rows(status),
            stores=tuple(self._measured.get(one.directory_name, unseen(one))
                         for one in self._stores.known()),
            downloads=tuple(download_row(job) for job in self._jobs.all()),
            uploads=status_rows.upload_rows(web.uploads) if web else (),
            transfers=status_rows.transfer_rows(web.downloads.running) if web else (),
            links=status_rows.link_rows(web.links) if web else (),
            certificates=(
                status_rows.certificate_rows(web.certificates.current, now) if web else ()
            ),
            lanes=tuple(
                LaneRow(name=lane.value, running=load.running, waiting=load.waiting)
                for lane, load in (executor.load() if executor else {}).items()
            ),
            warnings=self._warnings.rows,
            counters=(*self._counters(), *(web.counters.rows() if web else ())),
            histograms=tuple(self._numbers.histograms()),
        )  # fmt: skip

    def _counters(self) -> Iterator[CounterRow]:
        yield from self._numbers.counters()
        yield from traffic_rows(self._jobs.tools.traffic)
        yield from log_rows(self._warnings.counts)

    async def keep_measured(self) -> None:
        """Look at all stores now and again, until cancelled; for a background task."""
        while True:
            async with asyncio.TaskGroup() as group:
                for store in self._stores.known():
                    group.create_task(self._measure(store))
            await self._clock.sleep(_MEASURE_EVERY_S)

    async def _measure(self, store: Store) -> None:
        began_s = self._clock.monotonic()
        try:
            found = await capacity(store)
        except AgentError as error:
            row = store_row(store, Health.BAD, "not responding", message=error.message)
        else:
            row = store_row(
                store,
                Health.GOOD,
                "alive",
                total_bytes=found.total_bytes,
                used_bytes=found.used_bytes,
                latency_ms=round(1000 * (self._clock.monotonic() - began_s), 1),
            )
        self._measured[store.directory_name] = row


def link_row(status: LinkStatus) -> LinkRow:
    """The link; yellow while an attempt is under way that nothing speaks against yet."""
    if status.is_ready:
        health = Health.GOOD
    elif status.state in _UNDERWAY | {LinkState.SETTING_UP} and not status.failures:
        health = Health.WARNING
    else:
        health = Health.BAD
    return LinkRow(
        health=health,
        state=status.state.value,
        server=status.server or "",
        since=status.since,
        host_id=status.host_id,
        failing_step=status.failing_step.value if status.failing_step else "",
        last_error=status.last_error or "",
        failures=status.failures,
    )


def server_rows(status: LinkStatus) -> tuple[ServerRow, ...]:
    """The management servers in their order."""
    return tuple(
        ServerRow(
            name=name,
            is_connected=status.is_ready and name == status.server,
            is_avoided=name in status.avoid,
        )
        for name in status.servers
    )


def download_row(job: Job) -> WorkRow:
    """One download."""
    state = job.snapshot()
    return WorkRow(
        health=Health.BAD if state.error is not None else Health.GOOD,
        id=state.job_id,
        what=job.key.directory,
        state=state.state.value if not job.interrupted else "interrupted",
        done_bytes=state.bytes_done,
        total_bytes=state.bytes_expected,
        percent=state.percent,
        message=job.progress.note or state.message,
        is_running=job.is_running,
        is_waiting=job.is_running and job.status is JobStatus.NOT_STARTED,
    )


def unseen(store: Store) -> StoreRow:
    """A store that was not measured yet."""
    return store_row(store, Health.WARNING, "not looked at yet")


def store_row(
    store: Store,
    health: Health,
    state: str,
    *,
    total_bytes: int | None = None,
    used_bytes: int | None = None,
    latency_ms: float | None = None,
    message: str = "",
) -> StoreRow:
    """One store."""
    return StoreRow(
        health=health,
        name=store.directory_name,
        url=store.ref.display,
        state=state,
        total_bytes=total_bytes,
        used_bytes=used_bytes,
        latency_ms=latency_ms,
        version=store.negotiated_version or "",
        stuck_threads=store.stuck_threads,
        message=message,
    )
