# SPDX-License-Identifier: Apache-2.0
"""From the first connect to Up and through the day, over real TLS against a scripted server."""

from __future__ import annotations

import asyncio

import pytest

from ssvm_agent.config.settings import LinkSettings
from ssvm_agent.link.errors import Step
from ssvm_agent.link.status import LinkState
from ssvm_agent.messages.agent import (
    CheckHealthAnswer,
    CheckHealthCommand,
    PingStorageCommand,
    ReadyCommand,
    ShutdownCommand,
    StartupSecondaryStorageCommand,
)
from ssvm_agent.messages.base import Answer
from ssvm_agent.messages.envelope import encode_answers, encode_commands
from ssvm_agent.wire.frame import Frame, encode_frame
from ssvm_agent.wire.header import Flag, Header
from tests.fakes.link_parts import CertificateFiles, FakeMemory, running_link
from tests.fakes.machine import until
from tests.fakes.manual_clock import ManualClock
from tests.fakes.scripted_server import (
    FIRST_SEQUENCE,
    HOST_ID,
    NODE_ID,
    scripted_server,
    startup_answer,
)


async def test_the_first_startup_is_what_a_server_expects(files: CertificateFiles) -> None:
    """agent-lifecycle.md 2.3: every field, the header and the flags."""
    clock = ManualClock()
    async with (
        scripted_server(files.server_context(require_client=True)) as server,
        running_link(files.conf, port=server.port, clock=clock),
    ):
        peer = await server.peer()
        await peer.shake_hands()
        header, command = await peer.request(StartupSecondaryStorageCommand)
    assert header.flags == Flag.REQUEST | Flag.IN_SEQUENCE
    assert (header.sequence, header.management_server_id) == (0, -1)
    assert (header.agent_id, header.via) == (-1, -1)
    assert command == StartupSecondaryStorageCommand(
        type="SecondaryStorage",
        data_center="1",
        pod="1",
        guid="s-1-VM-NfsSecondaryStorageResource",
        name="s-1-VM",
        id=None,
        version="4.22.0.0",
        iqn="NoIqn",
        public_ip_address="203.0.113.21",
        public_netmask="255.255.255.0",
        public_mac_address="1e:00:1b:00:00:15",
        private_ip_address="10.1.34.20",
        private_mac_address="02:00:4c:5f:00:03",
        private_netmask="255.255.255.0",
        storage_ip_address="10.1.34.20",
        storage_netmask="255.255.255.0",
        storage_mac_address="02:00:4c:5f:00:03",
        resource_name="NfsSecondaryStorageResource",
        ms_host_list="10.1.32.5",
        connection_transferred=False,
        arch="x86_64",
    )


async def test_a_known_host_says_its_id(files: CertificateFiles) -> None:
    """agent-lifecycle.md 2.3: header agent id is the persisted one."""
    async with (
        scripted_server(files.server_context()) as server,
        running_link(
            files.conf, port=server.port, clock=ManualClock(), memory=FakeMemory(host_id=HOST_ID)
        ),
    ):
        peer = await server.peer()
        header, command = await peer.accept_startup()
        assert (header.agent_id, header.via, command.id) == (HOST_ID, HOST_ID, HOST_ID)


async def test_pings_carry_host_id_0_until_ready(files: CertificateFiles) -> None:
    """agent-lifecycle.md 0.4 and 0.15: first ping after one interval, true id only after Ready."""
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=clock) as running,
    ):
        peer = await server.peer()
        await peer.accept_startup(interval_s=60)
        assert await clock.sleeper() == 60
        clock.advance(60)
        header, ping = await peer.request(PingStorageCommand)
        assert (ping.host_id, ping.host_type, ping.changes) == (0, "Storage", {})
        assert header.flags == Flag.REQUEST | Flag.STOP_ON_ERROR
        assert (header.agent_id, header.sequence) == (0, 1)

        await peer.make_ready()
        clock.advance(await clock.sleeper(1))
        header, ping = await peer.answer_ping()
        assert (ping.host_id, header.agent_id, header.sequence) == (HOST_ID, HOST_ID, 2)
        status = await running.until(lambda status: status.is_ready)
        assert (status.host_id, status.ping_interval_s) == (HOST_ID, 60)
        await until(lambda: running.memory.hosts)
        assert running.memory.hosts == [(HOST_ID, "u", "n")]


