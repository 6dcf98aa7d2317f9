# SPDX-License-Identifier: Apache-2.0
"""Several management servers: rotation, lists, avoid lists, preference and migration."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from ssvm_agent.config.settings import LinkSettings
from ssvm_agent.link.status import LinkState
from ssvm_agent.messages.agent import (
    CheckHealthCommand,
    MigrateAgentConnectionCommand,
    ReadyCommand,
    SetupMSListCommand,
)
from tests.fakes.link_parts import CertificateFiles, running_link
from tests.fakes.machine import until
from tests.fakes.manual_clock import ManualClock
from tests.fakes.scripted_server import HOST_ID, ScriptedServer, scripted_server

FIRST, SECOND, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"
ALL = (FIRST, SECOND, THIRD)
Trio = tuple[ScriptedServer, ScriptedServer, ScriptedServer]


@pytest.fixture
async def trio(files: CertificateFiles) -> AsyncIterator[Trio]:
    """Three servers on one port of three addresses."""
    async with AsyncExitStack() as stack:
        context = files.server_context()
        first = await stack.enter_async_context(scripted_server(context, host=FIRST))
        others = [
            await stack.enter_async_context(scripted_server(context, host=host, port=first.port))
            for host in (SECOND, THIRD)
        ]
        yield first, others[0], others[1]


async def test_the_servers_are_tried_in_turn(files: CertificateFiles, trio: Trio) -> None:
    """agent-lifecycle.md 3.3: list order, and round again."""
    clock = ManualClock()
    async with running_link(files.conf, port=trio[0].port, clock=clock, servers=ALL):
        for server in (*trio, trio[0]):
            (await server.peer()).hang_up()
            clock.advance(await clock.sleeper(at_most_s=10))


async def test_an_avoided_server_is_skipped(files: CertificateFiles, trio: Trio) -> None:
    """agent-lifecycle.md 3.7: a PingAnswer replaces the avoid list."""
    clock = ManualClock()
    async with running_link(files.conf, port=trio[0].port, clock=clock, servers=ALL) as running:
        peer = await trio[0].peer()
        await peer.set_up(interval_s=60)
        clock.advance(await clock.sleeper())
        await peer.answer_ping(avoid=[SECOND])
        peer.send(CheckHealthCommand(), flags=0)
        await peer.response()
        assert running.supervisor.status().avoid == (SECOND,)
        peer.hang_up()
        await running.until_state(LinkState.DISCONNECTED)
        clock.advance(await clock.sleeper(at_most_s=10))
        await (await trio[2].peer()).set_up()
        assert trio[1].accepted == 0


async def test_an_avoid_list_that_leaves_nothing_is_ignored(
    files: CertificateFiles, trio: Trio
) -> None:
    """agent-lifecycle.md 6 and requirements R3."""
    clock = ManualClock()
    async with running_link(files.conf, port=trio[0].port, clock=clock, servers=ALL):
        peer = await trio[0].peer()
        await peer.accept_startup()
        await peer.make_ready(ReadyCommand(host_id=HOST_ID, avoid_ms_host_list=list(ALL)))
        peer.hang_up()
        clock.advance(await clock.sleeper(at_most_s=10))
        await (await trio[1].peer()).set_up()


async def test_a_ready_without_a_list_empties_the_avoid_list(
    files: CertificateFiles, trio: Trio
) -> None:
    """agent-lifecycle.md 2.5: Ready #1 also stops the check of the preferred server."""
    clock = ManualClock()
    async with running_link(files.conf, port=trio[0].port, clock=clock, servers=ALL) as running:
        peer = await trio[0].peer()
        await peer.accept_startup(interval_s=60)
        await peer.make_ready(
            ReadyCommand(
                host_id=HOST_ID,
                ms_host_list=[FIRST, SECOND],
                avoid_ms_host_list=[SECOND],
                lb_algorithm="static",
                lb_check_interval=700,
            )
        )
        status = running.supervisor.status()
        assert (status.servers, status.avoid) == ((FIRST, SECOND), (SECOND,))
        assert status.algorithm == "static"
        await until(lambda: running.memory.lists)
        assert running.memory.lists == [((FIRST, SECOND), "static")]
        assert await clock.sleeper(at_least_s=600) == 700
        await peer.make_ready(ReadyCommand(host_id=HOST_ID))
        status = running.supervisor.status()
        assert (status.servers, status.avoid) == ((FIRST, SECOND), ())
        assert max(clock.sleeps) == 60


