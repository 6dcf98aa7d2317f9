# SPDX-License-Identifier: Apache-2.0
"""The benchmarks: each yields rows of measured and limit. Sizes are those of ``scale`` 1."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

from ssvm_agent.simulator import commands
from ssvm_agent.simulator.demo_images import compress, write_qcow2
from ssvm_agent.simulator.server import ManagementServer
from ssvm_agent.storage.properties import ImageProperties, render
from tests.bench.bench_copy import COPY_CASES
from tests.bench.bench_web import WEB_CASES
from tests.bench.rig import Measurement, Rig, running, timed_program, website
from tests.fixtures.agents import agent_process

MIB = 1 << 20
GIB = 1 << 30
ROUNDS = 2  # of which the quicker counts, on both sides

Case = Callable[[Path, float], AsyncIterator[Measurement]]


def _random_disk(path: Path, size_bytes: int) -> Path:
    """A raw disk: a partition table and incompressible content."""
    entry = b"\x80\0\2\0\x83\0\2\0\1\0\0\0\xff\0\0\0"
    block = os.urandom(8 * MIB)
    with path.open("wb") as file:
        file.write((bytes(446) + entry).ljust(510, b"\0") + b"\x55\xaa")
        while (left := size_bytes - file.tell()) > 0:
            file.write(os.urandom(64) + block[: min(left, len(block)) - 64] if left > 64 else b"x")
    return path


async def plain_template(folder: Path, scale: float) -> AsyncIterator[Measurement]:
    """2 GiB incompressible with SHA-512, beside curl and sha512sum."""
    with website(folder) as site:
        disk = _random_disk(site.root / "plain.raw", int(2 * GIB * scale))
        async with running(folder, site) as rig:
            theirs, ours = [], []
            for _ in range(ROUNDS):
                theirs.append(
                    await timed_program(
                        ["curl", "-s", "-o", "f", site.url(disk)], ["sha512sum", "f"], cwd=folder
                    )
                )
                (folder / "f").unlink()
                rig.empty_store()
                ours.append(await rig.download(disk, format="RAW"))
                rig.empty_store()
        yield Measurement(
            f"template of {disk.stat().st_size / GIB:.2g} GiB to DOWNLOADED",
            min(ours) / min(theirs),
            1.0,
            "x",
            f"curl && sha512sum: {min(theirs):.2f} s, ours {min(ours):.2f} s",
        )


async def compressed_template(folder: Path, scale: float) -> AsyncIterator[Measurement]:
    """1 GiB of qcow2.gz, beside curl, sha512sum and gunzip; and what the store has to bear."""
    with website(folder) as site:
        disk = site.root / "disk.qcow2"
        write_qcow2(disk, virtual_size_bytes=int(2 * GIB * scale), data_bytes=int(GIB * scale))
        served = compress(disk, "gz")
        installed_bytes = disk.stat().st_size
        disk.unlink()
        async with running(folder, site) as rig:
            theirs, ours = [], []
            read = written = 0
            for _ in range(ROUNDS):
                theirs.append(
                    await timed_program(
                        ["curl", "-s", "-o", "f.gz", site.url(served)],
                        ["sha512sum", "f.gz"],
                        ["gunzip", "-f", "f.gz"],
                        cwd=folder,
                    )
                )
                (folder / "f").unlink()
                rig.empty_store()
                before = rig.agent.bytes_moved()
                ours.append(await rig.download(served))
                after = rig.agent.bytes_moved()
                read = after["rchar"] - before["rchar"]
                written = after["wchar"] - before["wchar"]
                rig.empty_store()
        yield Measurement(
            f"qcow2.gz of {installed_bytes / GIB:.2g} GiB to DOWNLOADED",
            min(ours) / min(theirs),
            0.5,
            "x",
            f"curl && sha512sum && gunzip: {min(theirs):.2f} s, ours {min(ours):.2f} s",
        )
        # Sockets are not in these counters; what is left besides the image is properties, log,
        # journal and looks at /proc.
        yield Measurement("  read from files meanwhile", read / MIB, 1.0, "MiB")
        yield Measurement(
            "  written to files / installed size", written / installed_bytes, 1.01, "x"
        )


async def startup(folder: Path, _scale: float) -> AsyncIterator[Measurement]:
    """From the start of the process to Startup on the wire."""
    seconds = []
    for number in range(5):
        async with ManagementServer() as server:
            start = time.perf_counter()
            async with agent_process(folder / f"agent{number}", server.port):
                await server.wait_until(lambda: bool(server.zone.hosts), 30)
                seconds.append(time.perf_counter() - start)
    yield Measurement("process start to Startup", statistics.median(seconds), 0.6, "s")


async def memory(folder: Path, scale: float) -> AsyncIterator[Measurement]:
    """Resident memory: idle, and with ten downloads running."""
    with website(folder) as site:
        disk = site.root / "disk.qcow2"
        write_qcow2(disk, virtual_size_bytes=2 * GIB, data_bytes=int(256 * MIB * scale))
        served = compress(disk, "gz")
        disk.unlink()
        async with running(folder, site) as rig:
            await rig.server.wait_until(lambda: rig.server.session().pings_answered >= 1, 60)
            yield Measurement("memory, idle", rig.agent.memory_bytes() / MIB, 60, "MiB")
            yield Measurement(
                "memory, ten downloads running", await _peak_memory(rig, served) / MIB, 128, "MiB"
            )


async def _peak_memory(rig: Rig, served: Path) -> int:
    downloads = [
        rig.server.register(name=f"disk-{number}", url=rig.site.url(served)) for number in range(10)
    ]
    peak = 0
    while not all(download.is_done for download in downloads):
        peak = max(peak, rig.agent.memory_bytes())
        await asyncio.sleep(0.02)
    for download in downloads:
        await download.result()
    return peak


async def health(folder: Path, _scale: float) -> AsyncIterator[Measurement]:
    """CheckHealth round trips over TLS, both sides on this machine."""
    with website(folder) as site:
        async with running(folder, site) as rig:
            seconds = []
            for _ in range(1000):
                start = time.perf_counter()
                answer = await rig.server.ask(commands.check_health())
                seconds.append(time.perf_counter() - start)
                assert answer.result
    yield Measurement("CheckHealth, median of 1,000", statistics.median(seconds) * 1000, 1, "ms")


async def listing(folder: Path, scale: float) -> AsyncIterator[Measurement]:
    """ListTemplate over 10,000 templates."""
    count = int(10_000 * scale)
    _fill_store(folder / "store", count)
    with website(folder) as site:
        async with running(folder, site) as rig:
            start = time.perf_counter()
            answer = await rig.server.ask(commands.list_template(rig.server.zone.stores[0]))
            seconds = time.perf_counter() - start
            assert len(answer.fields["templateInfos"]) == count
    yield Measurement(f"ListTemplate of {count:,}", seconds, 2.0, "s")


def _fill_store(store: Path, count: int) -> None:
    for number in range(200, 200 + count):
        directory = store / "template" / "tmpl" / str(number % 50 + 1) / str(number)
        directory.mkdir(parents=True)
        properties = ImageProperties(
            unique_name=f"{number}-2-6f1c7a52-3a0e-3f0e-9d0b-5b8f6f0b6c1a",
            id=number,
            file_name="7a1e2f9c-5e0b-4d0e-8f5a-0d6f6f0b6c1a.qcow2",
            size_bytes=4096,
            virtual_size_bytes=GIB,
            formats=("qcow2",),
            description="a template",
            hvm=True,
            is_public=True,
            checksum=None,
            extra={},
        )
        (directory / properties.file_name).write_bytes(b"QFI\xfb".ljust(4096, b"\0"))
        (directory / "template.properties").write_bytes(render(properties, now=datetime.now(UTC)))


CASES: dict[str, Case] = {
    "plain": plain_template,
    "compressed": compressed_template,
    "startup": startup,
    "memory": memory,
    "health": health,
    "listing": listing,
    **WEB_CASES,
    **COPY_CASES,
}
