# SPDX-License-Identifier: Apache-2.0
"""When a ping is due and when a link is dead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ssvm_agent.link.errors import LinkLostError
from ssvm_agent.link.keepalive import DEFAULT_INTERVAL_S, Keepalive
from tests.fakes.manual_clock import ManualClock


class Bench:
    """A keepalive at work."""

    def __init__(self, interval_s: int = 60, limit: int = 2) -> None:
        self.clock = ManualClock()
        self.sent_at: list[float] = []
        self.keepalive = Keepalive(
            self.clock,
            interval_s=interval_s,
            missing_limit=limit,
            send=lambda: self.sent_at.append(self.clock.passed_s),
        )

    async def pass_time(self) -> None:
        """Lets time pass until the next ping is due, and the ping be sent."""
        self.clock.advance(await self.clock.sleeper())
        await asyncio.sleep(0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """Pinging, until the end of the block."""
        task = asyncio.create_task(self.keepalive.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_the_rate_is_fixed() -> None:
    """agent-lifecycle.md 2.7: first after one interval, then at a fixed rate."""
    bench = Bench()
    async with bench.running():
        for _ in range(3):
            await bench.pass_time()
    assert bench.sent_at == [60, 120, 180]


async def test_unanswered_pings_count_only_once_answers_are_due() -> None:
    """agent-lifecycle.md 6: not before the first PingAnswer or Ready."""
    bench = Bench(limit=2)
    async with bench.running() as task:
        for _ in range(5):
            await bench.pass_time()
        assert bench.keepalive.unanswered == 5
        bench.keepalive.start_counting()
        assert bench.keepalive.unanswered == 0
        for _ in range(3):
            await bench.pass_time()
        with pytest.raises(LinkLostError, match="last 2 pings"):
            await task


async def test_anything_heard_is_a_sign_of_life() -> None:
    bench = Bench(limit=2)
    bench.keepalive.start_counting()
    async with bench.running() as task:
        for _ in range(10):
            await bench.pass_time()
            bench.keepalive.heard()
        assert not task.done()


async def test_counting_twice_forgives_nothing() -> None:
    bench = Bench(limit=5)
    bench.keepalive.start_counting()
    async with bench.running():
        await bench.pass_time()
        bench.keepalive.start_counting()
        assert bench.keepalive.unanswered == 1


async def test_a_new_interval_is_taken() -> None:
    """agent-lifecycle.md 2.4: a second StartupAnswer may carry another one."""
    bench = Bench(interval_s=60)
    async with bench.running():
        await bench.clock.sleeper()
        bench.keepalive.set_interval(10)
        for _ in range(3):
            await bench.pass_time()
    assert bench.sent_at == [60, 70, 80]


async def test_time_lost_in_one_piece_is_not_made_up_for() -> None:
    bench = Bench(interval_s=60)
    async with bench.running():
        await bench.clock.sleeper()
        bench.clock.advance(1000)
        await asyncio.sleep(0)
        await bench.pass_time()
    assert bench.sent_at == [1000, 1060]


@pytest.mark.parametrize("interval_s", [0, -5])
def test_a_senseless_interval_becomes_the_default(interval_s: int) -> None:
    assert Bench(interval_s=interval_s).keepalive.interval_s == DEFAULT_INTERVAL_S


async def test_a_link_that_is_never_attached_is_given_up() -> None:
    """A server that forgot the link answers no ping and sends nothing, for ever."""
    bench = Bench(limit=2)
    async with bench.running() as task:
        for _ in range(11):
            await bench.pass_time()
        with pytest.raises(LinkLostError, match="last 10 pings"):
            await task
