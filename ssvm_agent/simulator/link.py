# SPDX-License-Identifier: Apache-2.0
"""One accepted connection: socket, TLS and frames, and the ways to misuse them for a test.

It moves bytes and knows who the peer is; what the frames mean is the server's business.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

from ssvm_agent.link.errors import TlsError
from ssvm_agent.link.tls import TlsChannel
from ssvm_agent.simulator.authority import names_in
from ssvm_agent.wire.connection import Connection, Event, Role
from ssvm_agent.wire.errors import RemoteProtocolError
from ssvm_agent.wire.frame import Frame, encode_frame
from ssvm_agent.wire.header import Header

_READ_BYTES = 1 << 16


class AgentLink:
    """The server's side of one connection.

    Args:
        reader: The accepted socket, raw.
        writer: The same.
        context: TLS 1.2, with the CA's own certificate.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._channel = TlsChannel(context, server_side=True)
        self._connection = Connection(Role.MANAGEMENT_SERVER)
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._stranded: list[bytes] = []
        self.own_address = str(writer.get_extra_info("sockname")[0])
        self.peer_address = str(writer.get_extra_info("peername")[0])
        self.requests_received = 0

    @property
    def peer_names(self) -> frozenset[str] | None:
        """Alternative names of the client certificate; None when it showed none."""
        certificate = self._channel.peer_certificate()
        return None if certificate is None else names_in(certificate)

    @property
    def is_closed(self) -> bool:
        """Whether we have closed it."""
        return self._writer.is_closing()

    async def shake_hands(self, deadline_s: float) -> None:
        """The TLS handshake.

        Raises:
            TlsError: The peer's part of it is wrong, or it went away.
            TimeoutError: It took too long.
        """
        async with asyncio.timeout(deadline_s):
            while not self._channel.is_established:
                try:
                    data = await self._reader.read(_READ_BYTES)
                except OSError:
                    data = b""
                if not data:
                    raise TlsError("The peer went away in the TLS handshake.")
                try:
                    early = self._channel.receive(data)
                finally:
                    self._writer.write(self._channel.take_output())
                if early:
                    raise TlsError("The peer sent data together with its last handshake message.")

    async def events(self) -> AsyncIterator[Event]:
        """What the peer says, until it or we close.

        Raises:
            RemoteProtocolError: The framing or the encryption is broken.
        """
        while data := await self._read():
            for plaintext in self._channel.receive(data):
                for event in self._connection.receive_plaintext(
                    plaintext.data, last=plaintext.last
                ):
                    yield event
        if self._connection.is_mid_frame or self._channel.is_mid_chunk:
            raise RemoteProtocolError("The peer closed in the middle of a message.")

    async def _read(self) -> bytes:
        await self._thawed.wait()
        try:
            data = await self._reader.read(_READ_BYTES)
        except OSError:
            return b""
        await self._thawed.wait()
        return data

    def send_request(self, header: Header, content: bytes) -> None:
        """Send a request with exactly this header (the flags of a server are added)."""
        frame = self._connection.send_request(
            content,
            flags=header.flags,
            agent_id=header.agent_id,
            management_server_id=header.management_server_id,
            via=header.via,
            sequence=header.sequence,
        )
        self._write(frame)

    def send_response(self, request: Header, content: bytes) -> None:
        """Answer a request of the agent."""
        self._write(self._connection.send_response(request, content))

    def send_frame(self, header: Header, content: bytes) -> None:
        """Send a frame as it is given, right or wrong."""
        self._write(encode_frame(Frame(header=header, content=content)))

    def send_plaintext(self, data: bytes) -> None:
        """Send bytes through the encryption that need not be a frame at all."""
        self._write(data)

    def send_raw(self, data: bytes) -> None:
        """Send bytes on the socket, past framing and encryption."""
        self._writer.write(data)

    def freeze(self) -> None:
        """Stop reading and writing and keep the socket open, as a half-open link does."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Go on after :meth:`freeze`; what was to be sent goes out now."""
        self._thawed.set()
        stranded, self._stranded = self._stranded, []
        for data in stranded:
            self._writer.write(data)

    def close(self) -> None:
        """Close the socket, without a word, as a server does."""
        self._thawed.set()
        self._writer.close()

    def abort(self) -> None:
        """Reset the connection."""
        self._thawed.set()
        self._writer.transport.abort()

    def _write(self, frame: bytes) -> None:
        if self.is_closed:
            return
        data = self._channel.send(frame)
        if self._thawed.is_set():
            self._writer.write(data)
        else:
            self._stranded.append(data)
