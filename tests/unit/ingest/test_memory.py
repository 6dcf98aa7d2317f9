# SPDX-License-Identifier: Apache-2.0
"""What decompressors share: nobody gets more than there is, nobody waits for ever."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssvm_agent.ingest.memory import MemoryBudget


class Holder:
    """Somebody who wants memory, holds it, and lets go when told to."""

    def __init__(self, budget: MemoryBudget, size_bytes: int) -> None:
        self.has = asyncio.Event()
        self.go = asyncio.Event()
        self.task = asyncio.create_task(self._run(budget, size_bytes))

    async def _run(self, budget: MemoryBudget, size_bytes: int) -> None:
        async with budget.hold(size_bytes):
            self.has.set()
            await self.go.wait()

    async def end(self) -> None:
        self.go.set()
        await self.task


async def settle() -> None:
    """Let everybody go as far as they can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_wants_more_than_is_left_waits_and_is_not_passed_by() -> None:
    budget = MemoryBudget(100)
    first, large, small = (Holder(budget, size) for size in (60, 80, 10))
    await settle()
    assert (first.has.is_set(), large.has.is_set(), small.has.is_set()) == (True, False, False)
    await first.end()
    await settle()
    assert (large.has.is_set(), small.has.is_set(), budget.held_bytes) == (True, True, 90)
    await large.end()
    await small.end()
    assert budget.held_bytes == 0


async def test_nothing_is_had_at_once() -> None:
    budget = MemoryBudget(100)
    all_of_it, waiting = Holder(budget, 100), Holder(budget, 1)
    await settle()
    async with budget.hold(0):
        assert not waiting.has.is_set()
    await all_of_it.end()
    await waiting.end()


async def test_more_than_all_is_given_to_one_alone() -> None:
    budget = MemoryBudget(100)
    async with budget.hold(500):
        other = Holder(budget, 1)
        await settle()
        assert not other.has.is_set()
    await other.end()


@pytest.mark.parametrize("its_turn_has_come", [False, True])
async def test_who_stops_waiting_takes_nothing_along(its_turn_has_come: bool) -> None:
    budget = MemoryBudget(100)
    async with budget.hold(100):
        gone, last = Holder(budget, 100), Holder(budget, 100)
        await settle()
        if not its_turn_has_come:
            gone.task.cancel()
    # Otherwise it has been given the memory by now, and does not know yet.
    gone.task.cancel()
    await asyncio.wait([gone.task])
    assert not gone.has.is_set()
    await last.end()
    assert budget.held_bytes == 0


@given(st.lists(st.tuples(st.integers(0, 150), st.booleans()), max_size=20))
def test_never_more_than_there_is(wishes: list[tuple[int, bool]]) -> None:
    async def play() -> None:
        budget = MemoryBudget(100)
        holders = [Holder(budget, size) for size, _ in wishes]
        for holder, (_, stops) in zip(holders, wishes, strict=True):
            await settle()
            assert budget.held_bytes <= max(100, *(size for size, _ in wishes))
            if stops:
                holder.task.cancel()
                await asyncio.wait([holder.task])
            else:
                await holder.has.wait()
                await holder.end()
        assert budget.held_bytes == 0

    asyncio.run(play())
