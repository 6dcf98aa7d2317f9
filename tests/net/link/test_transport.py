# SPDX-License-Identifier: Apache-2.0
"""Deadlines on the socket: a message that never ends, a peer that never reads."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from ssvm_agent.link.certificates import client_context, load_material
from ssvm_agent.link.errors import LinkLostError
from ssvm_agent.link.transport import LinkTransport
from ssvm_agent.wire.connection import Connection, Event, RequestReceived, Role
from tests.fakes.link_parts import CertificateFiles
from tests.fakes.scripted_server import Peer, scripted_server


@dataclass
class Bench:
    """A transport on its own, opposite a scripted peer."""

    transport: LinkTransport
    connection: Connection
    peer: Peer
    events: list[Event] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def bench(
    files: CertificateFiles, *, message_deadline_s: float = 60, write_deadline_s: float = 60
) -> AsyncIterator[Bench]:
    """A transport whose handshake is done."""
    connection = Connection(Role.AGENT)
    events: list[Event] = []
    arrived = asyncio.Event()

    def note(event: Event) -> None:
        events.append(event)
        arrived.set()

    async with scripted_server(files.server_context()) as server:
        context = await asyncio.to_thread(lambda: client_context(load_material(files.conf)))
        tcp = socket.socket(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        await asyncio.get_running_loop().sock_connect(tcp, ("127.0.0.1", server.port))
        peer = await server.peer()
        transport, _ = await asyncio.gather(
            LinkTransport.open(
                tcp,
                context,
                connection,
                note,
                handshake_deadline_s=5,
                message_deadline_s=message_deadline_s,
                write_deadline_s=write_deadline_s,
            ),
            peer.shake_hands(),
        )
        transport.send(connection.send_request(b"[]", flags=0))
        await peer.event()
        try:
            yield Bench(transport, connection, peer, events, arrived)
        finally:
            transport.abort()


@pytest.mark.parametrize("size", [2, 20_000], ids=["mid-chunk", "mid-frame"])
async def test_a_message_that_never_ends_ends_the_link(files: CertificateFiles, size: int) -> None:
    """wire-protocol.md 11: time from the first byte of a message to its last."""
    async with bench(files, message_deadline_s=0.05) as it:
        stream = it.peer.channel.send(bytes(size))
        it.peer.writer.write(stream[: 4 + 16413] if size > 16384 else stream[:5])
        async with asyncio.timeout(5):
            error = await it.transport.wait_ended()
        assert error.message == "A message was not complete within 0.05 s."


async def test_complete_messages_have_no_deadline(files: CertificateFiles) -> None:
    async with bench(files) as it:
        for _ in range(3):
            it.arrived.clear()
            frame = it.peer.connection.send_request(b"[]", flags=0)
            stream = it.peer.channel.send(frame)
            it.peer.writer.write(stream[:9])
            await asyncio.sleep(0)
            it.peer.writer.write(stream[9:])
            await it.arrived.wait()
            assert it.transport._message_timer is None
        assert it.transport.error is None
        assert [type(event) for event in it.events] == [RequestReceived] * 3


async def test_a_peer_that_never_reads_ends_the_link(files: CertificateFiles) -> None:
    async with bench(files, write_deadline_s=0.05) as it:
        frame = it.connection.send_request(bytes(1 << 23), flags=0)
        big = frame[:40] + bytes(1 << 23)
        for _ in range(4):
            it.transport.send(big)
        with pytest.raises(LinkLostError, match="did not read"):
            await it.transport.drain()


async def test_what_waits_for_room_goes_on_when_there_is_room(files: CertificateFiles) -> None:
    async with bench(files) as it:
        content = bytes(range(256)) * (1 << 15)
        header_only = it.connection.send_request(b"", flags=0)
        for _ in range(4):
            it.transport.send(header_only + content)
        waiting = asyncio.create_task(it.transport.drain())
        for _ in range(4):
            event = await it.peer.event()
            assert isinstance(event, RequestReceived)
            assert event.content == content
        await waiting


async def test_a_reset_is_told_from_a_close(files: CertificateFiles) -> None:
    async with bench(files) as it:
        raw = it.peer.writer.get_extra_info("socket")
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        it.peer.writer.transport.abort()
        error = await it.transport.wait_ended()
        assert error.message in {
            "The management server reset the connection.",
            "The management server closed the connection.",
        }


async def test_nothing_is_sent_on_an_ended_link(files: CertificateFiles) -> None:
    async with bench(files) as it:
        it.transport.fail(LinkLostError("first"))
        it.transport.fail(LinkLostError("second"))
        it.transport.send(b"x")
        it.transport.hold_reading(True)
        assert (await it.transport.wait_ended()).message == "first"
        with pytest.raises(LinkLostError, match="first"):
            await it.transport.drain()
        assert not it.transport.is_reading
