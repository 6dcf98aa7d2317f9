# SPDX-License-Identifier: Apache-2.0
"""One link from the Startup to its end: requests answered, pings sent, the server's words heard.

It turns protocol events into calls of the request sink and of the owner (the supervisor), and owns
all that dies with the link. It does not know how links are opened or which server comes next.

Theory of operation
    Requests are carried out side by side, each in a task of its own; the order is the server's
    business, which holds back what must not overlap (agent-lifecycle.md 3.4). An answer can only go
    out on the link its request came from, because the task that has it belongs to this object. When
    the link ends these tasks are cancelled: the sink drops what it has not begun and finishes the
    rest by itself. Too many requests, or too much content in them, stop the reading until some are
    answered, so the server feels it and nothing is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar
from typing import Final, Protocol

from ssvm_agent import log
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.tasks import BackgroundTasks, TaskHandle
from ssvm_agent.link.errors import LinkError, LinkLostError, RefusedError, Step
from ssvm_agent.link.keepalive import Keepalive
from ssvm_agent.link.transport import LinkTransport
from ssvm_agent.messages.agent import (
    PingAnswer,
    PingStorageCommand,
    ShutdownCommand,
    StartupAnswer,
    StartupSecondaryStorageCommand,
)
from ssvm_agent.messages.base import Answer, Command
from ssvm_agent.messages.envelope import (
    Undecodable,
    decode_answers,
    encode_answers,
    encode_commands,
)
from ssvm_agent.wire.connection import (
    BadFrame,
    Connection,
    Event,
    RequestReceived,
    ResponseReceived,
    Role,
    SequenceCounter,
)
from ssvm_agent.wire.errors import LocalProtocolError
from ssvm_agent.wire.header import NO_ID, Flag, Header

_logger: Final = logging.getLogger(__name__)

# Compat: agent-lifecycle.md 2.7, the server knows an SSVM's pings by this host type.
_PING_HOST_TYPE: Final = "Storage"
# Compat: agent-lifecycle.md 3.6 and 5.4, any other reason leaves the host's state as it is.
STOP_REASON: Final = "sig.kill"
_UNNUMBERED: Final = -1
# The id in pings until Ready: a real one would be answered with "send Startup" (0, fact 4).
_UNKNOWN_HOST: Final = 0

# A server keeps one in-sequence request under way and a few dozen others; a burst of downloads is
# one each. More than this is held back on the socket, as is more content than the largest message.
_MAX_REQUESTS: Final = 1024
_MAX_REQUEST_BYTES: Final = 64 << 20

# A ping that left within this time of Ready may still be told that the host is not up.
_READY_GRACE_S: Final = 10.0


class RequestSink(Protocol):
    """Who carries out requests."""

    async def execute(self, content: bytes, *, stop_on_error: bool) -> bytes | None:
        """The content of the response; None to answer nothing.

        Cancelled when the link is lost: what has not begun is dropped, what has is finished.
        """
        ...


class SessionOwner(Protocol):
    """Who is told what the server says of the link itself."""

    def startup_accepted(self, answer: StartupAnswer) -> None:
        """The server took the Startup; may come twice, in either order (2.4)."""
        ...

    def avoid_servers(self, servers: list[str]) -> None:
        """The servers that a PingAnswer asks to avoid."""
        ...


class StartupTimeoutError(LinkError):
    """No StartupAnswer in time; the next wait is twice as long (agent-lifecycle.md 2.3)."""

    code = "link_startup_timeout"
    default_step = Step.STARTUP


ORIGIN: Final[ContextVar[Session | None]] = ContextVar("link_session", default=None)
"""The session whose request is being carried out in this context."""


class Session:
    """One link.

    Args:
        sink: Carries out requests.
        owner: Hears of the link's own affairs.
        clock: For pings.
        sequences: Numbers of our requests, which go on from link to link.
        missing_limit: Unanswered pings after which the link is dead.
    """

    def __init__(
        self,
        sink: RequestSink,
        owner: SessionOwner,
        *,
        clock: Clock,
        sequences: SequenceCounter,
        missing_limit: int,
    ) -> None:
        self.connection = Connection(Role.AGENT, sequences=sequences)
        self.is_ready = False
        self._sink = sink
        self._owner = owner
        self._clock = clock
        self._missing_limit = missing_limit
        self._transport: LinkTransport | None = None
        self._tasks = BackgroundTasks()
        self._keepalive: Keepalive | None = None
        self._pings: TaskHandle | None = None
        self._accepted = asyncio.Event()
        self._startup_sequence: int | None = None
        self._host_id = _UNKNOWN_HOST
        self._ready_at = 0.0
        self._last_ping_at = 0.0
        self._requests = 0
        self._request_bytes = 0
        self._has_told_of_length = False

    # --- for the supervisor --------------------------------------------------------------------

    @property
    def requests(self) -> int:
        """How many requests are being carried out."""
        return self._requests

    async def run(
        self,
        transport: LinkTransport,
        startup: StartupSecondaryStorageCommand,
        *,
        host_id: int | None,
        startup_deadline_s: float,
    ) -> LinkError:
        """Sends the Startup and stays until the link ends.

        Args:
            transport: A link whose handshake is done and whose server is believed.
            startup: The Startup command.
            host_id: The persisted host id, for the header.
            startup_deadline_s: For the StartupAnswer.

        Returns:
            What ended the link: a :class:`StartupTimeoutError`, a :class:`RefusedError`, …
        """
        self._transport = transport
        async with self._tasks:
            self._startup_sequence = self.connection.sequences.take()
            self._request(
                startup,
                flags=Flag.IN_SEQUENCE,
                agent_id=NO_ID if host_id is None else host_id,
                sequence=self._startup_sequence,
            )
            self._tasks.start(self._watch_startup(startup_deadline_s), name="startup")
            error = await transport.wait_ended()
        return error if self.is_ready else self._before_ready(error)

    def ready(self, host_id: int | None) -> None:
        """Ready came on this link: ping with the true id from now on."""
        if host_id is not None:
            self._host_id = host_id
        self._ready_at = self._clock.monotonic()
        self.is_ready = True
        if self._keepalive is not None:
            self._keepalive.start_counting()

    def end(self, error: LinkError) -> None:
        """Closes the link for a reason of our own."""
        if self._transport is not None:
            self._transport.fail(error)

    def stop_pings(self) -> None:
        """The server wants no more pings (agent-lifecycle.md 3.5)."""
        if self._pings is not None:
            self._pings.cancel()

    async def announce_stop(self, pause_s: float) -> None:
        """Sends the shutdown notice and leaves the server some time to read it.

        The link stays open meanwhile, because the server handles a notice and the end of the link
        side by side and would raise an alert if the end came first (wire-protocol.md 6).
        """
        transport = self._transport
        if transport is None or self._startup_sequence is None:
            return
        self._request(
            ShutdownCommand(reason=STOP_REASON),
            flags=Flag.STOP_ON_ERROR | Flag.IN_SEQUENCE,
            agent_id=self._host_id or NO_ID,
            sequence=_UNNUMBERED,
        )
        try:
            async with asyncio.timeout(pause_s):
                await transport.wait_ended()
        except TimeoutError:
            return

    # --- events --------------------------------------------------------------------------------

    def on_event(self, event: Event) -> None:
        """What the protocol machine has read; called in the loop."""
        if self._keepalive is not None:
            self._keepalive.heard()
        match event:
            case RequestReceived(header, content):
                self._take_request(header, content)
            case ResponseReceived(header, content):
                self._take_response(header, content)
            case BadFrame(header, error):
                log.event(_logger, logging.WARNING, "frame refused", reason=error.for_operators())
                if header is not None and header.is_request:
                    self._respond(header, _failure(f"The request cannot be read: {error.message}"))

    def _take_request(self, header: Header, content: bytes) -> None:
        if header.content_length != len(content) and not self._has_told_of_length:
            self._has_told_of_length = True
            log.event(
                _logger, logging.INFO, "request states a wrong length", seq=header.sequence,
                stated=header.content_length, real=len(content),
            )  # fmt: skip
        self._requests += 1
        self._request_bytes += len(content)
        self._tasks.start(
            self._carry_out(header, content),
            name=f"request {header.sequence}",
            on_error=lambda error: self._request_failed(header, error),
        )
        self._hold_or_resume()

    async def _carry_out(self, header: Header, content: bytes) -> None:
        ORIGIN.set(self)
        try:
            with log.context(seq=header.sequence):
                answer = await self._sink.execute(content, stop_on_error=header.stops_on_error)
            if answer is not None and self._transport is not None:
                await self._transport.drain()
                self._respond(header, answer)
        finally:
            self._requests -= 1
            self._request_bytes -= len(content)
            self._hold_or_resume()

    def _request_failed(self, header: Header, error: Exception) -> None:
        if isinstance(error, LinkError):
            return  # The link ended while the answer waited for room; that is told elsewhere.
        _logger.error("a request was not carried out sequence=%d", header.sequence, exc_info=error)
        self._respond(header, _failure("The agent failed to carry out the request."))

    def _take_response(self, header: Header, content: bytes) -> None:
        for answer in decode_answers(content):
            match answer:
                case StartupAnswer() if header.sequence == self._startup_sequence:
                    self._take_startup_answer(answer)
                case PingAnswer():
                    self._take_ping_answer(answer)
                case Undecodable():
                    log.event(
                        _logger, logging.WARNING, "response not understood", reason=answer.reason
                    )
                case _:
                    _logger.debug("response without a use: %s", type(answer).__name__)

    def _take_startup_answer(self, answer: StartupAnswer) -> None:
        if not answer.result:
            reason = answer.details or "no reason given"
            self.end(RefusedError(f"The management server refused the Startup: {reason}"))
            return
        self._accepted.set()
        if self._keepalive is None:
            self._keepalive = Keepalive(
                self._clock,
                interval_s=answer.ping_interval,
                missing_limit=self._missing_limit,
                send=self._ping,
            )
            self._pings = self._tasks.start(self._ping_until_dead(self._keepalive), name="pings")
        else:
            self._keepalive.set_interval(answer.ping_interval)
        self._owner.startup_accepted(answer)

    def _take_ping_answer(self, answer: PingAnswer) -> None:
        if self._keepalive is not None:
            self._keepalive.start_counting()
        self._owner.avoid_servers(answer.avoid_ms_list or [])
        if answer.send_startup and self._means_send_startup():
            # Differs: agent-lifecycle.md 5.4 note, a Startup on a live link ends it anyway.
            self.end(LinkLostError("The management server asks for a new Startup."))

    def _means_send_startup(self) -> bool:
        """Whether a "send Startup" is meant, and not about the host row still being set up."""
        return self.is_ready and self._last_ping_at - self._ready_at > _READY_GRACE_S

    # --- sending -------------------------------------------------------------------------------

    def _request(
        self, command: Command, *, flags: int, agent_id: int, sequence: int | None = None
    ) -> None:
        transport = self._transport
        if transport is None or transport.error is not None:
            return
        content = encode_commands([command])
        transport.send(
            self.connection.send_request(content, flags=flags, agent_id=agent_id, sequence=sequence)
        )

    def _respond(self, request: Header, content: bytes) -> None:
        transport = self._transport
        if transport is None or transport.error is not None:
            return
        try:
            frame = self.connection.send_response(request, content)
        except LocalProtocolError as error:
            frame = self.connection.send_response(request, _failure(error.message))
        transport.send(frame)

    def _ping(self) -> None:
        transport, keepalive = self._transport, self._keepalive
        if transport is not None and keepalive is not None and not transport.is_reading:
            keepalive.heard()  # We hold the server back, so its silence means nothing.
        self._last_ping_at = self._clock.monotonic()
        self._request(
            PingStorageCommand(host_type=_PING_HOST_TYPE, host_id=self._host_id),
            flags=Flag.STOP_ON_ERROR,
            agent_id=self._host_id,
        )

    # --- tasks of the link ---------------------------------------------------------------------

    async def _watch_startup(self, deadline_s: float) -> None:
        try:
            async with asyncio.timeout(deadline_s):
                await self._accepted.wait()
        except TimeoutError:
            self.end(
                StartupTimeoutError(
                    f"The management server did not answer the Startup within {deadline_s:g} s."
                )
            )

    async def _ping_until_dead(self, keepalive: Keepalive) -> None:
        try:
            await keepalive.run()
        except LinkLostError as error:
            self.end(error)

    def _before_ready(self, error: LinkError) -> LinkError:
        """The error with the step at which the server gave us up, when that is all it says."""
        if not isinstance(error, LinkLostError):
            return error
        if not self._accepted.is_set():
            where, step = "before it answered the Startup", Step.STARTUP
        else:
            where, step = "while it set the agent up, before Ready", Step.READY
        return LinkLostError(f"{error.message[:-1]} {where}.", step=step, detail=error.detail)

    def _hold_or_resume(self) -> None:
        if self._transport is None:
            return
        is_full = self._requests >= _MAX_REQUESTS or self._request_bytes >= _MAX_REQUEST_BYTES
        self._transport.hold_reading(is_full)


def _failure(details: str) -> bytes:
    return encode_answers([Answer(result=False, details=details)])
