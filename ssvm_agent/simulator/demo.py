# SPDX-License-Identifier: Apache-2.0
"""The demo: a management server in small, the real agent, and images brought in by it.

Everything happens in one temporary folder: two images made on the spot and served over HTTP (or
one of the user's, by URL), a directory as image store, the agent as a process of its own. What is
shown is what the server sees and what lies in the store afterwards, checked against the originals.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import shutil
import signal
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from ssvm_agent.errors import AgentError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import SystemRunner
from ssvm_agent.host.tasks import BackgroundTasks
from ssvm_agent.simulator import commands
from ssvm_agent.simulator.agent_process import agent_command, write_agent_settings
from ssvm_agent.simulator.demo_images import compress, write_iso, write_qcow2
from ssvm_agent.simulator.demo_screen import Screen
from ssvm_agent.simulator.demo_site import Site, open_site
from ssvm_agent.simulator.downloads import Download
from ssvm_agent.simulator.errors import SimulatorError
from ssvm_agent.simulator.model import Host, HostStatus
from ssvm_agent.simulator.server import ManagementServer
from ssvm_agent.simulator.timing import Timing

_MIB = 1 << 20
_DAY_S = 86400.0
# A real server asks every ten seconds; nobody wants to watch that.
_TIMING = replace(Timing(), download_poll_s=0.2, ping_interval_s=5, ping_timeout_s=15)


@dataclass(frozen=True, slots=True)
class Offer:
    """An image to register, and what must be in the store in the end.

    Attributes:
        checksum: ``{SHA-512}hex`` of the file as served; None when it is not ours.
        sha256: Of the image after unpacking; None when it is not ours.
    """

    name: str
    url: str
    format: str
    checksum: str | None = None
    sha256: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``ssvm-agent demo``."""
    parser.add_argument("--url", help="bring in this image instead of the two made on the spot")
    parser.add_argument(
        "--format", help="its format (QCOW2, RAW, VHD, OVA, ISO…); by its name when not given"
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave it running to play with, until Ctrl-C"
    )


def run_from(options: argparse.Namespace) -> int:
    """Run the demo with parsed options; the exit code."""
    try:
        return asyncio.run(_run(options.url, options.format, keep=options.keep))
    except asyncio.CancelledError:
        return 130


async def _run(url: str | None, image_format: str | None, *, keep: bool) -> int:
    screen = Screen()
    pool = WorkPool("demo", threads=2)
    _end_on_signals()
    try:
        folder = Path(await pool.call(tempfile.mkdtemp, prefix="ssvm-agent-demo-"))
        try:
            await _show(screen, pool, folder, url, image_format, keep=keep)
        except (SimulatorError, TimeoutError) as error:
            log = await pool.call(_tail, folder / "agent.log")
            screen.failed(str(error) or "It took too long.", log)
            return 1
        finally:
            await pool.call(shutil.rmtree, folder, deadline_s=60)
            screen.say(f"removed {folder}")
        return 0
    finally:
        pool.close()


