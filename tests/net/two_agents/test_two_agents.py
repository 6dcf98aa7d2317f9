# SPDX-License-Identifier: Apache-2.0
"""Several SSVMs on one store: two real agents, hundreds of random orders, kills in between.

Nobody sees the other's half-finished work as finished, nobody sweeps the other's temporaries,
nobody deletes what the other is writing; the tree and every answer are those of the model.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from ssvm_agent.storage.layout import temporary_name
from tests.fakes.machine import until
from tests.fixtures.agents import LIVELY, RunAgent, StartServer
from tests.fixtures.nginx import ServeDirectory
from tests.net.two_agents.model import TEMPLATE, VOLUME, Blob, Item, Model, Status
from tests.net.two_agents.zone import NAMES, Sites, Zone

pytestmark = [pytest.mark.needs("nginx"), pytest.mark.timeout(240)]

ORDERS = 320
WORKERS = 6
KILLS = 5
SLOW_BYTES_PER_S = 96 << 10
DAY_S = 86400


@dataclass(frozen=True, slots=True)
class Blobs:
    """Images to fetch: at once, within two seconds, and never within the time of the test."""

    quick: list[Blob]
    slow: list[Blob]
    endless: Blob

    @classmethod
    def make(cls, rng: random.Random, root: Path) -> Self:
        """Write them into the folder of the site."""
        quick = [Blob.random(rng, f"quick-{n}", rng.randrange(2_000, 300_000)) for n in range(12)]
        slow = [Blob.random(rng, f"slow-{n}", 2 * SLOW_BYTES_PER_S + n) for n in range(3)]
        endless = Blob.random(rng, "endless", 60 * SLOW_BYTES_PER_S)
        for blob in (*quick, *slow, endless):
            (root / blob.name).write_bytes(blob.plain)
        return cls(quick, slow, endless)


def plant(model: Model) -> None:
    """What agents must leave alone, and what the first of them must sweep."""
    long_ago = time.time() - 3 * DAY_S
    for store, root in enumerate(model.roots):
        foreign = f"volumes/2/9/{temporary_name('s-3-VM', 'gone')}"
        own = f"volumes/2/9/{temporary_name(NAMES[0], 'gone')}"
        for path in (foreign, own, "volumes/2/8/of-a-host.qcow2"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(b"x" * 100)
            os.utime(root / path, (long_ago, long_ago))
            if path != own:
                model.others[store][path] = b"x" * 100


async def work(zone: Zone, items: list[Item], blobs: Blobs) -> None:
    """Orders about some items, one after the other."""
    rng = zone.rng
    for _ in range(ORDERS // WORKERS):
        item, blob, store = rng.choice(items), rng.choice(blobs.quick), rng.randrange(2)
        home = item.home()
        if home is None:
            order = rng.choices(["quick", "slow", "vain", "abort", "snapshot"], [9, 2, 3, 1, 3])[0]
            if order == "snapshot" and item.kind == TEMPLATE:
                await zone.template_of_snapshot(item, store, blob)
            elif order == "slow":
                await zone.download(item, store, rng.choice(blobs.slow), slow=True)
            elif order == "vain":
                await zone.download_in_vain(item, store, blob)
            elif order == "abort":
                await zone.download_and_abort(item, store, blobs.endless)
            else:
                await zone.download(item, store, blob)
        else:
            order = rng.choices(["delete", "migrate", "checksum", "move"], [4, 4, 1, 3])[0]
            if order == "migrate":
                await zone.migrate(item, home)
            elif order == "checksum":
                await zone.checksum(item, home)
            elif order == "move" and item.kind == VOLUME:
                await zone.move(item, home)
            else:
                await zone.delete(item, home)


async def keep_listing(zone: Zone, agent: str) -> None:
    """One agent's lists, all the time."""
    while not zone.resting:
        for store in (0, 1):
            for kind in (TEMPLATE, VOLUME):
                await zone.list_all(agent, store, kind)


async def kill_now_and_then(zone: Zone) -> None:
    """Kill an agent when another share of the orders is done; the store is as it was left."""
    orders = ("lists", "refused deletions")
    for number in range(1, KILLS + 1):
        wanted = number * ORDERS // (KILLS + 2)
        await until(
            lambda wanted=wanted: (  # type: ignore[misc]
                sum(n for what, n in zone.done.items() if what not in orders) >= wanted
            ),
            deadline_s=120,
        )
        name = zone.any_agent()
        await zone.end(name, signal.SIGKILL)
        for root in zone.model.roots:
            # What a copy of a large image would have left; small ones are too quick for that.
            (root / "volumes/2/9" / temporary_name(name, f"copy-{number}-0")).touch()
        await zone.start(name)


@pytest.mark.parametrize("seed", [20261123])
async def test_two_agents_share_two_stores(
    start_server: StartServer,
    run_agent: RunAgent,
    serve_directory: ServeDirectory,
    tmp_path: Path,
    seed: int,
) -> None:
    rng = random.Random(seed)
    site = tmp_path / "site"
    site.mkdir()
    blobs = Blobs.make(rng, site)
    roots = (tmp_path / "store-0", tmp_path / "store-1")
    items = [
        Item(kind=rng.choice([TEMPLATE, VOLUME]), id=200 + number, account=2)
        for number in range(4 * WORKERS)
    ]
    model = Model(roots, items)
    plant(model)
    sites = Sites(
        fast=serve_directory(site).base_url,
        slow=serve_directory(site, bytes_per_second=SLOW_BYTES_PER_S).base_url,
    )
    server = await start_server(stores=[f"file://{root}" for root in roots], timing=LIVELY)
    zone = Zone(server, run_agent, tmp_path, model, sites, rng)
    for name in NAMES:
        await zone.start(name)
    async with asyncio.TaskGroup() as watching:
        for name in NAMES:
            watching.create_task(keep_listing(zone, name))
        async with asyncio.TaskGroup() as working:
            working.create_task(kill_now_and_then(zone))
            for number in range(WORKERS):
                working.create_task(work(zone, items[number::WORKERS], blobs))
        zone.resting = True
    await at_rest(zone)
    print(f"\n{zone.done} {sum(zone.kills.values())} ends")


async def at_rest(zone: Zone) -> None:
    """A last clean start of both sweeps what kills left; then everything is as the model says."""
    for name in NAMES:
        await zone.end(name, signal.SIGTERM)
        await zone.start(name)
    model = zone.model

    def leftovers() -> list[str]:
        found = [path for store in (0, 1) for path in model.files(store) if "dnld." in path]
        return [path for path in found if "s-3-VM" not in path]

    await until(lambda: not leftovers())
    model.check_everything()
    for name in NAMES:
        for store in (0, 1):
            for kind in (TEMPLATE, VOLUME):
                await zone.list_all(name, store, kind)
    assert all(s.status in (Status.ABSENT, Status.PRESENT) for i in model.items for s in i.stands)
    assert zone.done["refused deletions"]
    assert zone.server.violations == []
