# SPDX-License-Identifier: Apache-2.0
"""What a running agent tells of itself: /metrics and ``ssvm-agent status``, after real commands."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import socket
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from ssvm_agent.simulator import commands
from ssvm_agent.simulator.model import HostStatus, ImageStore
from ssvm_agent.simulator.server import ManagementServer
from tests.fakes.hostile_origin import Behaviour, hostile_origin
from tests.fakes.machine import until
from tests.fixtures.agents import LIVELY, RunAgent, StartServer
from tests.fixtures.ports import free_port
from tests.net.web.test_uploads import qcow2


@pytest.fixture
def address() -> str:
    """Where the agent of a test shows its status."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
async def server(start_server: StartServer, tmp_path: Path) -> ManagementServer:
    (tmp_path / "store").mkdir()
    return await start_server(stores=[f"file://{tmp_path / 'store'}"], timing=LIVELY)


async def metrics(address: str) -> dict[str, float]:
    """The samples by their names and labels."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}/metrics") as page:
        assert page.status == 200
        text = await page.text()
    samples = re.findall(r"^(\w\S*(?:{.*})?) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in samples}


async def test_metrics_tell_what_commands_and_downloads_did(
    server: ManagementServer, run_agent: RunAgent, address: str, tmp_path: Path
) -> None:
    """One connection breaks in the middle, one store cannot be opened, one command is unknown."""
    await run_agent(server, status={"listen": address})
    await server.wait_for_status(HostStatus.UP)
    body = qcow2()
    async with hostile_origin() as origin:
        url = origin.serve("/disk.qcow2", Behaviour(body=body, reset_after=600 << 10))
        await server.register(name="disk", url=url, format="QCOW2").result(deadline_s=25)
    gone = ImageStore(url=f"file://{tmp_path / 'store' / 'not-there'}")
    assert not (await server.ask(commands.list_template(gone))).result
    await server.ask(commands.command("com.example.InventedCommand"))
    found = await metrics(address)
    assert found["ssvm_agent_download_retries_total"] == 1
    assert found["ssvm_agent_downloaded_bytes_total"] == len(body)
    assert found['ssvm_agent_downloads_total{outcome="finished"}'] == 1
    failed = [name for name in found if name.startswith("ssvm_agent_command_failures_total")]
    assert len(failed) == 2
    assert any('command="ListTemplateCommand"' in name for name in failed)
    assert found['ssvm_agent_command_failures_total{code="unsupported",command="unknown"}'] == 1
    ran = 'ssvm_agent_command_duration_seconds_count{command="DownloadCommand"}'
    assert found[ran] == 1
    assert found['ssvm_agent_waiting{kind="download"}'] == 0
    assert not [name for name in found if "Invented" in name]


async def test_numbers_and_page_are_there_when_the_public_ports_are_not(
    server: ManagementServer, run_agent: RunAgent, address: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        upload = {"listen_port": taken.getsockname()[1]}
        await run_agent(server, status={"listen": address}, upload=upload)
        await server.wait_for_status(HostStatus.UP)
        await server.ask(commands.check_health())
        found = await metrics(address)
    ran = 'ssvm_agent_command_duration_seconds_count{command="CheckHealthCommand"}'
    assert found[ran] == 1
    assert found['ssvm_agent_log_records_total{level="error"}'] == 1
    assert "ssvm_agent_received_bytes_total" not in found


@dataclass
class Watching:
    """``ssvm-agent status --watch`` in a terminal of 80 columns."""

    process: asyncio.subprocess.Process
    seen: bytearray = field(default_factory=bytearray)

    async def shows(self, text: str) -> None:
        """Wait until this was painted, and forget what was painted before."""
        await until(lambda: text.encode() in self.seen)
        self.seen.clear()


@asynccontextmanager
async def watching(address: str) -> AsyncIterator[Watching]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, 80, 0, 0))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ssvm_agent", "status", "--watch", "--address", address,
        stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    screen = Watching(process)
    asyncio.get_running_loop().add_reader(ours, lambda: screen.seen.extend(os.read(ours, 65536)))
    try:
        yield screen
    finally:
        asyncio.get_running_loop().remove_reader(ours)
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(theirs)
        os.close(ours)


async def test_watching_outlives_the_agent_and_ends_on_ctrl_c(
    server: ManagementServer, run_agent: RunAgent, address: str
) -> None:
    async with watching(address) as screen:
        await screen.shows("trying again")
        agent = await run_agent(server, status={"listen": address})
        await screen.shows("s-1-VM")
        await agent.stop(signal.SIGKILL)
        await screen.shows("trying again")
        await run_agent(server, agent.folder, status={"listen": address})
        await screen.shows("s-1-VM")
        screen.process.send_signal(signal.SIGINT)
        assert await screen.process.wait() == 0
