# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import logging

import pytest

from ssvm_agent.host.tasks import BackgroundTasks, KeyedLocks


async def test_a_failing_task_does_not_disturb_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = asyncio.Event()

    async def fail() -> None:
        raise ValueError("broken")

    async def succeed() -> None:
        done.set()

    async with BackgroundTasks() as tasks:
        failing = tasks.start(fail(), name="bad")
        await failing.wait()
        tasks.start(succeed(), name="good")
        await done.wait()
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "task=bad" in errors[0].getMessage()


async def test_the_owner_hears_of_the_error_instead_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[Exception] = []

    async def fail() -> None:
        raise ValueError("broken")

    async with BackgroundTasks() as tasks:
        await tasks.start(fail(), name="bad", on_error=heard.append).wait()
    assert [str(error) for error in heard] == ["broken"]
    assert not caplog.records


async def test_an_error_handler_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("broken")

    def handler(error: Exception) -> None:
        raise RuntimeError("worse") from error

    async with BackgroundTasks() as tasks:
        await tasks.start(fail(), name="bad", on_error=handler).wait()
    assert "error handler" in caplog.text


async def test_leaving_the_context_cancels_what_runs() -> None:
    cleaned = []

    async def run() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    async with BackgroundTasks() as tasks:
        handle = tasks.start(run(), name="endless")
        await asyncio.sleep(0)
        assert len(tasks) == 1
        assert handle.name == "endless"
        assert not handle.done()
    assert cleaned == [True]
    assert handle.done()


async def test_a_handle_cancels_its_task() -> None:
    async with BackgroundTasks() as tasks:
        handle = tasks.start(asyncio.Event().wait(), name="endless")
        handle.cancel()
        await handle.wait()
        assert handle.done()


async def test_drain_waits_for_the_end() -> None:
    async with BackgroundTasks() as tasks:
        assert await tasks.drain(0)
        tasks.start(asyncio.sleep(0), name="short")
        assert await tasks.drain(10)


async def test_drain_cancels_at_its_deadline() -> None:
    async with BackgroundTasks() as tasks:
        handle = tasks.start(asyncio.Event().wait(), name="endless")
        assert not await tasks.drain(0.01)
        assert handle.done()


async def test_one_key_admits_one_at_a_time_in_order() -> None:
    locks = KeyedLocks()
    order: list[int] = []
    go = asyncio.Event()

    async def take(number: int) -> None:
        async with locks.hold("a"):
            order.append(number)
            await go.wait()

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(take(number))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert order == [0]
        assert locks.is_held("a")
        go.set()
    assert order == [0, 1, 2]
    assert len(locks) == 0
    assert not locks.is_held("a")


async def test_different_keys_do_not_wait_for_each_other() -> None:
    locks = KeyedLocks()
    async with locks.hold("a"), locks.hold("b"):
        assert len(locks) == 2


async def test_a_cancelled_waiter_leaves_no_trace() -> None:
    locks = KeyedLocks()

    async def take() -> None:
        async with locks.hold("a"):
            raise AssertionError("never reached")

    async with locks.hold("a"):
        waiter = asyncio.create_task(take())
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.wait([waiter])
    assert len(locks) == 0
