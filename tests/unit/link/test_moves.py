# SPDX-License-Identifier: Apache-2.0
"""When a working link is left, and for which server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ssvm_agent.host.tasks import BackgroundTasks
from ssvm_agent.link.moves import Moves
from ssvm_agent.link.servers import ServerList
from tests.fakes.manual_clock import ManualClock


class FakeLink:
    """A link that notes where it is told to go."""

    def __init__(self) -> None:
        self.present: str | None = "b"
        self.idle = True
        self.moves: list[tuple[str, bool]] = []

    def present_server(self) -> str | None:
        return self.present

    def is_idle(self) -> bool:
        return self.idle

    def move_to(self, server: str, reason: str, *, is_transfer: bool) -> None:
        assert reason
        self.moves.append((server, is_transfer))


class Bench:
    """Moves with everything around them under control."""

    def __init__(self, tasks: BackgroundTasks) -> None:
        self.servers = ServerList(["a", "b", "c"], algorithm="static")
        self.link = FakeLink()
        self.clock = ManualClock()
        self.tasks = tasks
        self.reachable = {"a", "b", "c"}
        self.probed: list[str] = []
        self.moves = self.make(interval_s=0)

    def make(self, *, interval_s: int) -> Moves:
        return Moves(
            self.servers,
            self.link,
            clock=self.clock,
            tasks=self.tasks,
            probe=self.probe,
            interval_s=interval_s,
        )

    async def probe(self, server: str) -> bool:
        await asyncio.sleep(0)
        self.probed.append(server)
        return server in self.reachable

    async def pass_time(self) -> None:
        """Lets the only sleeper wake and what follows from it happen."""
        self.clock.advance(await self.clock.sleeper())
        for _ in range(10):
            await asyncio.sleep(0)

    async def settle(self) -> None:
        """Lets started tasks run as far as they can."""
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with BackgroundTasks() as tasks:
        yield Bench(tasks)


async def test_the_preferred_server_is_gone_to(bench: Bench) -> None:
    bench.moves.check_now()
    await bench.settle()
    assert bench.link.moves == [("a", False)]
    assert bench.servers.next() == "a"


@pytest.mark.parametrize("present", [None, "a"])
async def test_without_a_link_or_at_the_preferred_server_there_is_nothing_to_do(
    bench: Bench, present: str | None
) -> None:
    """agent-lifecycle.md 3.7."""
    bench.link.present = present
    bench.moves.check_now()
    await bench.settle()
    assert bench.probed == []


async def test_a_busy_link_stays(bench: Bench) -> None:
    bench.link.idle = False
    bench.moves.check_now()
    await bench.settle()
    assert bench.probed == ["a"]
    assert bench.link.moves == []


async def test_an_avoided_or_unreachable_server_is_not_preferred(bench: Bench) -> None:
    bench.servers.avoid_only(["a"])
    bench.moves.check_now()
    await bench.settle()
    assert bench.probed == []
    bench.servers.avoid_only(None)
    bench.reachable.clear()
    bench.moves.check_now()
    await bench.settle()
    assert bench.link.moves == []


async def test_the_check_repeats_until_told_otherwise(bench: Bench) -> None:
    bench.reachable.clear()
    bench.moves.schedule_check(60)
    for _ in range(3):
        await bench.pass_time()
    assert len(bench.probed) == 3
    bench.moves.schedule_check(30)
    await bench.settle()
    assert bench.clock.sleeps == [30]
    for nothing in (None, 0):
        bench.moves.schedule_check(nothing)
        await bench.settle()
        assert bench.clock.sleeps == []


async def test_with_a_shuffled_list_the_check_runs_once(bench: Bench) -> None:
    bench.servers.algorithm = "shuffle"
    bench.reachable.clear()
    bench.moves.schedule_check(60)
    await bench.pass_time()
    assert bench.clock.sleeps == []


async def test_an_interval_of_the_operator_wins(bench: Bench) -> None:
    moves = bench.make(interval_s=900)
    moves.schedule_check(None)
    assert await bench.clock.sleeper() == 900


async def test_a_migration_takes_the_first_that_answers(bench: Bench) -> None:
    prepared: list[float] = []
    bench.reachable = {"c"}
    bench.moves.migrate(lambda: prepared.append(bench.clock.passed_s))
    await bench.pass_time()
    assert prepared == [3]
    assert bench.probed == ["a", "c"]
    assert bench.link.moves == [("c", True)]


async def test_a_migration_never_goes_to_an_avoided_server(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.moves.migrate(lambda: bench.servers.avoid_only(["a", "b", "c"]))
    await bench.pass_time()
    assert bench.probed == []
    assert bench.link.moves == []
    assert "does not migrate" in caplog.text
