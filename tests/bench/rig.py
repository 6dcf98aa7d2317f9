# SPDX-License-Identifier: Apache-2.0
"""What every benchmark stands on: a web server, a management server, the agent, and a stopwatch."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ssvm_agent.simulator.model import HostStatus
from ssvm_agent.simulator.server import ManagementServer
from ssvm_agent.simulator.timing import Timing
from tests.fixtures.agents import AgentProcess, agent_process
from tests.fixtures.nginx import WebServer, serve

# A real server's patience, but it asks for progress often enough to time the end of a download. The
# pings are rare enough for the pauses this process makes: with three unanswered the agent leaves.
_TIMING = replace(Timing(), download_poll_s=0.02, purge_delay_s=0.0, ping_interval_s=20.0)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row of the report.

    Attributes:
        what: In a few words.
        measured: In the unit.
        limit: That must not be exceeded, in the same unit.
        unit: For people.
        yardstick: What it was compared with, when the limit is a ratio.
    """

    what: str
    measured: float
    limit: float
    unit: str
    yardstick: str = ""

    @property
    def passed(self) -> bool:
        """Whether the limit is kept."""
        return self.measured <= self.limit


@dataclass(slots=True)
class Rig:
    """The running parts; see the functions below for making them."""

    folder: Path
    server: ManagementServer
    agent: AgentProcess
    site: WebServer

    @property
    def store(self) -> Path:
        """The directory that is the image store."""
        return self.folder / "store"

    async def download(self, path: Path, **more: Any) -> float:
        """Bring one image in; the seconds from the command to DOWNLOADED."""
        start = time.perf_counter()
        download = self.server.register(name=path.name, url=self.site.url(path), **more)
        await self.server.wait_until(lambda: download.status == "DOWNLOADED", 3600)
        seconds = time.perf_counter() - start
        await download.result(60)
        return seconds

    def empty_store(self) -> None:
        """Remove what was installed, and let the disk come to rest."""
        shutil.rmtree(self.store / "template", ignore_errors=True)
        subprocess.run(["sync", "-f", str(self.folder)], check=True)


@asynccontextmanager
async def running(folder: Path, site: WebServer, **more: Any) -> AsyncIterator[Rig]:
    """A management server and an agent that is Up, with an empty store."""
    store = folder / "store"
    store.mkdir(exist_ok=True)
    async with (
        ManagementServer([f"file://{store}"], timing=_TIMING) as server,
        agent_process(folder / "agent", server.port, **more) as agent,
    ):
        await server.wait_for_status(HostStatus.UP, deadline_s=60)
        yield Rig(folder, server, agent, site)
        assert server.violations == []


@contextmanager
def website(folder: Path) -> Iterator[WebServer]:
    """A real nginx over ``folder/site``."""
    root = folder / "site"
    root.mkdir(exist_ok=True)
    with serve(root, folder / "nginx") as site:
        yield site


async def timed_program(*commands: list[str], cwd: Path) -> float:
    """Run programs one after the other; the seconds they took together."""
    start = time.perf_counter()
    for command in commands:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=cwd, stdout=asyncio.subprocess.DEVNULL
        )
        if await process.wait() != 0:
            raise RuntimeError(f"{command[0]} failed")
    return time.perf_counter() - start
