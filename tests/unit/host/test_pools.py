# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncIterator

import pytest

from ssvm_agent.host.errors import PoolClosedError, PoolDeadlineError, PoolStuckError
from ssvm_agent.host.pools import WorkPool
from tests.fakes.machine import until


@pytest.fixture
async def pool() -> AsyncIterator[WorkPool]:
    made = WorkPool("the test store", threads=2)
    yield made
    made.close()


async def test_results_and_arguments_pass_through(pool: WorkPool) -> None:
    assert await pool.call(divmod, 7, 2) == (3, 1)
    assert await pool.call(sorted, [1, 3, 2], reverse=True) == [3, 2, 1]


async def test_exceptions_pass_through(pool: WorkPool) -> None:
    with pytest.raises(ZeroDivisionError):
        await pool.call(divmod, 1, 0)


async def test_a_time_out_of_the_work_is_not_our_deadline(pool: WorkPool) -> None:
    def fail() -> None:
        raise TimeoutError("from the kernel")

    with pytest.raises(TimeoutError, match="from the kernel"):
        await pool.call(fail, deadline_s=10)
    assert pool.stuck == 0


async def test_a_result_counts_that_came_while_the_loop_was_held_up(pool: WorkPool) -> None:
    came = threading.Event()

    def hold_the_loop_up() -> None:
        assert came.wait(10)
        time.sleep(0.1)  # until the deadline has passed

    calling = asyncio.create_task(pool.call(came.set, deadline_s=0.01))
    await asyncio.sleep(0)
    hold_the_loop_up()
    await calling


async def test_stop_iteration_cannot_confuse_the_loop(pool: WorkPool) -> None:
    with pytest.raises(RuntimeError):
        await pool.call(next, iter(()))


async def test_context_variables_are_seen_by_the_work(pool: WorkPool) -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("seen")
    assert await pool.call(variable.get) == "seen"


async def test_threads_are_started_when_needed_and_are_daemons(pool: WorkPool) -> None:
    for _ in range(5):
        assert (await pool.call(threading.current_thread)).daemon
    names = {(await pool.call(threading.current_thread)).name for _ in range(5)}
    assert len(names) <= 2


async def test_no_more_than_its_threads_run_at_once(pool: WorkPool) -> None:
    release = threading.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(pool.call(release.wait, 10))
        await until(lambda: pool.busy == 2)
        release.set()
    await until(lambda: pool.busy == 0)


async def test_a_late_call_ends_the_wait_and_counts_its_thread(pool: WorkPool) -> None:
    release = threading.Event()
    with pytest.raises(PoolDeadlineError, match=r"the test store did not respond within 0\.01"):
        await pool.call(release.wait, 10, deadline_s=0.01)
    assert pool.stuck == 1
    assert await pool.call(int, "5") == 5
    release.set()
    await until(lambda: pool.stuck == 0)


async def test_a_pool_whose_threads_are_all_stuck_refuses_at_once(pool: WorkPool) -> None:
    release = threading.Event()
    for _ in range(2):
        with pytest.raises(PoolDeadlineError):
            await pool.call(release.wait, 10, deadline_s=0.01)
    with pytest.raises(PoolStuckError):
        await pool.call(int, "5")
    release.set()
    await until(lambda: pool.stuck == 0)
    assert await pool.call(int, "5") == 5


async def test_a_call_that_never_got_a_thread_is_not_run_later(pool: WorkPool) -> None:
    release = threading.Event()
    ran: list[int] = []
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(pool.call(release.wait, 10))
        await until(lambda: pool.busy == 2)
        with pytest.raises(PoolDeadlineError):
            await pool.call(ran.append, 1, deadline_s=0.01)
        assert pool.stuck == 0
        release.set()
    await pool.call(int, "5")
    assert ran == []


async def test_a_cancelled_caller_does_not_count_its_thread_as_stuck(pool: WorkPool) -> None:
    release = threading.Event()
    task = asyncio.create_task(pool.call(release.wait, 10))
    await until(lambda: pool.busy == 1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert pool.stuck == 0
    release.set()
    await until(lambda: pool.busy == 0)


async def test_a_closed_pool_refuses(pool: WorkPool) -> None:
    assert await pool.call(int, "5") == 5
    pool.close()
    pool.close()
    with pytest.raises(PoolClosedError):
        await pool.call(int, "5")


def test_work_that_outlives_its_loop_is_forgotten() -> None:
    pool = WorkPool("the test store")
    release = threading.Event()

    async def leave() -> None:
        with pytest.raises(PoolDeadlineError):
            await pool.call(release.wait, 10, deadline_s=0.01)

    asyncio.run(leave())
    release.set()

    async def come_back() -> int:
        return await pool.call(int, "5")

    assert asyncio.run(come_back()) == 5
    pool.close()
