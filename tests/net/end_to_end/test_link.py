# SPDX-License-Identifier: Apache-2.0
"""The agent as a process, and what a management server sees of it over the life of a link."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.simulator import commands
from ssvm_agent.simulator.authority import CertificateAuthority
from ssvm_agent.simulator.errors import AnswerTimeoutError
from ssvm_agent.simulator.model import HostStatus, Message
from ssvm_agent.simulator.server import ClientCertificates, ManagementServer
from ssvm_agent.simulator.zone import Zone
from tests.fixtures.agents import LIVELY, RunAgent, StartServer
from tests.fixtures.certificates import write_agent_certificates


@pytest.fixture
async def server(start_server: StartServer, store: Path) -> ManagementServer:
    return await start_server(stores=[f"file://{store}"], timing=LIVELY)


async def up(server: ManagementServer) -> None:
    await server.wait_for_status(HostStatus.UP)


async def up_again(server: ManagementServer, connections: int) -> None:
    """Wait until the agent is Up on a later connection than the given count."""
    host = server.host()
    await server.wait_until(
        lambda: server.connections_accepted > connections and host.status is HostStatus.UP
    )


async def test_the_agent_goes_up_and_is_set_up(
    server: ManagementServer, run_agent: RunAgent
) -> None:
    agent = await run_agent(server)
    host = await server.wait_for_status(HostStatus.UP)
    assert host.guid == "s-1-VM-NfsSecondaryStorageResource"
    assert host.startup["privateIpAddress"] == "10.1.34.20"
    assert host.startup["storageIpAddress"] == "10.1.34.20"
    assert host.startup["publicIpAddress"] == "203.0.113.21"
    assert server.storage_parent()
    assert (await server.ask(commands.check_health())).result
    await server.wait_until(lambda: server.session().pings_answered >= 2)
    assert await agent.stop() == 143
    assert server.violations == []


async def test_a_clean_stop_is_announced(server: ManagementServer, run_agent: RunAgent) -> None:
    """agent-lifecycle.md 0.17: Disconnected silently, not Alert."""
    agent = await run_agent(server)
    await up(server)
    await agent.stop()
    assert server.host().history[-1] is HostStatus.DISCONNECTED
    assert HostStatus.ALERT not in server.host().history
    assert server.violations == []


@pytest.mark.parametrize(
    ("how", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
async def test_it_stops_by_signal_while_it_cannot_connect(
    server: ManagementServer, run_agent: RunAgent, how: signal.Signals, code: int
) -> None:
    """agent-lifecycle.md 3.6."""
    server.faults.close_at_accept = True
    agent = await run_agent(server)
    await server.wait_until(lambda: server.connections_accepted >= 2)
    assert await agent.stop(how) == code


async def test_it_is_known_again_after_a_restart(
    server: ManagementServer, run_agent: RunAgent
) -> None:
    """agent-lifecycle.md 2.3: the persisted id is told at the next start."""
    first = await run_agent(server)
    await up(server)
    # The second Ready is answered behind the first: what the first brought is stored by then.
    await server.ask(commands.check_health())
    await first.stop()
    second = await run_agent(server, first.folder)
    await up_again(server, 1)
    assert list(server.zone.hosts) == [1]
    assert server.host().startup["id"] == 1
    await second.stop()
    properties = (first.folder / "conf" / "agent.properties").read_text()
    assert "NfsSecondaryStorageResource.id=1" in properties
    assert server.violations == []


async def test_it_comes_back_when_the_link_breaks(
    server: ManagementServer, run_agent: RunAgent
) -> None:
    await run_agent(server)
    for count in range(1, 4):
        await up(server)
        server.session().link.abort()
        await up_again(server, count)
    assert server.violations == []


async def test_it_leaves_a_half_open_link(server: ManagementServer, run_agent: RunAgent) -> None:
    """agent-lifecycle.md 6: pings without answers mean a dead server."""
    await run_agent(server, link={"ping_missing_limit": 2})
    await up(server)
    server.session().link.freeze()
    await server.wait_until(lambda: server.connections_accepted == 2, 30)
    await up(server)
    assert server.violations == []


async def test_it_keeps_trying_when_it_is_refused(
    server: ManagementServer, run_agent: RunAgent
) -> None:
    """agent-lifecycle.md 3.6: stay alive, back off, reconnect."""
    server.faults.refuse_with = "java.lang.IllegalArgumentException: incorrect data center"
    agent = await run_agent(server)
    await server.wait_until(lambda: server.connections_accepted >= 2)
    server.faults.refuse_with = None
    await up(server)
    assert "incorrect data center" in agent.log


async def test_it_gives_up_a_stalled_handshake(
    server: ManagementServer, run_agent: RunAgent
) -> None:
    server.faults.stall_handshake = True
    await run_agent(server, link={"handshake_timeout_s": 0.3})
    await server.wait_until(lambda: server.connections_accepted >= 2)
    server.faults.stall_handshake = False
    await up(server)


async def test_it_gives_up_a_startup_without_answer(
    server: ManagementServer, run_agent: RunAgent
) -> None:
    server.faults.ignore_startup = True
    await run_agent(server, link={"startup_timeout_s": 0.3})
    await server.wait_until(lambda: server.connections_accepted >= 2)
    server.faults.ignore_startup = False
    await up(server)


@pytest.mark.parametrize(
    "junk", [b"\x00\x00\xff\xff", b"GET / HTTP/1.1\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x28"]
)
async def test_junk_on_the_socket_ends_the_link_only(
    server: ManagementServer, run_agent: RunAgent, junk: bytes
) -> None:
    await run_agent(server)
    await up(server)
    link = server.session().link
    link.send_raw(junk)
    link.send_raw(bytes(70_000))
    await up_again(server, 1)


async def test_junk_in_a_frame_leaves_the_link(
    server: ManagementServer, run_agent: RunAgent
) -> None:
    await run_agent(server)
    await up(server)
    server.session().link.send_plaintext(b"no frame at all")
    assert (await server.ask(commands.check_health())).result
    assert server.connections_accepted == 1


async def test_a_strict_server_lets_it_in_with_its_certificate(
    start_server: StartServer,
    run_agent: RunAgent,
    cloud_authority: CertificateAuthority,
    tmp_path: Path,
) -> None:
    """agent-lifecycle.md 4.3."""
    server = await start_server(timing=LIVELY, client_certificates=ClientCertificates.NEEDED)
    folder = tmp_path / "agent"
    agent = await run_agent(server, folder)
    await server.wait_until(lambda: len(server.handshakes_failed) >= 2)
    # As at the first boot: the certificate arrives while the agent is trying.
    write_agent_certificates(folder / "conf", cloud_authority)
    await up(server)
    assert server.session().link.peer_names is not None
    await agent.stop()


async def test_a_server_of_another_ca_is_not_trusted(
    start_server: StartServer, run_agent: RunAgent, tmp_path: Path
) -> None:
    """agent-lifecycle.md 4.6: the CA is pinned once known."""
    server = await start_server(timing=LIVELY)
    folder = tmp_path / "agent"
    write_agent_certificates(folder / "conf", CertificateAuthority.create())
    await run_agent(server, folder)
    await server.wait_until(lambda: server.connections_accepted >= 3)
    assert server.zone.hosts == {}


async def test_a_new_certificate_is_used_at_the_next_connect(
    server: ManagementServer, run_agent: RunAgent, tmp_path: Path
) -> None:
    """R2 and agent-lifecycle.md 4.4."""
    await run_agent(server, tmp_path / "agent")
    await up(server)
    assert server.session().link.peer_names is None
    answer = await server.provision_certificate(addresses=["127.0.0.1"], reconnect=True)
    assert answer.result, answer.details
    await up_again(server, 1)
    names = server.session().link.peer_names
    assert names is not None
    assert "127.0.0.1" in names
    key = tmp_path / "agent" / "conf" / "cloud.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert server.violations == []


async def test_two_hundred_requests_at_once_are_all_answered(
    server: ManagementServer, run_agent: RunAgent
) -> None:
    """agent-lifecycle.md 5.5."""
    await run_agent(server)
    await up(server)
    answers = await asyncio.gather(*(server.ask(commands.check_health()) for _ in range(200)))
    assert all(answer.result for answer in answers)
    assert server.violations == []


async def test_commands_of_one_request_run_in_order_and_stop_on_error(
    server: ManagementServer, run_agent: RunAgent
) -> None:
    """wire-protocol.md 5."""
    await run_agent(server)
    await up(server)
    unknown = commands.command("com.cloud.agent.api.NobodyKnowsThisCommand")
    health = commands.check_health()
    stopped = await server.send(health, unknown, health)
    assert [one.simple_name for one in stopped] == [
        "CheckHealthAnswer",
        "UnsupportedAnswer",
        "Answer",
    ]
    assert stopped[2].details == "Stopped by previous failure"
    all_run = await server.send(health, unknown, health, stop_on_error=False)
    assert [one.result for one in all_run] == [True, False, True]
    assert server.violations == []


async def test_wrong_fields_get_the_commands_own_answer(
    server: ManagementServer, run_agent: RunAgent
) -> None:
    """wire-protocol.md 11."""
    await run_agent(server)
    await up(server)
    wrong = Message(commands.API + "GetStorageStatsCommand", {"store": "no object"})
    answer = await server.ask(wrong)
    assert answer.simple_name == "GetStorageStatsAnswer"
    assert not answer.result
    assert "store" in answer.details
    assert server.violations == []


async def test_it_moves_to_another_server_when_told(
    start_server: StartServer, run_agent: RunAgent, cloud_authority: CertificateAuthority
) -> None:
    """agent-lifecycle.md 3.7: the list of Ready #2 is persisted, migrate moves at once."""
    first = await start_server(timing=LIVELY)
    second = await start_server(timing=LIVELY, host="127.0.0.2", port=first.port)
    agent = await run_agent(first)
    await up(first)
    answer = await first.ask(
        commands.setup_server_list(["127.0.0.1", "127.0.0.2"], [], "static", 0, check_now=False)
    )
    assert answer.result
    answer = await first.ask(commands.migrate(None, ["127.0.0.1"]))
    assert answer.result
    await second.wait_for_status(HostStatus.UP)
    assert second.host().startup["connectionTransferred"] is True
    assert "127.0.0.1,127.0.0.2@static" in second.host().startup["msHostList"]
    await agent.stop()
    assert first.violations == []
    assert second.violations == []


