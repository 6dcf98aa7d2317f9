# SPDX-License-Identifier: Apache-2.0
"""The scenarios of docs/commands, carried out by ``ssvm-sim`` against a real agent."""

from __future__ import annotations

import asyncio
import functools
import http.server
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.handlers.base import REGISTRY
from ssvm_agent.handlers.catalogue import load
from ssvm_agent.messages.catalogue import CATALOGUE, Direction, Priority
from tests.fixtures import hostile_images as make
from tests.fixtures.agents import agent_process

pytestmark = pytest.mark.timeout(120)

SCENARIOS = sorted((Path(__file__).parents[3] / "docs/commands").glob("*.jsonl"))
OVF = make.ovf(files=[("f1", "boot.vmdk")], disks=[("d1", "f1", "10")])
OVA = make.tar_archive(make.tar_member("vm.ovf", OVF), make.tar_member("boot.vmdk", make.vmdk()))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A web server with a small image and a small archive."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "small.qcow2").write_bytes(make.qcow2())
    (folder / "vm.ova").write_bytes(OVA)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
async def test_scenario_goes_as_written(scenario: Path, site: str, tmp_path: Path) -> None:
    stores = [tmp_path / "store", tmp_path / "other"]
    for store in stores:
        store.mkdir()
    simulator = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ssvm_agent.simulator.cli", "serve", "--port", "0", "--time", "0.1",
        *(word for store in stores for word in ("--store", f"file://{store}")),
        "--define", f"image={site}/small.qcow2", "--define", f"archive={site}/vm.ova",
        "--script", scenario,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert simulator.stdout is not None
        port = json.loads(await simulator.stdout.readline())["port"]
        async with agent_process(tmp_path / "agent", port) as agent, asyncio.timeout(90):
            out, _ = await simulator.communicate()
            lines = [json.loads(line) for line in out.splitlines()]
            wrong = [line for line in lines if "surprises" in line or line.get("rule")]
            assert wrong == [], agent.log[-2000:]
            assert await simulator.wait() == 0
    finally:
        if simulator.returncode is None:
            simulator.kill()
            await simulator.wait()
    results = [line for line in lines if "event" not in line]
    assert len(results) == len(orders_of(scenario))


def orders_of(scenario: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in scenario.read_text().splitlines()]


def commands_in(scenario: Path) -> set[str]:
    """Simple names of what a scenario sends."""
    return {order["command"] for order in orders_of(scenario) if "command" in order}


def test_every_command_is_in_a_scenario() -> None:
    load()
    driven = set().union(*map(commands_in, SCENARIOS))
    carried_out = {entry.command.__name__ for entry in REGISTRY.entries()}
    needed = {
        row.command.__name__
        for row in CATALOGUE
        if row.direction is not Direction.FROM_AGENT and row.priority is not Priority.RARE
    }
    assert (carried_out | needed) - driven == set()


def test_every_page_of_commands_has_a_scenario() -> None:
    folder = SCENARIOS[0].parent
    pages = {page.stem for page in folder.glob("*.md")} - {"README"}
    assert {scenario.stem for scenario in SCENARIOS} == pages