async def test_an_unset_ping_interval_means_a_minute(files: CertificateFiles) -> None:
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=clock),
    ):
        await (await server.peer()).accept_startup(interval_s=0)
        assert await clock.sleeper() == 60


@pytest.mark.parametrize("order", [(0, HOST_ID), (HOST_ID, 0)], ids=["zero-first", "zero-last"])
async def test_both_startup_answers_are_taken_in_either_order(
    files: CertificateFiles, order: tuple[int, int]
) -> None:
    """agent-lifecycle.md 2.4: host id 0 is never kept, and there is one ping schedule."""
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=clock) as running,
    ):
        peer = await server.peer()
        await peer.shake_hands()
        header, _ = await peer.request(StartupSecondaryStorageCommand)
        for host_id in order:
            peer.answer(header, startup_answer(host_id=host_id))
        await peer.make_ready(ReadyCommand(host_id=HOST_ID))
        assert [sleep for sleep in clock.sleeps if sleep == 60] == [60]
        await until(lambda: len(running.memory.hosts) == 2)
        assert {host_id for host_id, _, _ in running.memory.hosts} == {HOST_ID}


@pytest.mark.parametrize(
    "flags",
    [
        Flag.STOP_ON_ERROR | Flag.IN_SEQUENCE,
        Flag.STOP_ON_ERROR,
        Flag.IN_SEQUENCE,
        Flag(0),
        Flag.CONTROL | Flag.STOP_ON_ERROR,
    ],
)
async def test_an_answer_repeats_what_it_has_to(files: CertificateFiles, flags: Flag) -> None:
    """agent-lifecycle.md 5.3: sequence, ids, in-sequence and stop-on-error; the rest cleared."""
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=ManualClock()),
    ):
        peer = await server.peer()
        await peer.set_up()
        peer.send(CheckHealthCommand(), flags=flags)
        header, answers = await peer.response()
    assert header == Header(
        flags=flags & ~Flag.CONTROL,
        sequence=FIRST_SEQUENCE + 1,
        management_server_id=NODE_ID,
        agent_id=HOST_ID,
        via=HOST_ID,
        content_length=header.content_length,
    )
    assert answers == [CheckHealthAnswer(details="resource is alive")]


async def test_stop_on_error_reaches_the_sink_and_answers_keep_their_number(
    files: CertificateFiles,
) -> None:
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=ManualClock()),
    ):
        peer = await server.peer()
        await peer.set_up()
        peer.send(CheckHealthCommand(), CheckHealthCommand(), flags=Flag.STOP_ON_ERROR)
        _, answers = await peer.response()
        assert len(answers) == 2


async def test_two_hundred_requests_at_once_are_all_answered(files: CertificateFiles) -> None:
    """agent-lifecycle.md 5.5; none is dropped however many wait."""
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=ManualClock()) as running,
    ):
        peer = await server.peer()
        await peer.set_up()
        running.sink.gate.clear()
        sent = {peer.send(CheckHealthCommand(), flags=0) for _ in range(200)}
        await running.sink.until(lambda sink: sink.started == 201)
        assert running.supervisor.status().requests == 200
        running.sink.gate.set()
        answered = {(await peer.response())[0].sequence for _ in range(200)}
        assert answered == sent


async def test_a_flood_of_requests_is_held_back_and_not_dropped(files: CertificateFiles) -> None:
    """agent-lifecycle.md 6: back-pressure on the reader."""
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=ManualClock()) as running,
    ):
        peer = await server.peer()
        await peer.set_up()
        running.sink.gate.clear()
        content = b"[" + b" " * 7000 + b"]"
        sent = {peer.send(content=content, flags=0) for _ in range(3000)}
        drained = asyncio.create_task(peer.writer.drain())
        await running.sink.until(lambda sink: sink.started > 1024)
        assert running.supervisor.status().requests < 1400
        running.sink.gate.set()
        answered = {(await peer.response())[0].sequence for _ in range(3000)}
        await drained
        assert answered == sent