async def test_a_new_list_is_used_at_the_next_connect_only(
    files: CertificateFiles, trio: Trio
) -> None:
    """agent-lifecycle.md 3.7: a list is not enough to move the agent; the counter starts anew."""
    clock = ManualClock()
    async with running_link(files.conf, port=trio[0].port, clock=clock, servers=(FIRST,)):
        peer = await trio[0].peer()
        await peer.set_up()
        peer.send(SetupMSListCommand(ms_list=[THIRD, SECOND], lb_algorithm="roundrobin"))
        await peer.response()
        peer.send(CheckHealthCommand())
        await peer.response()
        peer.hang_up()
        clock.advance(await clock.sleeper(at_most_s=10))
        await (await trio[2].peer()).set_up()


async def test_a_list_without_an_algorithm_changes_nothing(
    files: CertificateFiles, trio: Trio
) -> None:
    clock = ManualClock()
    async with running_link(files.conf, port=trio[0].port, clock=clock, servers=ALL) as running:
        peer = await trio[0].peer()
        await peer.set_up()
        peer.send(SetupMSListCommand(ms_list=[THIRD]))
        await peer.response()
        assert running.supervisor.status().servers == ALL
        assert running.memory.lists == []


async def test_the_preferred_server_is_returned_to(files: CertificateFiles, trio: Trio) -> None:
    """agent-lifecycle.md 3.7: the check, every interval, when no command is in progress."""
    clock = ManualClock()
    await trio[0].stop()
    async with running_link(files.conf, port=trio[1].port, clock=clock, servers=ALL) as running:
        clock.advance(await clock.sleeper())
        peer = await trio[1].peer()
        await peer.accept_startup(interval_s=100_000)
        ready = ReadyCommand(
            host_id=HOST_ID, ms_host_list=list(ALL), lb_algorithm="static", lb_check_interval=700
        )
        await peer.make_ready(ready)
        clock.advance(await clock.sleeper(at_most_s=700))
        assert await clock.sleeper(at_most_s=700) == 700  # not there: stay
        await trio[0].start()
        running.sink.gate.clear()
        peer.send(CheckHealthCommand(), flags=0)
        await running.sink.until(lambda sink: sink.started == 2)
        clock.advance(await clock.sleeper(at_most_s=700))
        assert await clock.sleeper(at_most_s=700) == 700  # there, but we are busy: stay
        running.sink.gate.set()
        await peer.response()
        clock.advance(await clock.sleeper(at_most_s=700))
        probes = [await trio[0].peer() for _ in range(2)]
        for probe in probes:
            await probe.eof()
        await peer.eof()
        await (await trio[0].peer()).set_up()
        status = await running.until_state(LinkState.READY)
        assert status.server == FIRST
        assert status.failures == 0


async def test_a_shuffled_list_is_checked_once(files: CertificateFiles, trio: Trio) -> None:
    clock = ManualClock()
    async with running_link(files.conf, port=trio[0].port, clock=clock, servers=(FIRST,)):
        peer = await trio[0].peer()
        await peer.set_up(interval_s=60)
        peer.send(
            SetupMSListCommand(
                ms_list=[FIRST, SECOND], lb_algorithm="shuffle", lb_check_interval=700
            )
        )
        await peer.response()
        clock.advance(await clock.sleeper(at_least_s=600))
        await peer.event()
        assert max(clock.sleeps) <= 60


async def test_the_operators_interval_beats_the_servers(files: CertificateFiles) -> None:
    """agent-lifecycle.md 3.7: host.lb.check.interval of the file, if set."""
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(
            files.conf,
            port=server.port,
            clock=clock,
            link=LinkSettings(preferred_host_check_s=900),
        ),
    ):
        peer = await server.peer()
        await peer.set_up(interval_s=60)
        assert await clock.sleeper(at_least_s=600) == 900


async def test_the_check_can_be_asked_for(files: CertificateFiles, trio: Trio) -> None:
    """agent-lifecycle.md 3.7: SetupMSList with triggerHostLb."""
    async with running_link(
        files.conf, port=trio[0].port, clock=ManualClock(), servers=(FIRST,)
    ) as running:
        peer = await trio[0].peer()
        await peer.set_up()
        peer.send(
            SetupMSListCommand(ms_list=[SECOND, FIRST], lb_algorithm="static", trigger_host_lb=True)
        )
        await peer.eof()
        await (await trio[1].peer()).eof()
        await (await trio[1].peer()).set_up()
        await running.until(lambda status: status.is_ready and status.server == SECOND)


