# SPDX-License-Identifier: Apache-2.0
"""``ssvm-sim serve``: orders in, results and events out."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from ssvm_agent.simulator.console import Console
from ssvm_agent.simulator.server import ManagementServer
from tests.fakes.agent import API, fake_agent
from tests.fixtures.agents import StartServer
from tests.net.simulator.test_downloads import STORES, Downloader, download_answer


async def carry_out(server: ManagementServer, *orders: dict[str, Any]) -> list[dict[str, Any]]:
    """Give orders and return every line that came out."""
    lines: list[dict[str, Any]] = []
    waiting = [json.dumps(order) + "\n" for order in orders]

    async def read_line() -> str:
        return waiting.pop(0) if waiting else ""

    await Console(server, lambda line: lines.append(json.loads(line))).serve(read_line)
    return lines


def results(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if "event" not in line]


async def test_commands_reach_the_agent_by_simple_name(start_server: StartServer) -> None:
    server: ManagementServer = await start_server()
    async with fake_agent(server.port, startup={}):
        await server.wait_for_status()
        lines = await carry_out(server, {"id": 7, "command": "CheckHealthCommand"})
    (result,) = results(lines)
    assert result["id"] == 7
    assert result["answers"][0][API + "CheckHealthAnswer"]["result"] is True


async def test_what_happens_comes_out_as_events(start_server: StartServer) -> None:
    server: ManagementServer = await start_server(stores=STORES)
    downloader = Downloader(download_answer("DOWNLOADED", "j"), download_answer("DOWNLOADED", "j"))
    async with fake_agent(server.port, startup={}, answer=downloader):
        lines = await carry_out(
            server,
            {"do": "wait"},
            {"do": "register", "name": "tiny", "url": "http://x/t", "image_id": 9, "wait": True},
        )
    events = [(line["event"], line.get("status")) for line in lines if "event" in line]
    assert ("listening", None) in events
    assert ("host", "Up") in events
    assert ("download", "DOWNLOADED") in events
    assert {"name": "s-1-VM", "status": "Up"} in lines


async def test_orders_that_make_no_sense_are_explained(start_server: StartServer) -> None:
    server: ManagementServer = await start_server()
    lines = await carry_out(
        server,
        {"do": "dance"},
        {"do": "register", "nonsense": 1},
        {"do": "list"},
        {"do": "faults", "gravity": True},
        {"command": "CheckHealthCommand"},
    )
    errors = [line["error"] for line in results(lines)]
    assert len(errors) == 5
    assert any("No agent is connected" in error for error in errors)
    assert any("No fault is called gravity" in error for error in errors)


def test_the_program_serves_until_its_input_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ssvm_agent.simulator.cli", "serve", "--port", "0"],
        input='{"do": "hosts"}\n',
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    listening, hosts = (json.loads(line) for line in done.stdout.splitlines())
    assert listening["event"] == "listening"
    assert hosts == {"hosts": []}
