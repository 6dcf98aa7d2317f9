# SPDX-License-Identifier: Apache-2.0
"""Losing the link in every state, noticing it, and coming back."""

from __future__ import annotations

import asyncio

import pytest

from ssvm_agent.config.settings import LinkSettings
from ssvm_agent.link.errors import Step
from ssvm_agent.link.status import LinkState
from ssvm_agent.messages.agent import (
    CheckHealthCommand,
    PingStorageCommand,
    StartupSecondaryStorageCommand,
)
from tests.fakes.link_parts import CertificateFiles, running_link
from tests.fakes.manual_clock import ManualClock
from tests.fakes.scripted_server import Peer, ScriptedServer, scripted_server


async def get_nowhere(peer: Peer) -> None:
    """Hangs up at once, as a server in preparation of maintenance does."""


async def get_to_half_a_handshake(peer: Peer) -> None:
    """Reads the ClientHello and hangs up."""
    await peer.reader.read(1)


async def get_to_the_handshake(peer: Peer) -> None:
    """Hangs up after the handshake."""
    await peer.shake_hands()


async def get_to_startup(peer: Peer) -> None:
    """Hangs up instead of answering the Startup."""
    await peer.shake_hands()
    await peer.request(StartupSecondaryStorageCommand)


async def get_to_setup(peer: Peer) -> None:
    """Hangs up before Ready."""
    await peer.accept_startup()


async def get_to_ready(peer: Peer) -> None:
    """Hangs up when all was well."""
    await peer.set_up()


@pytest.mark.parametrize(
    ("script", "step", "sentence"),
    [
        (get_nowhere, Step.TLS, "closed the connection during the TLS handshake"),
        (get_to_half_a_handshake, Step.TLS, "during the TLS handshake"),
        (get_to_the_handshake, Step.STARTUP, "before it answered the Startup"),
        (get_to_startup, Step.STARTUP, "before it answered the Startup"),
        (get_to_setup, Step.READY, "while it set the agent up, before Ready"),
        (get_to_ready, Step.READY, "The management server closed the connection."),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_link_lost_in_any_state_is_explained_and_made_anew(
    files: CertificateFiles, script: object, step: Step, sentence: str
) -> None:
    """agent-lifecycle.md 5.2 and 5.5: EOF in each state; requirements R1."""
    assert callable(script)
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=clock) as running,
    ):
        peer = await server.peer()
        await script(peer)
        peer.hang_up()
        status = await running.until_state(LinkState.DISCONNECTED)
        assert status.failing_step is step
        assert sentence in (status.last_error or "")
        assert status.failures == 1
        clock.advance(await clock.sleeper(at_most_s=10))
        await (await server.peer()).set_up()
        await running.until_state(LinkState.READY)


async def test_the_first_return_is_quick_and_the_following_ones_are_not(
    files: CertificateFiles,
) -> None:
    """agent-lifecycle.md 3.3 and 6: a running download survives only a short gap."""
    clock = ManualClock()
    async with scripted_server(files.server_context()) as server:
        port = server.port
    async with running_link(files.conf, port=port, clock=clock):
        pauses = []
        for _ in range(7):
            pauses.append(await clock.sleeper())
            clock.advance(pauses[-1])
        assert pauses == [1, 2, 4, 8, 16, 30, 30]


async def test_a_ready_link_starts_the_pauses_afresh(files: CertificateFiles) -> None:
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=clock) as running,
    ):
        for expected in (1, 2, 4):
            (await server.peer()).hang_up()
            await running.until_state(LinkState.DISCONNECTED)
            assert await clock.sleeper() == expected
            clock.advance(expected)
        peer = await server.peer()
        await peer.set_up()
        peer.hang_up()
        await running.until_state(LinkState.DISCONNECTED)
        assert await clock.sleeper(at_most_s=10) == 1


async def test_an_attempt_that_fails_like_the_last_is_not_logged_again(
    files: CertificateFiles, caplog: pytest.LogCaptureFixture
) -> None:
    """agent-lifecycle.md 4.2: connections before the certificate came are retried quietly."""
    clock = ManualClock()
    async with scripted_server(files.server_context()) as server:
        port = server.port
    async with running_link(files.conf, port=port, clock=clock):
        for _ in range(4):
            clock.advance(await clock.sleeper())
    told = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 1


async def test_a_silent_server_is_noticed_by_its_pings(files: CertificateFiles) -> None:
    """agent-lifecycle.md 6: a half-open link; three unanswered pings end it."""
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(
            files.conf, port=server.port, clock=clock, link=LinkSettings(ping_missing_limit=3)
        ) as running,
    ):
        peer = await server.peer()
        await peer.set_up(interval_s=60)
        clock.advance(await clock.sleeper())
        await peer.answer_ping()
        peer.send(CheckHealthCommand())
        await peer.response()  # By then the answer to the ping has been seen.
        for _ in range(3):
            clock.advance(await clock.sleeper())
            await peer.request(PingStorageCommand)
        clock.advance(await clock.sleeper())
        await peer.eof()
        status = await running.until_state(LinkState.DISCONNECTED)
        assert status.last_error == "The management server did not answer the last 3 pings."
        clock.advance(await clock.sleeper(at_most_s=10))
        await (await server.peer()).set_up()


