# SPDX-License-Identifier: Apache-2.0
"""After Up: the in-sequence queue, pings, shutdown, and what a server makes of misbehaviour."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ssvm_agent.simulator import commands
from ssvm_agent.simulator.errors import AgentGoneError, AnswerTimeoutError
from ssvm_agent.simulator.model import HostStatus, ImageStore
from ssvm_agent.simulator.server import ManagementServer
from ssvm_agent.wire.header import Flag, Header
from tests.fakes.agent import API, ENVELOPE, Answers, answer_to, fake_agent
from tests.fixtures.agents import FAST, StartServer

STORE = ImageStore(url="nfs://10.1.40.2/export/sec")


async def test_a_command_gets_its_answer(start_server: StartServer) -> None:
    server: ManagementServer = await start_server()
    async with fake_agent(server.port, startup={}):
        await server.wait_for_status(HostStatus.UP)
        answer = await server.ask(commands.check_health())
        assert answer.result
    assert server.violations == []


async def test_in_sequence_commands_go_out_one_at_a_time(start_server: StartServer) -> None:
    """agent-lifecycle.md 2.5, sequencing."""
    server: ManagementServer = await start_server(timing=replace(FAST, command_wait_s=0.2))

    def answer(name: str, fields: dict[str, Any]) -> Answers | None:
        return None if name == "ListVolumeCommand" else answer_to(name, fields)

    async with fake_agent(server.port, startup={}, answer=answer) as agent:
        await server.wait_for_status(HostStatus.UP)
        with pytest.raises(AnswerTimeoutError):
            await server.ask(commands.list_volume(STORE))
        assert "ListTemplateCommand" not in agent.names()
        # Given up, the first one no longer holds back the next.
        assert (await server.ask(commands.list_template(STORE))).result


async def test_an_answer_without_the_in_sequence_flag_stops_the_queue(
    start_server: StartServer,
) -> None:
    """agent-lifecycle.md 5.3: the waiter is served, the queue never advances."""
    server: ManagementServer = await start_server()

    def forget(header: Header) -> Header:
        forgotten = header.flags & ~int(Flag.IN_SEQUENCE) if agent.host_id > 0 else header.flags
        return replace(header, flags=forgotten)

    async with fake_agent(server.port, mangle=forget) as agent:
        agent.startup()
        # Ready #1 is answered without the flag, so Ready #2 never leaves.
        await server.wait_for_status(HostStatus.UP)
        with pytest.raises(AnswerTimeoutError):
            await server.send(commands.list_template(STORE), wait_s=0.05)
        assert agent.names().count("ReadyCommand") == 1
    assert any("in-sequence flag is missing" in one.text for one in server.violations)


@pytest.mark.parametrize(
    "change",
    [{"agent_id": 77}, {"management_server_id": 4}, {"flags": 0x22}, {"sequence": 5}],
)
async def test_a_misrouted_answer_is_lost(
    start_server: StartServer, change: dict[str, int]
) -> None:
    """agent-lifecycle.md 5.3: matched by header, not by link."""
    server: ManagementServer = await start_server()
    async with fake_agent(server.port, startup={}) as agent:
        await server.wait_for_status(HostStatus.UP)
        await agent.until(lambda: agent.names().count("ReadyCommand") == 2)
        agent.mangle = lambda header: replace(header, **change)
        with pytest.raises(AnswerTimeoutError):
            await server.send(commands.check_health(), wait_s=0.05)
    assert server.violations


async def test_an_answer_with_the_request_flag_is_taken_for_a_command(
    start_server: StartServer,
) -> None:
    """agent-lifecycle.md 5.3."""
    server: ManagementServer = await start_server()
    async with fake_agent(server.port, startup={}) as agent:
        await server.wait_for_status(HostStatus.UP)
        await agent.until(lambda: agent.names().count("ReadyCommand") == 2)
        agent.request(API + "CheckHealthAnswer", {"result": True, **ENVELOPE}, 0)
        await server.wait_until(lambda: bool(server.violations))
    assert "with the request flag" in server.violations[0].text


async def test_a_ping_is_answered_and_says_when_to_start_again(start_server: StartServer) -> None:
    """agent-lifecycle.md 2.7."""
    server: ManagementServer = await start_server()
    async with fake_agent(server.port, startup={}) as agent:
        host = await server.wait_for_status(HostStatus.UP)
        sequence = agent.ping()
        await agent.until(lambda: sequence in agent.answers)
        fields = agent.answers[sequence][0][0][API + "PingAnswer"]
        assert fields["sendStartup"] is False
        assert fields["_command"]["hostType"] == "Storage"
        host.become(HostStatus.ALERT)
        sequence = agent.ping()
        await agent.until(lambda: sequence in agent.answers)
        assert agent.answers[sequence][0][0][API + "PingAnswer"]["sendStartup"] is True
        sequence = agent.ping(host_id=0)
        await agent.until(lambda: sequence in agent.answers)
        assert agent.answers[sequence][0][0][API + "PingAnswer"]["sendStartup"] is False
    assert server.violations == []


async def test_an_agent_without_pings_is_disconnected(start_server: StartServer) -> None:
    """agent-lifecycle.md 3.2."""
    server: ManagementServer = await start_server(timing=replace(FAST, ping_timeout_s=0.2))
    async with fake_agent(server.port, startup={}) as agent:
        await agent.until(lambda: agent.at_eof)
    assert server.host().status is HostStatus.DISCONNECTED


async def test_a_lost_link_means_alert(start_server: StartServer) -> None:
    """agent-lifecycle.md 3.2."""
    server: ManagementServer = await start_server()
    async with fake_agent(server.port, startup={}):
        await server.wait_for_status(HostStatus.UP)
    await server.wait_for_status(HostStatus.ALERT)


async def test_a_shutdown_notice_means_disconnected_without_an_answer(
    start_server: StartServer,
) -> None:
    """agent-lifecycle.md 0.17 and 3.2."""
    server: ManagementServer = await start_server()
    async with fake_agent(server.port, startup={}) as agent:
        await server.wait_for_status(HostStatus.UP)
        flags = int(Flag.STOP_ON_ERROR | Flag.IN_SEQUENCE)
        fields = {"reason": "sig.kill", "removeHost": False, **ENVELOPE}
        sequence = agent.request(API + "ShutdownCommand", fields, flags)
        await server.wait_for_status(HostStatus.DISCONNECTED)
        assert sequence not in agent.answers


@pytest.mark.parametrize("reason", ["update", None])
async def test_other_shutdowns_are_answered_false(
    start_server: StartServer, reason: str | None
) -> None:
    """agent-lifecycle.md 5.4."""
    server: ManagementServer = await start_server()
    async with fake_agent(server.port, startup={}) as agent:
        await server.wait_for_status(HostStatus.UP)
        fields = {"reason": reason, **ENVELOPE}
        sequence = agent.request(API + "ShutdownCommand", fields, int(Flag.STOP_ON_ERROR))
        await agent.until(lambda: sequence in agent.answers)
        assert agent.answers[sequence][0][0][API + "Answer"]["result"] is False


async def test_waiters_hear_of_a_lost_link(start_server: StartServer) -> None:
    server: ManagementServer = await start_server()

    def answer(name: str, fields: dict[str, Any]) -> Answers | None:
        if name == "CheckHealthCommand":
            server.session().link.abort()
        return answer_to(name, fields)

    async with fake_agent(server.port, startup={}, answer=answer):
        await server.wait_for_status(HostStatus.UP)
        with pytest.raises(AgentGoneError):
            await server.ask(commands.check_health())


async def test_faults_can_be_switched_on(start_server: StartServer) -> None:
    server: ManagementServer = await start_server()
    server.faults.close_at_accept = True
    with pytest.raises((ConnectionError, OSError)):
        async with fake_agent(server.port):
            pass
    server.faults.close_at_accept = False
    server.faults.refuse_with = "not today"
    async with fake_agent(server.port, startup={}) as agent:
        await agent.until(lambda: bool(agent.requests))
        assert agent.requests[0][1]["_details"] == "not today"


async def test_a_frozen_link_goes_on_when_thawed(start_server: StartServer) -> None:
    server: ManagementServer = await start_server()
    async with fake_agent(server.port, startup={}) as agent:
        await server.wait_for_status(HostStatus.UP)
        await agent.until(lambda: agent.names().count("ReadyCommand") == 2)
        link = server.session().link
        link.freeze()
        with pytest.raises(AnswerTimeoutError):
            await server.send(commands.check_health(), wait_s=0.02)
        link.thaw()
        assert (await server.ask(commands.check_health())).result
