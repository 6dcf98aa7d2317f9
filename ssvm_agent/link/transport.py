# SPDX-License-Identifier: Apache-2.0
"""The socket of one link: bytes in, protocol events out, frames in, bytes out.

It joins asyncio's callbacks, the TLS channel and the protocol machine, and bounds what the peer can
make us wait for or hold. Commands and answers are unknown here.

Theory of operation
    asyncio calls ``data_received``; whole frames become events and are handed to ``on_event`` in
    the same call, so a short request costs no extra trip through the loop. The first thing that
    goes wrong is kept in ``error`` and ends the link; everybody who waits on this object then gets
    that error. A frame is written in one call, so frames never mix.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Final, cast

from ssvm_agent.errors import AgentError
from ssvm_agent.link.errors import LinkError, LinkLostError, Step, TlsError
from ssvm_agent.link.tls import TlsChannel
from ssvm_agent.wire.connection import Connection, Event

# From the first byte of a message to its last. The largest message is 64 MiB; a peer that needs a
# minute for it on a data centre's network is not alive (wire-protocol.md 11).
MESSAGE_DEADLINE_S: Final = 60.0

# How long the peer may leave our data unread before the link counts as dead.
WRITE_DEADLINE_S: Final = 60.0

# Answers wait for room beyond this much unsent data.
_HIGH_WATER_BYTES: Final = 1 << 20


class LinkTransport(asyncio.Protocol):
    """One connected link.

    Args:
        context: For the TLS client.
        connection: The protocol machine of the agent's side.
        on_event: Called with each event, in the loop; it must not block.
        message_deadline_s: See :data:`MESSAGE_DEADLINE_S`.
        write_deadline_s: See :data:`WRITE_DEADLINE_S`.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        connection: Connection,
        on_event: Callable[[Event], None],
        *,
        message_deadline_s: float,
        write_deadline_s: float,
    ) -> None:
        self.error: LinkError | None = None
        self._channel = TlsChannel(context)
        self._connection = connection
        self._on_event = on_event
        self._message_deadline_s = message_deadline_s
        self._write_deadline_s = write_deadline_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._established = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = asyncio.Event()
        self._message_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    @classmethod
    async def open(
        cls,
        link: socket.socket,
        context: ssl.SSLContext,
        connection: Connection,
        on_event: Callable[[Event], None],
        *,
        handshake_deadline_s: float,
        message_deadline_s: float = MESSAGE_DEADLINE_S,
        write_deadline_s: float = WRITE_DEADLINE_S,
    ) -> LinkTransport:
        """Takes over a connected socket and does the TLS handshake.

        Raises:
            TlsError: The handshake failed or took too long; the socket is closed.
        """
        loop = asyncio.get_running_loop()
        _, self = await loop.create_connection(
            lambda: cls(
                context,
                connection,
                on_event,
                message_deadline_s=message_deadline_s,
                write_deadline_s=write_deadline_s,
            ),
            sock=link,
        )
        try:
            await self._wait_established(handshake_deadline_s)
        except BaseException:
            self.abort()
            raise
        return self

    # --- for the session -----------------------------------------------------------------------

    @property
    def description(self) -> str:
        """Protocol version and cipher suite."""
        return self._channel.description

    @property
    def is_reading(self) -> bool:
        """Whether the peer is listened to, that is, not held back."""
        return self._transport is not None and self._transport.is_reading()

    def peer_certificate(self) -> bytes | None:
        """What the server showed, as DER."""
        return self._channel.peer_certificate()

    def send(self, frame: bytes) -> None:
        """Writes one frame whole; nothing happens when the link has ended."""
        if self.error is None and self._transport is not None:
            self._transport.write(self._channel.send(frame))

    async def drain(self) -> None:
        """Waits until there is room for another frame.

        Raises:
            LinkError: The link ended.
        """
        await self._writable.wait()
        if self.error is not None:
            raise self.error

    async def wait_ended(self) -> LinkError:
        """Waits for the end of the link and says what ended it."""
        await self._ended.wait()
        assert self.error is not None
        return self.error

    def hold_reading(self, hold: bool) -> None:
        """Stops or resumes listening to the peer, which then has to wait."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if hold and transport.is_reading():
            transport.pause_reading()
        elif not hold and not transport.is_reading():
            transport.resume_reading()

    def fail(self, error: LinkError) -> None:
        """Ends the link; what is written already still goes out. The first error counts."""
        if self.error is None:
            self.error = error
            self._release_waiters()
            if self._transport is not None:
                self._transport.close()

    def abort(self) -> None:
        """Closes the socket at once, whatever is still unsent."""
        self.fail(LinkLostError("The agent closed the connection."))
        if self._transport is not None:
            self._transport.abort()

    # --- for asyncio ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ours: begin the handshake."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        self._channel.start()
        self._transport.write(self._channel.take_output())

    def data_received(self, data: bytes) -> None:
        """Bytes came: decrypt them and hand on what they complete."""
        if self.error is not None:
            return
        try:
            self._receive(data)
        except TlsError as error:
            self._write_handshake()  # the alert, so that the peer's log tells the reason too
            self.fail(error)
        except AgentError as error:
            step = Step.READY if self._channel.is_established else Step.TLS
            self.fail(LinkLostError(error.message, step=step, detail=error.detail))

    def eof_received(self) -> bool:
        """The peer closed its direction; there is no half-closed link."""
        self.fail(self._explained(None))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        if self.error is None:
            self.fail(self._explained(exc))

    def pause_writing(self) -> None:
        """The peer reads too slowly: hold back answers, and not for ever."""
        self._writable.clear()
        self._write_timer = self._loop.call_later(
            self._write_deadline_s,
            self.fail,
            LinkLostError(f"The management server did not read for {self._write_deadline_s:g} s."),
        )

    def resume_writing(self) -> None:
        """There is room again."""
        self._writable.set()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    # --- inside --------------------------------------------------------------------------------

    async def _wait_established(self, deadline_s: float) -> None:
        try:
            async with asyncio.timeout(deadline_s):
                await self._established.wait()
        except TimeoutError as error:
            raise TlsError(f"The TLS handshake was not done within {deadline_s:g} s.") from error
        if self.error is not None:
            raise self.error

    def _receive(self, data: bytes) -> None:
        channel, connection = self._channel, self._connection
        pieces = channel.receive(data)
        if not self._established.is_set():
            self._write_handshake()
            if channel.is_established:
                self._established.set()
        has_ended_message = False
        for piece in pieces:
            for event in connection.receive_plaintext(piece.data, last=piece.last):
                has_ended_message = True
                self._on_event(event)
                if self.error is not None:
                    return
        self._watch_message(has_ended_message)

    def _write_handshake(self) -> None:
        output = self._channel.take_output()
        if output and self._transport is not None:
            self._transport.write(output)

    def _watch_message(self, has_ended_message: bool) -> None:
        """Keeps the deadline of a message that has begun and not ended."""
        is_open = self._channel.is_mid_chunk or self._connection.is_mid_frame
        if self._message_timer is not None and (has_ended_message or not is_open):
            self._message_timer.cancel()
            self._message_timer = None
        if is_open and self._message_timer is None:
            self._message_timer = self._loop.call_later(
                self._message_deadline_s,
                self.fail,
                LinkLostError(f"A message was not complete within {self._message_deadline_s:g} s."),
            )

    def _release_waiters(self) -> None:
        for timer in (self._message_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        self._connection.close()
        self._established.set()
        self._writable.set()
        self._ended.set()

    def _explained(self, exc: Exception | None) -> LinkError:
        match exc:
            case None:
                what = "closed the connection"
            case OSError(errno=errno.ETIMEDOUT):
                what = "does not answer any more"
            case OSError(errno=errno.ECONNRESET | errno.EPIPE):
                what = "reset the connection"
            case _:
                what = f"is cut off: {exc}"
        if not self._established.is_set():
            return TlsError(f"The management server {what} during the TLS handshake.")
        where = " in the middle of a message" if self._connection.is_mid_frame else ""
        return LinkLostError(f"The management server {what}{where}.")