async def test_a_long_answer_comes_in_several_chunks(files: CertificateFiles) -> None:
    """agent-lifecycle.md 5.5: an answer larger than one TLS record."""
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=ManualClock()) as running,
    ):
        peer = await server.peer()
        await peer.set_up()
        # Hardly compressible, so that it stays long on the wire.
        details = "".join(f"{number * 2654435761 % 2**32:08x}" for number in range(100_000))
        running.sink.answer = encode_answers([Answer(details=details)])
        peer.send(CheckHealthCommand(), flags=0)
        _, answers = await peer.response()
        assert answers == [Answer(details=details)]


async def test_a_request_that_cannot_be_inflated_is_answered_false(
    files: CertificateFiles,
) -> None:
    """wire-protocol.md 11: answer whenever the sequence can be read; the link stays."""
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=ManualClock()),
    ):
        peer = await server.peer()
        await peer.set_up()
        frame = bytearray(
            encode_frame(Frame(header=Header(flags=0x27, sequence=77), content=b"no gzip"))
        )
        frame[3] |= Flag.COMPRESSED
        peer.send_frame(bytes(frame))
        header, [answer] = await peer.response()
        assert (header.sequence, header.flags) == (77, 0x06)
        assert isinstance(answer, Answer)
        assert not answer.result
        assert "cannot be read" in (answer.details or "")


@pytest.mark.parametrize("frame", [b"", bytes(12), b"\x01" + bytes(50)])
async def test_a_frame_without_a_header_is_dropped_and_the_link_stays(
    files: CertificateFiles, frame: bytes
) -> None:
    """wire-protocol.md 7."""
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=ManualClock()),
    ):
        peer = await server.peer()
        await peer.set_up()
        peer.writer.write(peer.channel.send(frame) or bytes(4))
        await peer.make_ready()


async def test_an_answer_nobody_asked_for_is_ignored(files: CertificateFiles) -> None:
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=ManualClock()),
    ):
        peer = await server.peer()
        await peer.set_up()
        stray = Header(flags=0x24, sequence=12345, management_server_id=NODE_ID)
        for content in (b"not json", b'[{"no.such.Class":{}}]', encode_answers([Answer()])):
            peer.send_frame(encode_frame(Frame(header=stray, content=content)))
        peer.send_frame(
            encode_frame(Frame(header=stray, content=encode_answers([startup_answer(host_id=9)])))
        )
        await peer.make_ready()


async def test_the_stop_is_announced(files: CertificateFiles) -> None:
    """agent-lifecycle.md 3.6: reason sig.kill, sequence -1, flags 0x07."""
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=ManualClock()) as running,
    ):
        peer = await server.peer()
        await peer.set_up()
        stopping = asyncio.create_task(running.supervisor.stop())
        header, command = await peer.request(ShutdownCommand)
        assert (header.sequence, header.flags, header.agent_id) == (-1, 0x07, HOST_ID)
        assert (command.reason, command.detail) == ("sig.kill", None)
        peer.hang_up()
        await stopping
        await running.task
        assert running.supervisor.status().state is LinkState.STOPPED
        assert server.accepted == 1


async def test_a_stop_does_not_wait_for_a_server_that_does_not_react(
    files: CertificateFiles,
) -> None:
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=ManualClock()) as running,
    ):
        peer = await server.peer()
        await peer.accept_startup()
        await running.until_state(LinkState.SETTING_UP)
        async with asyncio.timeout(3):
            await running.supervisor.stop()
        await peer.eof()


async def test_a_stop_before_the_startup_sends_nothing(files: CertificateFiles) -> None:
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=ManualClock()) as running,
    ):
        peer = await server.peer()
        await running.until_state(LinkState.HANDSHAKE)
        await running.supervisor.stop()
        async with asyncio.timeout(5):
            hello = await peer.reader.read()
        assert hello[0] == 0x16  # the ClientHello and nothing of the protocol
        assert running.task.done()


async def test_a_stop_during_a_pause_ends_at_once(files: CertificateFiles) -> None:
    clock = ManualClock()
    async with scripted_server(files.server_context()) as server:
        port = server.port
    async with running_link(files.conf, port=port, clock=clock) as running:
        await clock.sleeper()
        await running.supervisor.stop()
        assert running.task.done()


async def test_a_stop_before_the_start_is_a_stop(files: CertificateFiles) -> None:
    async with running_link(files.conf, port=1, clock=ManualClock()) as running:
        await running.supervisor.stop()
        await running.task