async def test_pings_that_nobody_can_answer_yet_do_not_count(files: CertificateFiles) -> None:
    """agent-lifecycle.md 2.7: before the host is attached, pings get no answer."""
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=clock),
    ):
        peer = await server.peer()
        await peer.accept_startup(interval_s=60)
        for _ in range(10):
            clock.advance(await clock.sleeper())
            await peer.request(PingStorageCommand)
        await peer.make_ready()


async def test_a_suspended_machine_goes_on_pinging(files: CertificateFiles) -> None:
    """agent-lifecycle.md 6: no giving up after a long pause, and no burst of missed pings."""
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=clock),
    ):
        peer = await server.peer()
        await peer.set_up(interval_s=60)
        await clock.sleeper()
        clock.advance(3600)
        await peer.answer_ping()
        assert await clock.sleeper() == 60


async def test_send_startup_leads_to_a_new_link(files: CertificateFiles) -> None:
    """agent-lifecycle.md 5.4 note: close and reconnect."""
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=clock) as running,
    ):
        peer = await server.peer()
        await peer.set_up(interval_s=60)
        clock.advance(await clock.sleeper())
        await peer.answer_ping(send_startup=True)
        await peer.eof()
        status = await running.until_state(LinkState.DISCONNECTED)
        assert "new Startup" in (status.last_error or "")


async def test_send_startup_is_not_believed_while_the_host_is_set_up(
    files: CertificateFiles,
) -> None:
    """agent-lifecycle.md 0.4: obeying it then would start a second connect at the server."""
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=clock),
    ):
        peer = await server.peer()
        await peer.accept_startup(interval_s=5)
        clock.advance(await clock.sleeper())
        await peer.answer_ping(send_startup=True)
        await peer.make_ready()
        clock.advance(await clock.sleeper())  # A ping that crosses the server's own "Up".
        await peer.answer_ping(send_startup=True)
        await peer.make_ready()


async def test_answers_never_change_links(files: CertificateFiles) -> None:
    """agent-lifecycle.md 3.3: requests of a lost link are cancelled, their answers go nowhere."""
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=clock) as running,
    ):
        peer = await server.peer()
        await peer.set_up()
        running.sink.gate.clear()
        peer.send(CheckHealthCommand(), flags=0)
        await running.sink.until(lambda sink: sink.started == 2)
        peer.hang_up()
        await running.sink.until(lambda sink: sink.cancelled == 1)
        running.sink.gate.set()
        clock.advance(await clock.sleeper(at_most_s=10))
        second = await server.peer()
        await second.set_up()
        sequence = second.send(CheckHealthCommand(), flags=0)
        header, _ = await second.response()
        assert header.sequence == sequence


async def stall_in_the_handshake(server: ScriptedServer) -> Peer:
    """Accepts and says nothing."""
    return await server.peer()


async def test_a_handshake_that_stalls_is_given_up(files: CertificateFiles) -> None:
    """agent-lifecycle.md 2.2."""
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(
            files.conf,
            port=server.port,
            clock=clock,
            link=LinkSettings(handshake_timeout_s=0.05),
        ) as running,
    ):
        peer = await stall_in_the_handshake(server)
        status = await running.until_state(LinkState.DISCONNECTED)
        assert status.failing_step is Step.TLS
        assert "was not done within 0.05 s" in (status.last_error or "")
        await peer.eof()


@pytest.mark.parametrize(
    ("junk", "sentence"),
    [
        (b"\x00\x00\x46\x51", "announced a chunk of 18001 bytes"),
        (b"\x00\x00\x80\x00", "announced a chunk of 32768 bytes"),
        (b"\x00\x00\x00\x02\x17\x03", "ends inside a TLS record"),
        (b"\x00\x00\x00\x07\x17\x03\x03\x00\x05ab", "ends inside a TLS record"),
        (b"\x00\x00\x00\x07\x15\x03\x03\x00\x02\x01\x00", "TLS alert inside a chunk"),
        (b"\x00\x00\x00\x06\x16\x03\x03\x00\x01\x00", "TLS record of type 22"),
        (b"\x00\x00\x00\x1e\x17\x03\x03\x00\x19" + bytes(25), "cannot be decrypted"),
    ],
    ids=["long", "negative", "header", "record", "alert", "handshake", "damaged"],
)
async def test_a_broken_stream_ends_the_link(
    files: CertificateFiles, junk: bytes, sentence: str
) -> None:
    """wire-protocol.md 1.1 and 7."""
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=clock) as running,
    ):
        peer = await server.peer()
        await peer.set_up()
        peer.writer.write(junk)
        await peer.eof()
        status = await running.until_state(LinkState.DISCONNECTED)
        assert sentence in (status.last_error or "")


async def test_a_server_may_close_in_the_middle_of_a_message(files: CertificateFiles) -> None:
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=clock) as running,
    ):
        peer = await server.peer()
        await peer.set_up()
        peer.writer.write(peer.channel.send(bytes(20_000))[: 4 + 16413])
        peer.hang_up()
        status = await running.until_state(LinkState.DISCONNECTED)
        assert "in the middle of a message" in (status.last_error or "")


async def test_bytes_may_come_one_by_one(files: CertificateFiles) -> None:
    """wire-protocol.md 1.1: TCP segmentation is of no account."""
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=ManualClock()),
    ):
        peer = await server.peer()
        await peer.set_up()
        frame = peer.connection.send_request(b"[]", flags=0, agent_id=5)
        for byte in peer.channel.send(frame):
            peer.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        _, answers = await peer.response()
        assert answers == []
