# SPDX-License-Identifier: Apache-2.0
"""Writing down what outlives a restart."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from ssvm_agent.errors import ConfigError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.tasks import BackgroundTasks
from ssvm_agent.link.memory import Keeper
from tests.fakes.link_parts import FakeMemory
from tests.fakes.machine import until


class SlowMemory(FakeMemory):
    """The first write takes longer than the others."""

    def __init__(self) -> None:
        super().__init__()
        self.first_may_end = threading.Event()

    def save_servers(self, servers: Sequence[str], algorithm: str) -> None:
        if algorithm == "one":
            self.first_may_end.wait(5)
        super().save_servers(servers, algorithm)


async def test_what_is_told_last_is_written_last() -> None:
    memory, pool = SlowMemory(), WorkPool("memory", threads=4)
    async with BackgroundTasks() as tasks:
        keeper = Keeper(memory, pool, tasks)
        for algorithm in ("one", "two", "three"):
            keeper.keep_servers(["a"], algorithm)
        await until(lambda: pool.busy == 1)
        memory.first_may_end.set()
        await until(lambda: len(memory.lists) == 3)
    pool.close()
    assert [algorithm for _, algorithm in memory.lists] == ["one", "two", "three"]


@pytest.mark.parametrize("host_id", [None, 0, -1])
async def test_a_host_without_an_id_is_not_kept(host_id: int | None) -> None:
    """agent-lifecycle.md 0.3: never 0."""
    memory, pool = FakeMemory(), WorkPool("memory")
    async with BackgroundTasks() as tasks:
        keeper = Keeper(memory, pool, tasks)
        keeper.keep_host(host_id, "u", "n")
        keeper.keep_host(5, None, None)
        await until(lambda: memory.hosts)
        assert keeper.host_id == 5
    pool.close()
    assert memory.hosts == [(5, "", "")]


async def test_a_failing_write_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class FullDisk(FakeMemory):
        def save_host(self, host_id: int, uuid: str, name: str) -> None:
            raise ConfigError("agent.properties cannot be written: No space left on device")

    pool = WorkPool("memory")
    async with BackgroundTasks() as tasks:
        Keeper(FullDisk(), pool, tasks).keep_host(5, "u", "n")
        await until(lambda: "No space left" in caplog.text)
    pool.close()