async def test_it_fails_over_to_the_next_server(
    start_server: StartServer, run_agent: RunAgent
) -> None:
    """agent-lifecycle.md 3.3."""
    zone = Zone(servers=("127.0.0.1", "127.0.0.2"))
    first = await start_server(timing=LIVELY, zone=zone)
    second = await start_server(timing=LIVELY, host="127.0.0.2", port=first.port)
    await run_agent(first)
    await up(first)
    # The answer to this one comes behind that to the Ready which brings the list.
    await first.ask(commands.check_health())
    first.faults.close_at_accept = True
    first.session().link.abort()
    await second.wait_for_status(HostStatus.UP)


async def test_a_stop_that_is_asked_for_by_the_server_ends_reconnecting(
    server: ManagementServer, run_agent: RunAgent
) -> None:
    """agent-lifecycle.md 3.5: after ShutdownCommand the agent does not come back."""
    agent = await run_agent(server)
    await up(server)
    shutdown: dict[str, Any] = {"reason": "no reason", "removeHost": False}
    answer = await server.ask(commands.command(commands.API + "ShutdownCommand", **shutdown))
    assert answer.result
    server.session().link.close()
    async with asyncio.timeout(15):
        await agent.process.wait()
    assert server.connections_accepted == 1


async def test_a_slow_command_does_not_hold_up_ready_and_health(
    start_server: StartServer, run_agent: RunAgent, store: Path
) -> None:
    """agent-lifecycle.md 0.2 and 3.4: control commands never wait behind long ones."""
    timing = replace(LIVELY, command_wait_s=5.0)
    server = await start_server(stores=[f"file://{store}"], timing=timing)
    await run_agent(server)
    await up(server)
    hanging = server.register(name="slow", url="http://192.0.2.1/never.qcow2")
    try:
        assert (await server.ask(commands.check_health())).result
    except AnswerTimeoutError:
        pytest.fail("CheckHealth waited behind a download")
    await server.wait_until(lambda: bool(hanging.job_id))