async def test_a_migration_tries_every_candidate(files: CertificateFiles, trio: Trio) -> None:
    """agent-lifecycle.md 3.7: answered at once, done 3 s later, and said in the next Startup."""
    clock = ManualClock()
    await trio[1].stop()
    async with running_link(files.conf, port=trio[0].port, clock=clock, servers=ALL) as running:
        peer = await trio[0].peer()
        header, command = await peer.accept_startup()
        assert not command.connection_transferred
        await peer.make_ready()
        peer.send(MigrateAgentConnectionCommand(avoid_ms_list=[FIRST]))
        await peer.response()
        clock.advance(await clock.sleeper(at_most_s=3))
        await peer.eof()
        await (await trio[2].peer()).eof()
        moved = await trio[2].peer()
        header, command = await moved.accept_startup()
        assert command.connection_transferred
        assert header.sequence == 1
        await moved.make_ready()
        status = await running.until_state(LinkState.READY)
        assert (status.server, status.last_error) == (THIRD, None)
        await trio[1].start()
        moved.hang_up()
        await running.until_state(LinkState.DISCONNECTED)
        clock.advance(await clock.sleeper(at_most_s=10))
        _, command = await (await trio[1].peer()).accept_startup()
        assert not command.connection_transferred


async def test_a_migration_without_a_reachable_server_changes_nothing(
    files: CertificateFiles, trio: Trio, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    await trio[1].stop()
    await trio[2].stop()
    async with running_link(files.conf, port=trio[0].port, clock=clock, servers=ALL):
        peer = await trio[0].peer()
        await peer.set_up()
        peer.send(
            MigrateAgentConnectionCommand(
                ms_list=[THIRD, SECOND], lb_algorithm="static", avoid_ms_list=[FIRST]
            )
        )
        await peer.response()
        clock.advance(await clock.sleeper(at_most_s=3))
        while "does not migrate" not in caplog.text:
            peer.send(CheckHealthCommand())
            await peer.response()


async def test_a_migration_takes_the_new_list(files: CertificateFiles, trio: Trio) -> None:
    clock = ManualClock()
    async with running_link(
        files.conf, port=trio[0].port, clock=clock, servers=(FIRST,)
    ) as running:
        peer = await trio[0].peer()
        await peer.set_up()
        peer.send(
            MigrateAgentConnectionCommand(
                ms_list=[FIRST, SECOND], lb_algorithm="static", avoid_ms_list=[FIRST]
            )
        )
        await peer.response()
        clock.advance(await clock.sleeper(at_most_s=3))
        await (await trio[1].peer()).eof()
        await (await trio[1].peer()).set_up()
        await until(lambda: running.memory.lists)
        assert running.memory.lists == [((FIRST, SECOND), "static")]


async def test_a_migration_cuts_a_pause_short(files: CertificateFiles, trio: Trio) -> None:
    clock = ManualClock()
    async with running_link(
        files.conf, port=trio[0].port, clock=clock, servers=(FIRST, SECOND)
    ) as running:
        peer = await trio[0].peer()
        await peer.set_up()
        running.supervisor.migrate(None, avoid=[FIRST], algorithm=None, check_interval_s=None)
        await clock.sleeper(at_least_s=3, at_most_s=3)
        await trio[0].stop()
        await running.until_state(LinkState.DISCONNECTED)
        clock.advance(0.5)
        clock.advance(2.5 - 1.5)
        clock.advance(1.5)
        await (await trio[1].peer()).eof()
        await running.until(lambda status: status.server == SECOND)


async def test_a_list_may_change_while_connecting(files: CertificateFiles, trio: Trio) -> None:
    """agent-lifecycle.md 5.5: the attempt under way goes on, the next one uses the new list."""
    clock = ManualClock()
    async with running_link(
        files.conf, port=trio[0].port, clock=clock, servers=(FIRST,)
    ) as running:
        peer = await trio[0].peer()
        await running.until_state(LinkState.HANDSHAKE)
        running.supervisor.apply_servers(
            [THIRD], avoid=None, algorithm="static", check_interval_s=None, check_now=False
        )
        await peer.accept_startup()
        peer.hang_up()
        await running.until_state(LinkState.DISCONNECTED)
        clock.advance(await clock.sleeper(at_most_s=10))
        await (await trio[2].peer()).set_up()