def _end_on_signals() -> None:
    """Let Ctrl-C and SIGTERM cancel the caller, once; another one ends the process as it is.

    Said explicitly because a process started in the background of a script inherits an ignored
    SIGINT, which asyncio would leave ignored.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    numbers = (signal.SIGINT, signal.SIGTERM)

    def arrived() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)
        task.cancel()

    for number in numbers:
        loop.add_signal_handler(number, arrived)


async def _show(
    screen: Screen,
    pool: WorkPool,
    folder: Path,
    url: str | None,
    image_format: str | None,
    *,
    keep: bool,
) -> None:
    site_root, store = folder / "site", folder / "store"
    await pool.call(_make_directories, site_root, store)
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(open_site(site_root))
        if url is None:
            screen.step("making a QCOW2 disk (gzip) and an ISO, serving them over HTTP")
            offers = await pool.call(_make_offers, site, deadline_s=60)
        else:
            offers = [_offer_of(url, image_format)]
        screen.step("starting a management server in small and the agent")
        server = await stack.enter_async_context(
            ManagementServer([f"file://{store}"], timing=_TIMING)
        )
        settings = await pool.call(
            write_agent_settings,
            folder,
            server.port,
            more={
                "log": {"file": str(folder / "agent.log")},
                # Who watches wants to hear soon that a source is not there.
                "download": {"retries": 3, "retry_max_pause_s": 2},
            },
        )
        agent = await stack.enter_async_context(_Agent(settings, server))
        host = await agent.wait_until_up()
        screen.say(f"{host.name} is {host.status}; the store is {server.storage_parent()!r}")

        screen.step("registering the images")
        downloads = [
            server.register(name=one.name, url=one.url, format=one.format, checksum=one.checksum)
            for one in offers
        ]
        await screen.follow(server, downloads, deadline_s=_DAY_S if url else 45)

        screen.step("what the server knows now")
        answer = await server.ask(commands.list_template(server.zone.stores[0]))
        if not answer.result:
            raise SimulatorError(f"The list failed: {answer.details}")
        screen.templates(answer.fields["templateInfos"])

        screen.step("what lies in the store")
        await _compare(screen, pool, store, offers, downloads)
        screen.tree(await pool.call(_files_below, store))
        if keep:
            await _play(screen, server, folder)
        screen.step("stopping")
    if server.violations:
        raise SimulatorError(f"The server objected: {'; '.join(map(str, server.violations))}")
    screen.say("a real management server would have had nothing to object to")


class _Agent:
    """The agent as a process of its own; leaving the context asks it to stop."""

    def __init__(self, settings: Path, server: ManagementServer) -> None:
        self._command = agent_command(settings)
        self._server = server
        self._tasks = BackgroundTasks()
        self._error: Exception | None = None

    async def __aenter__(self) -> Self:
        run = SystemRunner().run(self._command, deadline_s=_DAY_S)
        self._tasks.start(run, name="agent", on_error=self._ended)
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._tasks.__aexit__(None, None, None)

    def _ended(self, error: Exception) -> None:
        self._error = error
        self._server.wake()

    async def wait_until_up(self) -> Host:
        """Wait for its host to be Up.

        Raises:
            SimulatorError: It ended instead.
        """
        hosts = self._server.zone.hosts

        def settled() -> bool:
            up = any(host.status is HostStatus.UP for host in hosts.values())
            return up or self._error is not None

        await self._server.wait_until(settled, 20)
        if isinstance(self._error, AgentError):
            raise SimulatorError(f"The agent ended: {self._error.for_operators()}")
        return self._server.host()


async def _compare(
    screen: Screen, pool: WorkPool, store: Path, offers: list[Offer], downloads: list[Download]
) -> None:
    for offer, download in zip(offers, downloads, strict=True):
        result = await download.result()
        installed = store / result["installPath"]
        sha256 = await pool.call(_sha256, installed, deadline_s=600)
        screen.say(f"{offer.name}: checksum of the source {result['checkSum'][:34]}…")
        if offer.checksum is not None and result["checkSum"] != offer.checksum:
            raise SimulatorError(f"{offer.name}: the agent reports another checksum.")
        if offer.sha256 is not None:
            if sha256 != offer.sha256:
                raise SimulatorError(f"{offer.name}: the file in the store differs.")
            screen.say(f"{offer.name}: the file in the store is the original, bit for bit")


async def _play(screen: Screen, server: ManagementServer, folder: Path) -> None:
    screen.step("left running; Ctrl-C ends it and removes the folder")
    screen.say(f"folder             {folder}")
    screen.say(f"agent log          {folder / 'agent.log'}")
    screen.say(f"management server  127.0.0.1:{server.port}")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        # Ctrl-C is how playing ends, not a failure: what was begun is brought to its end.
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()


# --- blocking pieces ---------------------------------------------------------------------------


def _make_directories(*paths: Path) -> None:
    for path in paths:
        path.mkdir()


def _make_offers(site: Site) -> list[Offer]:
    disk, iso = site.root / "tiny.qcow2", site.root / "tools.iso"
    write_qcow2(disk, virtual_size_bytes=1024 * _MIB, data_bytes=40 * _MIB)
    write_iso(iso, data_bytes=24 * _MIB)
    served = compress(disk, "gz")
    return [
        Offer("demo-disk", site.url(served), "QCOW2", _sha512_text(served), _sha256(disk)),
        Offer("demo-iso", site.url(iso), "ISO", _sha512_text(iso), _sha256(iso)),
    ]


def _offer_of(url: str, image_format: str | None) -> Offer:
    name = Path(urlsplit(url).path).name or "image"
    known = {"img": "QCOW2", "qcow2": "QCOW2", "iso": "ISO", "vhd": "VHD", "ova": "OVA"}
    known |= {"raw": "RAW", "vmdk": "VMDK", "vhdx": "VHDX", "vdi": "VDI"}
    guesses = [known[part] for part in name.lower().split(".") if part in known]
    return Offer(name, url, image_format or (guesses[-1] if guesses else "QCOW2"))


def _sha512_text(path: Path) -> str:
    with path.open("rb") as file:
        return "{SHA-512}" + hashlib.file_digest(file, "sha512").hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files_below(root: Path) -> list[tuple[Path, int]]:
    return [
        (path.relative_to(root), path.stat().st_size)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    ]


def _tail(path: Path) -> str:
    if not path.exists():
        return "the agent wrote no log"
    return "\n".join(path.read_text(errors="replace").splitlines()[-15:])
