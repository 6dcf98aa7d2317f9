# SPDX-License-Identifier: Apache-2.0
"""A management server that does line by line what a test writes down, right or wrong.

Real sockets and real TLS on the wire core. Each connection is handed to the test as a
:class:`Peer`; nothing is answered by itself.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from ssvm_agent.link.tls import TlsChannel
from ssvm_agent.messages.agent import (
    PingAnswer,
    PingStorageCommand,
    ReadyCommand,
    StartupAnswer,
    StartupSecondaryStorageCommand,
)
from ssvm_agent.messages.base import Answer, Command
from ssvm_agent.messages.envelope import (
    decode_answers,
    decode_commands,
    encode_answers,
    encode_commands,
)
from ssvm_agent.wire.connection import (
    Connection,
    Event,
    RequestReceived,
    ResponseReceived,
    Role,
    SequenceCounter,
)
from ssvm_agent.wire.header import Flag, Header

C = TypeVar("C", bound=Command)

NODE_ID = 345052215515
HOST_ID = 5
FIRST_SEQUENCE = (3 << 48) + 1
DEADLINE_S = 10


class Peer:
    """The server's side of one connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        context: ssl.SSLContext,
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.channel = TlsChannel(context, server_side=True)
        self.connection = Connection(
            Role.MANAGEMENT_SERVER, sequences=SequenceCounter(FIRST_SEQUENCE)
        )
        self._events: list[Event] = []

    async def shake_hands(self) -> None:
        """Does the TLS handshake."""
        async with asyncio.timeout(DEADLINE_S):
            while not self.channel.is_established:
                data = await self.reader.read(65536)
                if not data:
                    raise EOFError
                try:
                    self._take(data)
                finally:
                    self.writer.write(self.channel.take_output())

    async def event(self) -> Event:
        """The next event; EOFError when the agent hung up."""
        async with asyncio.timeout(DEADLINE_S):
            while not self._events:
                data = await self.reader.read(65536)
                if not data:
                    raise EOFError
                self._take(data)
        return self._events.pop(0)

    async def request(self, kind: type[C]) -> tuple[Header, C]:
        """The next event, which has to be a request with one command of this class."""
        event = await self.event()
        assert isinstance(event, RequestReceived), event
        [command] = decode_commands(event.content)
        assert isinstance(command, kind), command
        return event.header, command

    async def response(self) -> tuple[Header, list[object]]:
        """The next event, which has to be a response."""
        event = await self.event()
        assert isinstance(event, ResponseReceived), event
        return event.header, list(decode_answers(event.content))

    async def eof(self) -> None:
        """Waits for the agent to hang up; whatever comes before that is ignored."""
        try:
            while True:
                await self.event()
        except (EOFError, ConnectionError):
            return

    def answer(self, request: Header, *answers: Answer) -> None:
        """Answers a request of the agent."""
        header = Header(**{**_fields(request), "management_server_id": NODE_ID})
        frame = self.connection.send_response(header, encode_answers(answers))
        self.writer.write(self.channel.send(frame))

    def send(
        self,
        *commands: Command,
        flags: int = Flag.STOP_ON_ERROR | Flag.IN_SEQUENCE,
        content: bytes | None = None,
    ) -> int:
        """Sends a request; returns its sequence."""
        sequence = self.connection.sequences.take()
        frame = self.connection.send_request(
            encode_commands(commands) if content is None else content,
            flags=flags,
            agent_id=HOST_ID,
            management_server_id=NODE_ID,
            sequence=sequence,
        )
        self.send_frame(frame)
        return sequence

    def send_frame(self, frame: bytes) -> None:
        """Sends any bytes as one frame."""
        self.writer.write(self.channel.send(frame))

    def hang_up(self) -> None:
        """Closes the TCP connection."""
        self.writer.close()

    # Longer pieces of the usual conversation -------------------------------------------------

    async def accept_startup(
        self, *, interval_s: int = 60
    ) -> tuple[Header, StartupSecondaryStorageCommand]:
        """Handshake, Startup and its first answer, with host id 0 as always."""
        await self.shake_hands()
        header, command = await self.request(StartupSecondaryStorageCommand)
        self.answer(header, startup_answer(interval_s=interval_s))
        return header, command

    async def make_ready(self, ready: ReadyCommand | None = None) -> None:
        """Ready and its answer."""
        sequence = self.send(ready or ReadyCommand(host_id=HOST_ID, host_uuid="u", host_name="n"))
        header, _ = await self.response()
        assert header.sequence == sequence

    async def set_up(self, *, interval_s: int = 60) -> None:
        """Everything up to Ready."""
        await self.accept_startup(interval_s=interval_s)
        await self.make_ready()

    async def answer_ping(
        self, *, send_startup: bool = False, avoid: Sequence[str] = ()
    ) -> tuple[Header, PingStorageCommand]:
        """Waits for a ping and answers it."""
        header, ping = await self.request(PingStorageCommand)
        self.answer(header, PingAnswer(send_startup=send_startup, avoid_ms_list=list(avoid)))
        return header, ping

    def _take(self, data: bytes) -> None:
        for piece in self.channel.receive(data):
            self._events += self.connection.receive_plaintext(piece.data, last=piece.last)


class ScriptedServer:
    """A listening server that queues its connections for the test."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        self.host = host
        self.port = port
        self.context = context
        self.accepted = 0
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def peer(self) -> Peer:
        """The next connection."""
        async with asyncio.timeout(DEADLINE_S):
            return await self._peers.get()

    async def start(self) -> None:
        """Begins, or begins again, to listen."""
        self._server = await asyncio.start_server(self._accept, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stops listening and closes all connections."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.append(writer)
        self._peers.put_nowait(Peer(reader, writer, self.context))


@asynccontextmanager
async def scripted_server(
    context: ssl.SSLContext, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[ScriptedServer]:
    """A listening server, closed at the end."""
    server = ScriptedServer(host, port, context)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def startup_answer(*, interval_s: int = 60, host_id: int = 0) -> StartupAnswer:
    """The answer as it begins every connection (agent-lifecycle.md 2.4)."""
    return StartupAnswer(host_id=host_id, host_uuid="", host_name="", ping_interval=interval_s)


def _fields(header: Header) -> dict[str, int]:
    names = ("flags", "sequence", "management_server_id", "agent_id", "via")
    return {name: getattr(header, name) for name in names}
