# SPDX-License-Identifier: Apache-2.0
"""What is said of an event loop that does not turn."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from ssvm_agent.host.stalls import tell_of_stalls
from tests.fakes.machine import until


def hold_the_loop_up(seconds: float) -> None:
    time.sleep(seconds)


async def test_who_holds_the_loop_up_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (tmp_path / "stacks").open("w") as file:
        watching = asyncio.create_task(
            tell_of_stalls(limit_s=0.05, interval_s=0.01, file=file.fileno())
        )
        await asyncio.sleep(0)
        hold_the_loop_up(0.5)
        await until(lambda: "held up" in caplog.text)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
    assert "hold_the_loop_up" in (tmp_path / "stacks").read_text()


async def test_a_turning_loop_is_not_talked_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (tmp_path / "stacks").open("w") as file:
        watching = asyncio.create_task(
            tell_of_stalls(limit_s=30, interval_s=0.001, file=file.fileno())
        )
        for _ in range(50):
            await asyncio.sleep(0.001)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
    assert not caplog.text
    assert not (tmp_path / "stacks").read_text()
