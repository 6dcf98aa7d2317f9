# SPDX-License-Identifier: Apache-2.0
"""SIGTERM in each state of the link (agent-lifecycle.md 2.8, 3.6; requirements R39)."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssvm_agent.simulator.model import HostStatus
from ssvm_agent.simulator.server import ManagementServer
from tests.fakes.machine import until
from tests.fixtures.agents import LIVELY, AgentProcess, RunAgent, StartServer


@pytest.fixture(name="server")
async def _server(start_server: StartServer, tmp_path: Path) -> ManagementServer:
    (tmp_path / "store").mkdir()
    return await start_server(stores=[f"file://{tmp_path}/store"], timing=LIVELY)


async def _stops_cleanly(agent: AgentProcess) -> None:
    assert await agent.stop() == 143
    assert "Traceback" not in agent.log
    assert "stopped without waiting" not in agent.log


async def test_in_the_handshake(server: ManagementServer, run_agent: RunAgent) -> None:
    server.faults.stall_handshake = True
    agent = await run_agent(server)
    await server.wait_until(lambda: server.connections_accepted == 1)
    await _stops_cleanly(agent)


async def test_between_startup_and_its_answer(
    server: ManagementServer, run_agent: RunAgent
) -> None:
    server.faults.ignore_startup = True
    agent = await run_agent(server)
    await server.wait_until(lambda: server.connections_accepted == 1)
    await _stops_cleanly(agent)


async def test_while_being_set_up(server: ManagementServer, run_agent: RunAgent) -> None:
    agent = await run_agent(server)
    await server.wait_until(lambda: bool(server.zone.hosts))
    await _stops_cleanly(agent)
    assert server.violations == []


async def test_when_up(server: ManagementServer, run_agent: RunAgent) -> None:
    agent = await run_agent(server)
    await server.wait_for_status(HostStatus.UP)
    await _stops_cleanly(agent)
    assert server.host().status is HostStatus.DISCONNECTED
    assert server.violations == []


async def test_in_the_pause_after_a_refusal(server: ManagementServer, run_agent: RunAgent) -> None:
    server.faults.refuse_with = "java.lang.IllegalArgumentException: incorrect data center"
    agent = await run_agent(server, link={"backoff_initial_s": 20, "backoff_max_s": 20})
    await until(lambda: "incorrect data center" in agent.log)
    await _stops_cleanly(agent)
