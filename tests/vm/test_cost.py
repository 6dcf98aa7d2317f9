# SPDX-License-Identifier: Apache-2.0
"""What the agent costs in a guest of 1 CPU and 512 MB that has nothing else to do.

An emulated CPU runs at about a tenth of a real one's speed, so seconds are not those of a real
machine; memory, wake-ups, and ratios within one guest are. The bounds are wide: they hold on a busy
machine, and a change that doubles a cost does not.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Final, Self

import aiohttp

from ssvm_agent.simulator.public_side import PublicSide
from tests.vm.lab.guest import Guest
from tests.vm.lab.marks import scenarios
from tests.vm.lab.report import Scenario
from tests.vm.lab.steps import all_is_well
from tests.vm.lab.uploads import Upload
from tests.vm.lab.world import World

pytestmark = scenarios(timeout_s=900)

_IDLE_S: Final = 120.0
_WORK_MIB: Final = 8
_RANGE_BYTES: Final = 256 << 10
_PID: Final = "pid=$(systemctl show -p MainPID --value cloud.service)"
_GROUP: Final = "/sys/fs/cgroup/system.slice/cloud.service"


@dataclass(frozen=True, slots=True)
class Meter:
    """What the service has used so far.

    Attributes:
        cpu_s: Of all its processes.
        wakeups: How often a thread of the agent went on after waiting.
        at_s: The guest's clock.
    """

    cpu_s: float
    wakeups: int
    at_s: float

    @classmethod
    async def read(cls, lab: World) -> Self:
        said = await lab.shell.must(
            f"{_PID}; cut -d' ' -f1 /proc/uptime; sed -n 's/usage_usec //p' {_GROUP}/cpu.stat; "
            "sed -n 's/^voluntary_ctxt_switches:\\t//p' /proc/$pid/task/*/status"
        )
        uptime, usage, *switches = said.split()
        return cls(int(usage) / 1e6, sum(map(int, switches)), float(uptime))


async def test_it_is_up_soon(lab: World, guest: Guest, scenario: Scenario) -> None:
    up_at = time.monotonic()
    # The first command also opens the connection.
    await lab.shell.must("true")
    uptime = float(await lab.shell.must("cut -d' ' -f1 /proc/uptime"))
    seconds = uptime - (time.monotonic() - up_at)
    scenario.measured["kernel start to Up s"] = round(seconds, 1)
    scenario.note(
        await lab.shell.must(
            "journalctl --boot --no-pager --output=short-monotonic -u cloud-preinit "
            "-u cloud-early-config -u cloud-postinit -u cloud"
        )
    )
    # Says only that it is not over while units still start; then there is nothing to see.
    scenario.note((await lab.shell.run("systemd-analyze critical-chain cloud.service")).output)
    assert 0 < seconds < 180


async def test_it_costs_little_while_it_waits(lab: World, guest: Guest, scenario: Scenario) -> None:
    """With the management server asking for nothing but what it asks an idle host."""
    await lab.shell.must("true")
    # What follows a start is over then.
    await asyncio.sleep(20)
    first = await Meter.read(lab)
    await asyncio.sleep(_IDLE_S)
    second = await Meter.read(lab)
    passed_s = second.at_s - first.at_s
    per_hour = (second.cpu_s - first.cpu_s) / passed_s * 3600
    wakeups = (second.wakeups - first.wakeups) / passed_s
    said = await lab.shell.must(
        f"{_PID}; awk '/VmRSS/ {{print $2}}' /proc/$pid/status; cat {_GROUP}/memory.current; "
        "awk '/^(MemTotal|MemAvailable):/ {print $2}' /proc/meminfo"
    )
    rss, group, total, available = (int(number) for number in said.split())
    scenario.measured |= {
        "CPU s/h (emulated)": round(per_hour, 1),
        "wake-ups/s": round(wakeups, 2),
        "RSS MiB": round(rss / 1024, 1),
        "service with page cache MiB": round(group / 2**20, 1),
        "used in the guest MiB": round((total - available) / 1024, 1),
        "of MiB": round(total / 1024, 1),
    }
    assert rss < 96 * 1024
    assert wakeups < 10
    assert per_hour < 180


async def test_heavy_work_stays_within_bounds(lab: World, guest: Guest, scenario: Scenario) -> None:
    """Requirement R30: 10 downloads, 10 uploads and 50 range readers at the same time."""
    image = lab.images.large(_WORK_MIB)
    await lab.bring_in("read", lab.images.qcow2(), image_id=270)
    (path,) = lab.expected[0]
    link = await PublicSide(lab.server).create_link(name="read", path=path, store=lab.store(0))
    size = lab.path(0, path).stat().st_size
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read_ranges(link.url, size, readers=50))
        async with asyncio.TaskGroup() as work:
            for number in range(10):
                name, store = f"heavy-{number}", number % 2
                work.create_task(
                    lab.bring_in(name, image, image_id=280 + number, store=store, deadline_s=600)
                )
                work.create_task(upload(lab, 300 + number))
        reading.cancel()
    said = await lab.shell.must(
        f"{_PID}; awk '/VmHWM/ {{print $2}}' /proc/$pid/status; "
        "awk '/^MemAvailable:/ {print $2}' /proc/meminfo; "
        "dmesg | grep -c 'Out of memory'; true"
    )
    peak, available, killed = (int(number) for number in said.split())
    scenario.measured |= {
        "peak RSS MiB": round(peak / 1024, 1),
        "available afterwards MiB": round(available / 1024, 1),
    }
    assert killed == 0
    assert peak <= 128 * 1024
    await all_is_well(lab, scenario, "everything")


async def read_ranges(url: str, size: int, *, readers: int) -> None:
    """Read parts of a file, over and over, until cancelled."""
    rng = random.Random(30)

    async def reader(session: aiohttp.ClientSession) -> None:
        while True:
            start = rng.randrange(size - _RANGE_BYTES)
            headers = {"Range": f"bytes={start}-{start + _RANGE_BYTES - 1}"}
            async with session.get(url, headers=headers) as answer:
                assert answer.status == 206
                assert len(await answer.read()) == _RANGE_BYTES

    # A connection for each part: Apache ends those that wait for a request when its workers are
    # busy, and nobody can tell that from a failure.
    connector = aiohttp.TCPConnector(limit=readers, force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(300)) as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(readers):
            group.create_task(reader(session))


async def upload(lab: World, image_id: int) -> None:
    """Upload a template and have it in the first store."""
    content = lab.images.qcow2().path
    one = Upload.of(lab, image_id)
    assert await one.send(content, 600) == 0
    path = await one.installed()
    assert path is not None
    lab.expect(0, path, content)