async def test_the_status_tells_where_the_link_stands(files: CertificateFiles) -> None:
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=ManualClock()) as running,
    ):
        peer = await server.peer()
        await peer.set_up()
        status = await running.until_state(LinkState.READY)
        assert (status.server, status.last_error, status.failures) == ("127.0.0.1", None, 0)
        assert status.trust == "its certificate is the pinned CA"
        states = list(dict.fromkeys(change.state for change in running.changes))
        assert states == [
            LinkState.CONNECTING,
            LinkState.HANDSHAKE,
            LinkState.STARTUP_SENT,
            LinkState.SETTING_UP,
            LinkState.READY,
        ]


async def test_a_server_that_sends_us_away_gets_no_pings_and_no_return(
    files: CertificateFiles,
) -> None:
    """agent-lifecycle.md 3.5 and 6: the link stays as it is, and after it the supervisor ends."""
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=clock) as running,
    ):
        peer = await server.peer()
        await peer.set_up()
        peer.send(ShutdownCommand(reason="x"))
        await peer.response()
        assert clock.sleeps == []
        peer.send(CheckHealthCommand())
        await peer.response()
        peer.hang_up()
        await running.task
        assert server.accepted == 1


async def test_a_startup_that_is_refused_is_tried_again(files: CertificateFiles) -> None:
    """agent-lifecycle.md 2.4 and 6: the process stays, backs off and comes back."""
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=clock) as running,
    ):
        peer = await server.peer()
        await peer.shake_hands()
        header, _ = await peer.request(StartupSecondaryStorageCommand)
        peer.answer(header, type(startup_answer())(result=False, details="no such zone"))
        await peer.eof()
        status = await running.until_state(LinkState.DISCONNECTED)
        assert status.failing_step is Step.STARTUP
        assert "no such zone" in (status.last_error or "")
        clock.advance(await clock.sleeper())
        await (await server.peer()).set_up()


async def test_a_refusal_by_ready_is_not_answered_and_tried_again(files: CertificateFiles) -> None:
    """agent-lifecycle.md 5.1: ids and sequence -1, from-server not set."""
    clock = ManualClock()
    reason = "java.lang.IllegalArgumentException: incorrect data center\n\tat a.b.C"
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=clock) as running,
    ):
        peer = await server.peer()
        await peer.accept_startup()
        refusal = Frame(
            header=Header(flags=0x07, sequence=-1),
            content=encode_commands([ReadyCommand(details=reason)]),
        )
        peer.send_frame(encode_frame(refusal))
        with pytest.raises((EOFError, ConnectionError)):
            await peer.event()
        status = await running.until_state(LinkState.DISCONNECTED)
        assert status.failing_step is Step.STARTUP
        assert (status.last_error or "").endswith("incorrect data center")
        clock.advance(await clock.sleeper())
        await (await server.peer()).set_up()
        status = await running.until_state(LinkState.READY)
        assert (status.last_error, status.failing_step) == (None, None)


async def test_an_unanswered_startup_is_given_up_and_the_next_wait_is_longer(
    files: CertificateFiles,
) -> None:
    """agent-lifecycle.md 2.3: 180 s, then 360 s, until an answer comes in time."""
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(
            files.conf,
            port=server.port,
            clock=clock,
            link=LinkSettings(startup_timeout_s=0.05),
        ) as running,
    ):
        for expected in ("0.05", "0.1"):
            peer = await server.peer()
            await peer.shake_hands()
            header, _ = await peer.request(StartupSecondaryStorageCommand)
            await peer.eof()
            status = await running.until_state(LinkState.DISCONNECTED)
            assert status.failing_step is Step.STARTUP
            assert f"within {expected} s" in (status.last_error or "")
            # An answer that comes after the timer finds no link any more.
            peer.answer(header, startup_answer())
            clock.advance(await clock.sleeper())
        await (await server.peer()).set_up()
        await running.until_state(LinkState.READY)


async def test_sequences_go_on_over_reconnects(files: CertificateFiles) -> None:
    """wire-protocol.md 2: the counter belongs to the process."""
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=clock),
    ):
        for expected in range(3):
            peer = await server.peer()
            header, _ = await peer.accept_startup()
            assert header.sequence == expected
            peer.hang_up()
            clock.advance(await clock.sleeper(at_most_s=10))
