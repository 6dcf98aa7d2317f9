# SPDX-License-Identifier: Apache-2.0
"""Threads that start programs, and what they have open."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from pathlib import Path

import pytest

from ssvm_agent.host.starter import Job, Output, Starter
from tests.fakes.machine import until


def job(*argv: str, given: bytes | None = None, limit: int = 1 << 20) -> Job:
    return Job(
        argv=argv, env=dict(os.environ), input=given,
        stdout=Output(limit=limit), stderr=Output(limit=limit),
    )  # fmt: skip


def files_of(starter: Starter) -> set[str]:
    """The descriptors the starting thread has."""
    return {path.name for path in Path(f"/proc/self/task/{starter.thread.native_id}/fd").iterdir()}


async def test_the_starting_thread_has_none_of_the_agents_files(tmp_path: Path) -> None:
    """A file of a dead store that a program inherits hangs its start."""
    with (tmp_path / "before").open("wb"):
        starter = Starter()
        first = job("true")
        await starter.start(first)
        with (tmp_path / "after").open("wb"):
            assert files_of(starter) <= {"0", "1", "2"}
            await starter.start(job("true"))
            assert files_of(starter) <= {"0", "1", "2"}
    assert first.returncode == 0


async def test_where_the_files_cannot_be_left_programs_start_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Forbidding:
        def unshare(self, flags: int) -> int:
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **more: Forbidding())
    one = job("true")
    await Starter().start(one)
    assert one.returncode == 0
    assert "a dead store may hold the agent up" in caplog.text


async def test_programs_run_side_by_side() -> None:
    starter = Starter()
    slow = job("sh", "-c", "read line; echo $line", given=None)
    jobs = [job("sh", "-c", f"echo {number}; exit {number}") for number in range(20)]
    await asyncio.gather(*(starter.start(one) for one in (slow, *jobs)))
    assert [one.returncode for one in jobs] == list(range(20))
    assert [bytes(one.stdout.data) for one in jobs] == [f"{n}\n".encode() for n in range(20)]


async def test_much_input_and_much_output_pass_each_other() -> None:
    given = os.urandom(3 << 20)
    one = job("cat", given=given, limit=4 << 20)
    await Starter().start(one)
    assert bytes(one.stdout.data) == given
    unread = job("true", given=given)
    await Starter().start(unread)
    assert unread.returncode == 0


async def test_a_signal_before_the_start_is_not_lost() -> None:
    one = job("sleep", "60")
    one.signal(signal.SIGKILL)
    await Starter().start(one)
    assert one.returncode == -signal.SIGKILL
    one.signal(signal.SIGKILL)  # its number may be another's now


async def test_a_signal_reaches_the_whole_group() -> None:
    one = job("sh", "-c", "sleep 60 & echo started; wait")
    running = Starter().start(one)
    await until(lambda: bool(one.stdout.data))
    one.signal(signal.SIGTERM)
    await running
    assert one.returncode == -signal.SIGTERM


async def test_an_error_of_the_start_is_told() -> None:
    with pytest.raises(FileNotFoundError):
        await Starter().start(job("none-such-program"))
