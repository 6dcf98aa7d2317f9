# SPDX-License-Identifier: Apache-2.0
"""The state of the link for ssvm-check and the service manager (requirements R1)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ssvm_agent.app.status_file import StatusFile, sentence
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.link.errors import Step
from ssvm_agent.link.status import LinkState, LinkStatus
from tests.fakes.machine import until

NOW = datetime(2026, 11, 23, 3, 11, tzinfo=UTC)
READY = LinkStatus(state=LinkState.READY, since=NOW, server="10.1.32.5", host_id=5)
LOST = LinkStatus(
    state=LinkState.DISCONNECTED, since=NOW, server="10.1.32.5", failing_step=Step.TCP,
    last_error="10.1.32.5 refuses the connection", failures=3,
)  # fmt: skip


@pytest.fixture(name="pool")
def _pool() -> Iterator[WorkPool]:
    pool = WorkPool("test")
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (READY, "ready (10.1.32.5)"),
        (LOST, "disconnected (10.1.32.5); last error: 10.1.32.5 refuses the connection"),
        (LinkStatus(state=LinkState.DISCONNECTED, since=NOW), "disconnected"),
    ],
)
def test_the_status_in_one_line(status: LinkStatus, text: str) -> None:
    assert sentence(status) == text


async def test_the_latest_status_is_written_and_names_the_failing_step(
    tmp_path: Path, pool: WorkPool
) -> None:
    file = tmp_path / "state" / "status.json"
    status_file = StatusFile(file, pool)
    writer = asyncio.create_task(status_file.run())
    for status in (READY, LOST):
        status_file.update(status)
    await until(file.exists)
    writer.cancel()
    fields = json.loads(file.read_text())
    assert (fields["schema"], fields["state"], fields["failing_step"]) == (1, "disconnected", "tcp")
    assert fields["last_error"] == "10.1.32.5 refuses the connection"


async def test_a_disk_that_fails_is_reported_once_and_tried_again(
    tmp_path: Path, pool: WorkPool, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("in the way")
    status_file = StatusFile(tmp_path / "state" / "status.json", pool)
    writer = asyncio.create_task(status_file.run())
    status_file.update(READY)
    await until(lambda: "status file not written" in caplog.text)
    status_file.update(LOST)
    (tmp_path / "state").unlink()
    status_file.update(READY)
    await until((tmp_path / "state" / "status.json").exists)
    writer.cancel()
    warnings = [one for one in caplog.records if one.levelname == "WARNING"]
    assert len(warnings) == 1
