# SPDX-License-Identifier: Apache-2.0
"""The simulator lets agents in as agent-lifecycle.md 2 describes, and refuses as 5.1 does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ssvm_agent.simulator.model import HostStatus, ImageStore
from ssvm_agent.simulator.server import ManagementServer
from ssvm_agent.simulator.zone import Zone
from ssvm_agent.wire.header import Flag
from tests.fakes.agent import API, ENVELOPE, Answers, answer_to, fake_agent
from tests.fixtures.agents import FAST, StartServer

SETUP = [
    "SecStorageSetupCommand",
    "SecStorageFirewallCfgCommand",
    "SecStorageVMSetupCommand",
    "ListVolumeCommand",
    "ListTemplateCommand",
    "ReadyCommand",
    "ReadyCommand",
]


async def test_an_agent_is_set_up_before_it_is_ready(start_server: StartServer) -> None:
    """agent-lifecycle.md 2.5: the order of the setup commands, and two Readies."""
    server: ManagementServer = await start_server(stores=["nfs://10.1.40.2/export/sec"])
    async with fake_agent(server.port, startup={}) as agent:
        await agent.until(lambda: len(agent.requests) == len(SETUP))
        assert agent.names() == SETUP
        host = await server.wait_for_status(HostStatus.UP)
        assert host.name == "s-1-VM"
        _, first, header = agent.requests[5]
        _, second, _ = agent.requests[6]
        assert "msHostList" not in first
        assert second["msHostList"] == ["127.0.0.1"]
        assert first["hostId"] == second["hostId"] == host.id == header.agent_id
        assert header.is_in_sequence
        assert not agent.requests[1][2].is_in_sequence
        assert server.storage_parent() == "directory"
    assert server.violations == []


async def test_agents_are_told_of_the_address_they_reached(start_server: StartServer) -> None:
    server = await start_server(host="0.0.0.0")
    async with fake_agent(server.port, startup={}, address="127.0.0.9") as agent:
        await agent.until(lambda: agent.names().count("ReadyCommand") == 2)
        assert agent.requests[-1][1]["msHostList"] == ["127.0.0.9"]


async def test_the_startup_answer_knows_no_id(start_server: StartServer) -> None:
    """agent-lifecycle.md 2.4: hostId 0 and empty names, at once."""
    server: ManagementServer = await start_server()
    async with fake_agent(server.port, startup={}) as agent:
        await agent.until(lambda: bool(agent.answers))
        fields = agent.answers[0][0][0][API + "StartupAnswer"]
        assert (fields["hostId"], fields["hostUuid"], fields["hostName"]) == (0, "", "")
        assert fields["pingInterval"] == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"dataCenter": "9"}, "incorrect data center"),
        ({"guid": None}, "NullPointerException"),
        ({"arch": "s390x"}, "Unsupported arch"),
        ({"name": None}, "name cannot be null"),
        ({"version": None}, "version cannot be null"),
        ({"privateIpAddress": None}, "privateIpAddress cannot be null"),
    ],
)
async def test_a_wrong_startup_is_refused_with_a_ready(
    start_server: StartServer, change: dict[str, str | None], text: str
) -> None:
    """agent-lifecycle.md 5.1: after the StartupAnswer, with sequence -1, not from-server."""
    server: ManagementServer = await start_server()
    async with fake_agent(server.port, startup=change) as agent:
        await agent.until(lambda: bool(agent.requests))
        name, fields, header = agent.requests[0]
        assert name == "ReadyCommand"
        assert text in fields["_details"]
        assert (header.sequence, header.agent_id, header.management_server_id) == (-1, -1, -1)
        assert header.flags == Flag.REQUEST | Flag.STOP_ON_ERROR | Flag.IN_SEQUENCE
        assert agent.answers[0]
        assert not agent.at_eof
    assert not server.zone.hosts


async def test_a_plain_true_to_a_store_setup_ends_the_link(start_server: StartServer) -> None:
    """agent-lifecycle.md 5.2: the cast error in a connect listener."""
    server: ManagementServer = await start_server(stores=["nfs://10.1.40.2/export/sec"])
    plain = [{API + "Answer": {"result": True, **ENVELOPE}}]
    async with fake_agent(server.port, startup={}, answer=lambda *_: plain) as agent:
        await agent.until(lambda: agent.at_eof)
    assert server.host().status is HostStatus.ALERT
    assert "was answered with Answer" in server.violations[0].text


async def test_a_store_that_cannot_be_set_up_leaves_the_host_up(start_server: StartServer) -> None:
    """agent-lifecycle.md 2.6: result false is noted only."""
    server: ManagementServer = await start_server(stores=["nfs://10.1.40.2/export/sec"])

    def answer(name: str, fields: dict[str, Any]) -> Answers:
        if name == "SecStorageSetupCommand":
            return [{API + "Answer": {"result": False, "details": "no route", **ENVELOPE}}]
        return answer_to(name, fields)

    async with fake_agent(server.port, startup={}, answer=answer):
        await server.wait_for_status(HostStatus.UP)
    assert server.storage_parent() == ""
    assert server.violations == []


async def test_an_unknown_name_gets_no_setup(start_server: StartServer) -> None:
    """agent-lifecycle.md 0.10."""
    zone = Zone(stores=[ImageStore(url="nfs://10.1.40.2/e")], vm_names=frozenset({"s-2-VM"}))
    server: ManagementServer = await start_server(zone=zone)
    async with fake_agent(server.port, startup={}) as agent:
        await server.wait_for_status(HostStatus.UP)
        assert "SecStorageSetupCommand" not in agent.names()


async def test_a_silent_ready_means_alert(start_server: StartServer) -> None:
    """agent-lifecycle.md 2.5 j."""
    server: ManagementServer = await start_server(timing=replace(FAST, ready_wait_s=0.05))

    def answer(name: str, fields: dict[str, Any]) -> Answers | None:
        return None if name == "ReadyCommand" else answer_to(name, fields)

    async with fake_agent(server.port, startup={}, answer=answer) as agent:
        await agent.until(lambda: agent.at_eof)
        await server.wait_for_status(HostStatus.ALERT)


async def test_a_second_connection_of_the_same_guid_replaces_the_first(
    start_server: StartServer,
) -> None:
    """agent-lifecycle.md 3.2."""
    server: ManagementServer = await start_server()
    async with fake_agent(server.port, startup={}) as first:
        host = await server.wait_for_status(HostStatus.UP)
        async with fake_agent(server.port, startup={}) as second:
            await first.until(lambda: first.at_eof)
            await second.until(lambda: "ReadyCommand" in second.names())
            await server.wait_for_status(HostStatus.UP)
            assert list(server.zone.hosts.values()) == [host]


async def test_a_second_startup_is_answered_twice_and_ends_the_link(
    start_server: StartServer,
) -> None:
    """agent-lifecycle.md 2.4 and the note in 5.4."""
    server: ManagementServer = await start_server()
    async with fake_agent(server.port, startup={}) as agent:
        host = await server.wait_for_status(HostStatus.UP)
        sequence = agent.startup()
        await agent.until(lambda: agent.at_eof)
        ids = [one[0][API + "StartupAnswer"]["hostId"] for one in agent.answers[sequence]]
        assert ids == [0, host.id]


async def test_other_agents_are_let_into_the_firewalls(start_server: StartServer) -> None:
    """agent-lifecycle.md 2.5 e and f."""
    server: ManagementServer = await start_server()
    two = {"name": "s-2-VM", "guid": "s-2-VM-NfsSecondaryStorageResource"}
    two |= {"publicIpAddress": "203.0.113.22"}
    async with fake_agent(server.port, startup={}) as first:
        await server.wait_for_status(HostStatus.UP, "s-1-VM")
        async with fake_agent(server.port, startup=two) as second:
            await server.wait_for_status(HostStatus.UP, "s-2-VM")
            _, told, _ = first.requests[-1]
            assert told["isAppendAIp"] is True
            assert told["portConfigs"][0]["sourceIp"] == "203.0.113.22"
            _, own, _ = second.requests[0]
            assert own["isAppendAIp"] is False
            assert own["portConfigs"][0]["sourceIp"] == "203.0.113.21"


async def test_without_other_agents_the_list_of_addresses_is_missing(
    start_server: StartServer,
) -> None:
    """agent-lifecycle.md 2.5: an empty list is not written."""
    server: ManagementServer = await start_server()
    async with fake_agent(server.port, startup={}) as agent:
        await agent.until(lambda: bool(agent.requests))
        assert "portConfigs" not in agent.requests[0][1]


async def test_the_first_message_must_be_a_startup(start_server: StartServer) -> None:
    """agent-lifecycle.md 5.4: dropped with a warning; the link stays."""
    server: ManagementServer = await start_server()
    async with fake_agent(server.port) as agent:
        agent.ping(7)
        await server.wait_until(lambda: bool(server.violations))
        agent.startup()
        await server.wait_for_status(HostStatus.UP)
    assert "not a Startup" in server.violations[0].text
