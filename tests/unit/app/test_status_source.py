# SPDX-License-Identifier: Apache-2.0
"""What the status page is told of link, stores and downloads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ssvm_agent.app.status_numbers import WorkNumbers
from ssvm_agent.app.status_source import AgentStatus, link_row, server_rows
from ssvm_agent.config.settings import Settings
from ssvm_agent.host.clock import SystemClock
from ssvm_agent.ingest.assembly import open_ingest
from ssvm_agent.link.errors import Step
from ssvm_agent.link.status import LinkState, LinkStatus
from ssvm_agent.storage.service import StoreService
from ssvm_agent.storage.stores import StoreRef
from ssvm_agent.web.recent_warnings import RecentWarnings
from ssvm_agent.web.status_report import Health, ServerRow
from tests.fakes.machine import FakeRunner, until

NOW = datetime(2026, 11, 23, tzinfo=UTC)
READY = LinkStatus(
    state=LinkState.READY, since=NOW, server="a", servers=("a", "b", "c"), avoid=("c",), host_id=5
)


@pytest.fixture(name="stores")
async def _stores(tmp_path: Path) -> AsyncIterator[StoreService]:
    service = StoreService(mount_root=tmp_path, runner=FakeRunner(), clock=SystemClock())
    yield service
    await service.close()


@pytest.mark.parametrize(
    ("status", "health"),
    [
        (READY, Health.GOOD),
        (LinkStatus(state=LinkState.CONNECTING, since=NOW), Health.WARNING),
        (LinkStatus(state=LinkState.SETTING_UP, since=NOW), Health.WARNING),
        (LinkStatus(state=LinkState.CONNECTING, since=NOW, failures=1), Health.BAD),
        (LinkStatus(state=LinkState.DISCONNECTED, since=NOW), Health.BAD),
    ],
)
def test_the_health_of_the_link(status: LinkStatus, health: Health) -> None:
    assert link_row(status).health is health


def test_a_failed_link_names_its_step() -> None:
    """R1."""
    row = link_row(
        replace(
            READY, state=LinkState.DISCONNECTED, failing_step=Step.TLS, last_error="no", failures=2
        )
    )
    assert (row.failing_step, row.last_error, row.failures) == ("tls", "no", 2)


def test_servers_tell_which_is_connected_and_which_avoided() -> None:
    assert server_rows(READY) == (
        ServerRow(name="a", is_connected=True),
        ServerRow(name="b", is_connected=False),
        ServerRow(name="c", is_connected=False, is_avoided=True),
    )


async def test_a_report_has_stores_as_last_seen(tmp_path: Path, stores: StoreService) -> None:
    (tmp_path / "store").mkdir()
    settings = Settings(guid="g", zone="1", name="s-1-VM", state_dir=tmp_path / "state")
    clock = SystemClock()
    async with open_ingest(settings, clock=clock, owner="s-1-VM") as ingest:
        status = AgentStatus(
            settings=settings, clock=clock, link=lambda: READY, stores=stores, jobs=ingest.jobs,
            warnings=RecentWarnings(), numbers=WorkNumbers(),
        )  # fmt: skip
        await stores.open(StoreRef(url=f"file://{tmp_path}/store"))
        (before,) = (await status.report()).stores
        assert (before.health, before.total_bytes) == (Health.WARNING, None)
        measuring = asyncio.create_task(status.keep_measured())
        await until(lambda: status._measured)
        measuring.cancel()
        (row,) = (await status.report()).stores
        assert (row.health, row.state) == (Health.GOOD, "alive")
        assert (row.total_bytes or 0) > (row.used_bytes or 0) >= 0
        report = await status.report()
        assert (report.host_name, report.health) == ("s-1-VM", Health.GOOD)
        assert report.to_json()["link"]["host_id"] == 5


async def test_a_store_that_went_away_is_bad_and_its_size_unknown(
    tmp_path: Path, stores: StoreService
) -> None:
    """R22: never 0 for unknown."""
    (tmp_path / "store").mkdir()
    settings = Settings(guid="g", zone="1", name="s-1-VM", state_dir=tmp_path / "state")
    async with open_ingest(settings, clock=SystemClock(), owner="s-1-VM") as ingest:
        status = AgentStatus(
            settings=settings, clock=SystemClock(), link=lambda: READY, stores=stores,
            jobs=ingest.jobs, warnings=RecentWarnings(), numbers=WorkNumbers(),
        )  # fmt: skip
        store = await stores.open(StoreRef(url=f"file://{tmp_path}/store"))
        (tmp_path / "store").rename(tmp_path / "gone")
        await status._measure(store)
        report = await status.report()
        (row,) = report.stores
        assert (row.health, row.state, row.total_bytes) == (Health.BAD, "not responding", None)
        assert report.problems == (row.message,)
