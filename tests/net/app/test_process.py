# SPDX-License-Identifier: Apache-2.0
"""``ssvm-agent run`` as a process: exit codes, pid file, readiness, log."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ssvm_agent.simulator.agent_process import write_agent_settings
from tests.fakes.machine import until

_UNUSED_PORT = 9  # discard: nobody listens there


class Running:
    """A started process and what it said."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        """Its standard error so far."""
        return self._log.read_text()

    async def ended(self) -> int:
        """Its exit code."""
        async with asyncio.timeout(20):
            return await self.process.wait()


@asynccontextmanager
async def _run(
    folder: Path, *words: str, env: dict[str, str] | None = None, **more: object
) -> AsyncIterator[Running]:
    settings = await asyncio.to_thread(write_agent_settings, folder, _UNUSED_PORT, more=more)
    log = folder / "stderr"
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ssvm_agent", "run", "--config", str(settings), *words,
            stderr=errors, env={**os.environ, **(env or {})},
        )  # fmt: skip
    try:
        yield Running(process, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _says(running: Running, text: str) -> Callable[[], bool]:
    return lambda: text in running.log


async def test_the_pid_file_is_held_while_it_runs(tmp_path: Path) -> None:
    pid_file = tmp_path / "run" / "agent.SecStorage.pid"
    async with _run(tmp_path, pid_file=str(pid_file)) as agent:
        await until(_says(agent, "no link"))
        assert pid_file.read_text() == f"{agent.process.pid}\n"
        async with _run(tmp_path, pid_file=str(pid_file)) as second:
            assert await second.ended() == 75
            assert "An agent is running already" in second.log
        agent.process.send_signal(signal.SIGTERM)
        assert await agent.ended() == 143
    assert not pid_file.exists()


async def test_a_killed_agent_does_not_keep_the_next_one_away(tmp_path: Path) -> None:
    pid_file = tmp_path / "agent.pid"
    async with _run(tmp_path, pid_file=str(pid_file)) as agent:
        await until(_says(agent, "no link"))
        agent.process.kill()
        await agent.ended()
        (tmp_path / "stderr").unlink()
        async with _run(tmp_path, pid_file=str(pid_file)) as next_one:
            await until(_says(next_one, "no link"))
            assert pid_file.read_text() == f"{next_one.process.pid}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--set", "guid="), "guid is not set"),
        (("--set", "log.level=loud"), "log.level: must be one of"),
        (("host=@HOST@", "--set", "management_servers="), "a placeholder that was never filled in"),
    ],
)
async def test_unusable_settings_end_it_with_78_and_one_line(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    """Differs: agent-lifecycle.md 3.6, so that nobody takes it for a good end."""
    async with _run(tmp_path, *words) as agent:
        assert await agent.ended() == 78
        assert message in agent.log
        assert agent.log.count("\n") == 1


async def test_the_service_manager_is_told_of_readiness_and_status(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.setblocking(False)
        loop = asyncio.get_running_loop()
        async with _run(tmp_path, env={"NOTIFY_SOCKET": str(address)}) as agent:
            states: list[str] = []
            async with asyncio.timeout(20):
                while "READY=1" not in states:
                    states.append((await loop.sock_recv(manager, 4096)).decode())
            assert any(state.startswith("STATUS=disconnected (127.0.0.1)") for state in states)
            agent.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                while "STOPPING=1" not in states:
                    states.append((await loop.sock_recv(manager, 4096)).decode())
            assert await agent.ended() == 143


async def test_the_log_goes_to_the_file_too(tmp_path: Path) -> None:
    file = tmp_path / "log" / "cloud.log"
    async with _run(tmp_path, log={"file": str(file), "level": "debug"}) as agent:
        await until(lambda: file.exists() and "no link" in file.read_text())
        agent.process.send_signal(signal.SIGTERM)
        assert await agent.ended() == 143
    assert "agent ended exit_code=143" in file.read_text()
    assert "agent ended exit_code=143" in agent.log


async def test_a_pipe_that_closes_is_no_stack_trace(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ssvm_agent", "commands",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout._transport.close()  # type: ignore[attr-defined] # the reader goes away
    _, errors = await process.communicate()
    assert b"Traceback" not in errors
