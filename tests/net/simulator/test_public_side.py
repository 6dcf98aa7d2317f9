# SPDX-License-Identifier: Apache-2.0
"""Uploads and links: what the server asks an agent, and what it tells users."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ssvm_agent.simulator.errors import LinkRefusedError, UploadFailedError
from ssvm_agent.simulator.public_side import PublicSide
from ssvm_agent.simulator.server import ManagementServer
from tests.fakes.agent import API, ENVELOPE, Answers, answer_to, fake_agent
from tests.fixtures.agents import StartServer
from tests.net.simulator.test_downloads import STORES

STATUS_ANSWER = "org.apache.cloudstack.storage.command.UploadStatusAnswer"


class Agent:
    """Answers these commands from a script, everything else well."""

    def __init__(self, *script: dict[str, Any]) -> None:
        self.script: Iterator[dict[str, Any]] = iter(script)
        self.asked: list[dict[str, Any]] = []

    def __call__(self, name: str, fields: dict[str, Any]) -> Answers | None:
        classes = {
            "UploadStatusCommand": STATUS_ANSWER,
            "CreateEntityDownloadURLCommand": API + "storage.CreateEntityDownloadURLAnswer",
            "DeleteEntityDownloadURLCommand": API + "Answer",
        }
        if name not in classes:
            return answer_to(name, fields)
        self.asked.append(fields)
        return [{classes[name]: {"result": True, **next(self.script), **ENVELOPE}}]


@asynccontextmanager
async def running(start_server: StartServer, agent: Agent) -> AsyncIterator[ManagementServer]:
    server = await start_server(stores=STORES)
    async with fake_agent(server.port, startup={}, answer=agent):
        await server.wait_for_status()
        yield server
    assert server.violations == []


async def test_an_upload_is_asked_about_until_it_is_complete(start_server: StartServer) -> None:
    """storage-commands.md 5.6."""
    done = {"status": "COMPLETED", "installPath": "volumes/2/200/x.qcow2", "physicalSize": 5}
    agent = Agent({"status": "UNKNOWN"}, {"status": "IN_PROGRESS", "downloadPercent": 40}, done)
    async with running(start_server, agent) as server:
        side = PublicSide(server)
        order, ticket = side.order_upload(name="v", store=server.zone.stores[0], kind="VOLUME")
        assert ticket.post_url == f"https://203.0.113.21/upload/{order.uuid}"
        fields = await side.upload_result(order.uuid)
    assert fields["installPath"] == "volumes/2/200/x.qcow2"
    assert [one["entityUuid"] for one in agent.asked] == [order.uuid] * 3
    assert {one["entityType"] for one in agent.asked} == {"Volume"}


async def test_a_failed_upload_raises_the_agents_text(start_server: StartServer) -> None:
    agent = Agent({"status": "ERROR", "result": False, "details": "file receive failed"})
    async with running(start_server, agent) as server:
        side = PublicSide(server)
        order, _ = side.order_upload(name="t", store=server.zone.stores[0])
        with pytest.raises(UploadFailedError, match="file receive failed"):
            await side.upload_result(order.uuid)
        with pytest.raises(UploadFailedError, match="No upload other"):
            await side.upload_status("other")


async def test_a_link_lives_until_it_is_deleted(start_server: StartServer) -> None:
    """storage-commands.md 3.7, 3.8."""
    agent = Agent({"details": ""}, {"details": ""})
    async with running(start_server, agent) as server:
        side = PublicSide(server)
        link = await side.create_link(
            name="tiny", path="template/tmpl/2/200/x.iso", store=server.zone.stores[0], kind="ISO"
        )
        assert link.url == f"http://203.0.113.21/userdata/{link.directory}/tiny.iso"
        await side.delete_link(link.url)
        with pytest.raises(LinkRefusedError, match="There is no link"):
            await side.delete_link(link.url)
    create, delete = agent.asked
    assert create["parent"] == delete["parentPath"] == "directory"
    assert delete["extractUrl"] == link.url


async def test_a_refused_link_can_be_tried_again(start_server: StartServer) -> None:
    no = {"result": False, "details": "Error in finding the file"}
    agent = Agent(no, {}, no, {})
    async with running(start_server, agent) as server:
        side = PublicSide(server)
        wanted: dict[str, Any] = {"name": "n", "path": "volumes/2/1/x", "kind": "VOLUME"}
        with pytest.raises(LinkRefusedError, match="Error in finding the file"):
            await side.create_link(**wanted, store=server.zone.stores[0])
        link = await side.create_link(**wanted, store=server.zone.stores[0])
        with pytest.raises(LinkRefusedError):
            await side.delete_link(link.url)
        await side.delete_link(link.url)
