# SPDX-License-Identifier: Apache-2.0
"""An agent in small, on the wire core alone, that behaves or misbehaves as a test wants."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from ssvm_agent.link.tls import TlsChannel, pin_version
from ssvm_agent.wire.connection import BadFrame, Connection, RequestReceived, Role
from ssvm_agent.wire.frame import Frame, encode_frame
from ssvm_agent.wire.header import Flag, Header

API = "com.cloud.agent.api."
Answers = list[dict[str, Any]]
ENVELOPE = {"contextMap": {}, "wait": 0, "bypassHostMaintenance": False}

STARTUP: dict[str, Any] = {
    "type": "SecondaryStorage",
    "dataCenter": "1",
    "pod": "1",
    "guid": "s-1-VM-NfsSecondaryStorageResource",
    "name": "s-1-VM",
    "version": "4.22.0.0",
    "iqn": "NoIqn",
    "publicIpAddress": "203.0.113.21",
    "privateIpAddress": "10.1.34.20",
    "resourceName": "NfsSecondaryStorageResource",
    "arch": "x86_64",
    **ENVELOPE,
}


def answer_to(name: str, fields: dict[str, Any]) -> Answers:
    """A good answer to one command."""
    good: dict[str, tuple[str, dict[str, Any]]] = {
        "SecStorageSetupCommand": (API + "SecStorageSetupAnswer", {"_dir": "directory"}),
        "ReadyCommand": (API + "ReadyAnswer", {}),
        "CheckHealthCommand": (API + "CheckHealthAnswer", {}),
        "ListTemplateCommand": (API + "storage.ListTemplateAnswer", {"templateInfos": {}}),
        "ListVolumeCommand": (API + "storage.ListVolumeAnswer", {"templateInfos": {}}),
        "SetupCertificateCommand": ("org.apache.cloudstack.ca.SetupCertificateAnswer", {}),
    }
    class_name, more = good.get(name, (API + "Answer", {}))
    return [{class_name: {**more, "result": True, **ENVELOPE}}]


@dataclass(slots=True)
class FakeAgent:
    """One connection to a management server.

    Attributes:
        answer: Makes the answers to a command: simple class name and fields; None answers nothing.
        mangle: Changes the header of a response before it is sent.
        requests: Simple names of the commands received, in order.
        answers: Answers of the server to our own requests, by sequence.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    channel: TlsChannel
    answer: Callable[[str, dict[str, Any]], Answers | None] = answer_to
    mangle: Callable[[Header], Header] = lambda header: header
    requests: list[tuple[str, dict[str, Any], Header]] = field(default_factory=list)
    answers: dict[int, list[Answers]] = field(default_factory=dict)
    bad_frames: list[BadFrame] = field(default_factory=list)
    connection: Connection = field(default_factory=lambda: Connection(Role.AGENT))
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    at_eof: bool = False
    host_id: int = -1

    def names(self) -> list[str]:
        """Simple names of the commands received."""
        return [name for name, _, _ in self.requests]

    async def shake_hands(self) -> None:
        """The TLS handshake."""
        self.channel.start()
        self.writer.write(self.channel.take_output())
        while not self.channel.is_established:
            data = await self.reader.read(65536)
            if not data:
                raise ConnectionError("the server closed in the handshake")
            self.channel.receive(data)
            self.writer.write(self.channel.take_output())

    async def run(self) -> None:
        """Answer commands until the link ends."""
        while data := await self.reader.read(65536):
            for plaintext in self.channel.receive(data):
                for event in self.connection.receive_plaintext(plaintext.data, last=plaintext.last):
                    if isinstance(event, BadFrame):
                        self.bad_frames.append(event)
                    elif isinstance(event, RequestReceived):
                        self._command(event.header, json.loads(event.content))
                    else:
                        received = self.answers.setdefault(event.header.sequence, [])
                        received.append(json.loads(event.content))
            self.changed.set()
        self.at_eof = True
        self.changed.set()

    def _command(self, header: Header, commands: Answers) -> None:
        answers: Answers | None = []
        for element in commands:
            class_name, fields = next(iter(element.items()))
            name = class_name.rpartition(".")[2]
            self.requests.append((name, fields, header))
            if name == "ReadyCommand":
                self.host_id = fields.get("hostId", -1)
            one = self.answer(name, fields)
            answers = None if one is None or answers is None else answers + one
        if answers is not None and header.sequence != -1:
            self.respond(header, answers)

    def respond(self, request: Header, answers: Answers) -> None:
        """Send a response."""
        content = json.dumps(answers).encode()
        frame = Frame(header=self.mangle(request.response()), content=content)
        self.writer.write(self.channel.send(encode_frame(frame)))

    def request(self, class_name: str, fields: dict[str, Any], flags: int) -> int:
        """Send a request of our own and return its sequence."""
        sequence = self.connection.sequences.take()
        content = json.dumps([{class_name: fields}]).encode()
        frame = self.connection.send_request(
            content, flags=flags, agent_id=self.host_id, sequence=sequence
        )
        self.writer.write(self.channel.send(frame))
        return sequence

    def startup(self, **changes: Any) -> int:
        """Send a Startup; a change to None leaves the field out."""
        fields = {key: value for key, value in (STARTUP | changes).items() if value is not None}
        return self.request(API + "StartupSecondaryStorageCommand", fields, int(Flag.IN_SEQUENCE))

    def ping(self, host_id: int | None = None) -> int:
        """Send a ping."""
        fields = {"changes": {}, "hostType": "Storage", "outOfBand": False, "commandInfos": []}
        named = {"hostId": self.host_id if host_id is None else host_id}
        return self.request(
            API + "PingStorageCommand", fields | named | ENVELOPE, int(Flag.STOP_ON_ERROR)
        )

    async def until(self, predicate: Callable[[], bool], deadline_s: float = 10) -> None:
        """Wait for something to become true after a message or the end of the link."""
        async with asyncio.timeout(deadline_s):
            while not predicate():
                self.changed.clear()
                await self.changed.wait()


def anonymous_context() -> ssl.SSLContext:
    """TLS without a certificate of ours and without checking the server's."""
    context = pin_version(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@asynccontextmanager
async def fake_agent(
    port: int,
    *,
    context: ssl.SSLContext | None = None,
    answer: Callable[[str, dict[str, Any]], Answers | None] = answer_to,
    mangle: Callable[[Header], Header] = lambda header: header,
    startup: dict[str, Any] | None = None,
    address: str = "127.0.0.1",
) -> AsyncIterator[FakeAgent]:
    """Connect and shake hands; send a Startup with these changes unless ``startup`` is None."""
    reader, writer = await asyncio.open_connection(address, port)
    agent = FakeAgent(reader, writer, TlsChannel(context or anonymous_context()), answer, mangle)
    try:
        await agent.shake_hands()
    except BaseException:
        writer.transport.abort()
        raise
    task = asyncio.create_task(agent.run())
    try:
        if startup is not None:
            agent.startup(**startup)
        yield agent
    finally:
        task.cancel()
        await asyncio.wait([task])
        writer.close()
