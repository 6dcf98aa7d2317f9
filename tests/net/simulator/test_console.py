# SPDX-License-Identifier: Apache-2.0
"""``ssvm-sim serve``: orders in, results and events out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.simulator.console import Console
from ssvm_agent.simulator.form_page import open_form_site
from ssvm_agent.simulator.script import Script
from ssvm_agent.simulator.server import ManagementServer
from tests.fakes.agent import API, fake_agent
from tests.fixtures.agents import StartServer
from tests.net.simulator.test_downloads import STORES, Downloader, download_answer
from tests.net.simulator.test_public_side import Agent

PAGE = Path(__file__).parents[3] / "docs/simulator.md"


async def carry_out(
    server: ManagementServer, *orders: dict[str, Any], **options: Any
) -> list[dict[str, Any]]:
    """Give orders and return every line that came out."""
    lines: list[dict[str, Any]] = []
    waiting = [json.dumps(order) + "\n" for order in orders]

    async def read_line() -> str:
        return waiting.pop(0) if waiting else ""

    def write(line: str) -> None:
        lines.append(json.loads(line))

    await Console(server, write, **options).serve(read_line)
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


async def test_uploads_and_links_are_ordered_in_lines(start_server: StartServer) -> None:
    server: ManagementServer = await start_server(stores=STORES)
    complete = {"status": "COMPLETED", "installPath": "template/tmpl/2/200/x"}
    agent = Agent({"status": "IN_PROGRESS"}, complete, complete, {}, {"details": ""})
    script = Script({})
    orders: list[dict[str, Any]] = [
        {"do": "upload", "id": "up", "name": "t", "max_size_gib": 3, "at": "http://127.0.0.1:81"},
        {"do": "upload-status", "uuid": "${up.uuid}", "expect": {"status": "IN_PROGRESS"}},
        {"do": "upload-status", "id": "done", "uuid": "${up.uuid}", "wait": True},
        {"do": "upload-status", "uuid": "${up.uuid}", "abort": True},
        {"do": "link", "id": "link", "name": "t", "path": "${done.installPath}"},
        {"do": "unlink", "url": "${link.url}", "expect": {"result": True}},
    ]
    async with fake_agent(server.port, startup={}, answer=agent), open_form_site() as forms:
        await server.wait_for_status()
        lines = results(await carry_out(server, *orders, script=script, forms=forms))
    assert script.surprises == []
    assert [one.get("abort") for one in agent.asked[:3]] == [None, None, True]
    upload, _, done, _, link, _ = lines
    assert upload["postURL"] == f"http://127.0.0.1:81/upload/{upload['uuid']}"
    assert (upload["image"], upload["directory"]) == (200, "template/tmpl/2/200")
    assert upload["page"] == f"{forms.base}/{upload['uuid']}"
    assert upload["signature"] in upload["curl"]
    assert upload["metadata"] in upload["curl"]
    assert done["upload"]["installPath"] == "template/tmpl/2/200/x"
    assert link["url"].startswith("http://203.0.113.21/userdata/")


@pytest.mark.parametrize(
    ("order", "text"),
    [
        ({"do": "upload"}, '"name"'),
        ({"do": "upload", "name": "t", "kind": "SNAPSHOT"}, "TEMPLATE, VOLUME"),
        ({"do": "upload", "name": "t", "encryption": "V3"}, "V1"),
        ({"do": "upload", "name": "t", "at": "127.0.0.1"}, "scheme"),
        ({"do": "upload", "name": "t", "at": "http://h:port"}, "scheme"),
        ({"do": "upload", "name": "t", "at": "http://h:99999"}, "0-65535"),
        ({"do": "upload", "name": "t", "at": "http://h", "life_s": 1e20}, "too large"),
        ({"do": "upload", "name": "t", "at": "http://h", "extra": "x"}, "mapping"),
        ({"do": "upload", "name": "t", "colour": "red"}, "colour"),
        ({"do": "upload", "name": "t", "store": 7}, "1 stores"),
        ({"do": "upload", "name": "t"}, "No host is known"),
        ({"do": "upload-status", "uuid": "u"}, "No upload u"),
        ({"do": "link", "name": "t"}, '"path"'),
        ({"do": "link", "name": "t", "path": "p", "kind": "BACKUP"}, "SNAPSHOT"),
        ({"do": "link", "name": "t", "path": "p", "colour": "red"}, "colour"),
        ({"do": "unlink", "url": "http://h/userdata/x"}, "There is no link"),
    ],
)
async def test_orders_about_the_public_side_are_explained(
    start_server: StartServer, order: dict[str, Any], text: str
) -> None:
    (result,) = results(await carry_out(await start_server(stores=STORES), order))
    assert text in result["error"]


async def test_every_order_is_on_the_page(start_server: StartServer) -> None:
    (result,) = results(await carry_out(await start_server(), {"do": "dance"}))
    known = result["error"].rpartition(": ")[2].rstrip(".").split(", ")
    assert "upload" in known
    assert [name for name in known if f'"do": "{name}"' not in PAGE.read_text()] == []


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


def test_the_program_serves_a_page_for_an_upload() -> None:
    order = {"do": "upload", "name": "tiny", "at": "http://127.0.0.1:81"}
    options = ["--port", "0", "--store", STORES[0], "--form", "127.0.0.1:0"]
    done = subprocess.run(
        [sys.executable, "-m", "ssvm_agent.simulator.cli", "serve", *options],
        input=json.dumps(order) + "\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    upload = json.loads(done.stdout.splitlines()[-1])
    assert upload["page"].startswith("http://127.0.0.1:")
    assert upload["page"].endswith(upload["uuid"])
