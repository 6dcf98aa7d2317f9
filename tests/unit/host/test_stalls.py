# SPDX-License-Identifier: Apache-2.0
"""What is said of an event loop that does not turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ssvm_agent.host.stalls import tell_of_stalls
from tests.fakes.machine import until


def hold_the_loop_up(seconds: float) -> None:
    time.sleep(seconds)


@asynccontextmanager
async def watched(stacks: Path, *, limit_s: float, interval_s: float) -> AsyncIterator[None]:
    """The loop is watched, and the stacks are written to a file."""
    with stacks.open("w") as file:
        watching = asyncio.create_task(
            tell_of_stalls(limit_s=limit_s, interval_s=interval_s, file=file.fileno())
        )
        await asyncio.sleep(0)
        yield
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching


async def test_who_holds_the_loop_up_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(tmp_path / "stacks", limit_s=0.05, interval_s=0.01):
        hold_the_loop_up(0.5)
        await until(lambda: "held up" in caplog.text)
    assert "hold_the_loop_up" in (tmp_path / "stacks").read_text()


async def test_a_turning_loop_is_not_talked_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(tmp_path / "stacks", limit_s=30, interval_s=0.001):
        for _ in range(50):
            await asyncio.sleep(0.001)
    assert not caplog.text
    assert not (tmp_path / "stacks").read_text()
