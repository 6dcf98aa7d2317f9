# SPDX-License-Identifier: Apache-2.0
"""The protocol of one link as a machine without I/O, for either side of it.

Plaintext goes in, events come out; ``send_*`` returns the bytes of a frame to be encrypted. The
machine keeps the numbers of its own requests, gathers the pieces of a frame, and watches who may
speak when. It does not know what a command is, and it reads no clock.

Theory of operation
    A link begins ``NEW``. The agent speaks first, with its Startup; the server is silent until it
    has read a frame (wire-protocol.md 1). From the agent's first request on the link is ``OPEN``
    for both. A frame that cannot be understood becomes a :class:`BadFrame` event and the link goes
    on, since the framing around it is intact. Anything worse raises ``RemoteProtocolError`` and
    leaves the machine ``FAILED``; there is no way back from there, nor from ``CLOSED``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from ssvm_agent.wire.errors import FrameError, LocalProtocolError, RemoteProtocolError
from ssvm_agent.wire.frame import Frame, decode_content, encode_frame
from ssvm_agent.wire.header import FROM_SERVER_BIT, NO_ID, REQUEST_BIT, Header, decode_header
from ssvm_agent.wire.limits import DEFAULT_LIMITS, Limits


class Role(Enum):
    """Which side of the link we are."""

    AGENT = auto()
    MANAGEMENT_SERVER = auto()


class State(Enum):
    """Where a link stands."""

    NEW = auto()
    OPEN = auto()
    CLOSED = auto()
    FAILED = auto()


class _Step(Enum):
    SEND_REQUEST = "send a request"
    SEND_RESPONSE = "send a response"
    RECEIVE = "receive a frame"
    CLOSE = "close"


# What is allowed where, and what it leads to. Whatever is missing here is a protocol error: ours
# when sending, the peer's when receiving.
_TRANSITIONS: Final[dict[tuple[Role, State, _Step], State]] = {
    (Role.AGENT, State.NEW, _Step.SEND_REQUEST): State.OPEN,
    (Role.MANAGEMENT_SERVER, State.NEW, _Step.RECEIVE): State.OPEN,
    **{
        (role, State.OPEN, step): State.OPEN
        for role in Role
        for step in (_Step.SEND_REQUEST, _Step.SEND_RESPONSE, _Step.RECEIVE)
    },
    **{(role, state, _Step.CLOSE): State.CLOSED for role in Role for state in State},
}


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """The peer wants commands run; the answer repeats this header (:meth:`Header.response`)."""

    header: Header
    content: bytes


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """The peer answers one of our requests; match it by sequence."""

    header: Header
    content: bytes


@dataclass(frozen=True, slots=True)
class BadFrame:
    """A frame was dropped; ``header`` is there when at least that could be read."""

    header: Header | None
    error: FrameError


Event = RequestReceived | ResponseReceived | BadFrame


class SequenceCounter:
    """Numbers of our own requests; the agent keeps one over all its links (wire-protocol.md 2)."""

    __slots__ = ("_next",)

    def __init__(self, first: int = 0) -> None:
        self._next = first

    def take(self) -> int:
        """The next number."""
        number = self._next
        self._next = number + 1
        return number


class Connection:
    """One side of one link.

    Args:
        role: Which side we are; it decides who speaks first and the from-server flag.
        limits: Caps on what the peer may send.
        sequences: The counter of our requests; given when it outlives the link.
    """

    def __init__(
        self,
        role: Role,
        *,
        limits: Limits = DEFAULT_LIMITS,
        sequences: SequenceCounter | None = None,
    ) -> None:
        self.role = role
        self.sequences = sequences or SequenceCounter()
        self._limits = limits
        self._state = State.NEW
        self._pieces: list[bytes] = []
        self._frame_bytes = 0
        self._chunks = 0

    @property
    def state(self) -> State:
        """Where the link stands."""
        return self._state

    @property
    def is_mid_frame(self) -> bool:
        """Whether the beginning of a frame has come and its end has not."""
        return self._chunks > 0

    # --- receiving -----------------------------------------------------------------------------

    def receive_plaintext(self, data: bytes, *, last: bool) -> list[Event]:
        """Takes the decrypted content of one chunk.

        Args:
            data: Plaintext, of any length, zero included.
            last: Whether this chunk ends its frame.

        Returns:
            At most one event; none while the frame is incomplete.

        Raises:
            RemoteProtocolError: The frame exceeds a cap, or the peer speaks out of turn.
            LocalProtocolError: The link has ended before.
        """
        self._refuse_if_over()
        if not last:
            self._collect(data)
            return []
        if self._pieces or self._chunks:
            self._collect(data)
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._frame_bytes = self._chunks = 0
        elif len(data) > self._limits.max_frame_bytes:
            raise self._fail("A frame is over the size limit.")
        return [self._receive_frame(data)]

    def receive_eof(self) -> None:
        """The peer closed the stream.

        Raises:
            RemoteProtocolError: It did so in the middle of a frame.
        """
        self._refuse_if_over()
        if self.is_mid_frame:
            raise self._fail("The peer closed the link in the middle of a message.")
        self.close()

    def _collect(self, data: bytes) -> None:
        self._chunks += 1
        self._frame_bytes += len(data)
        if self._frame_bytes > self._limits.max_frame_bytes:
            raise self._fail("A frame is over the size limit.")
        if self._chunks > self._limits.max_chunks:
            raise self._fail("A frame comes in too many chunks.")
        if data:
            self._pieces.append(data)

    def _receive_frame(self, data: bytes) -> Event:
        self._step(_Step.RECEIVE)
        header: Header | None = None
        try:
            header, offset = decode_header(data)
            content = decode_content(header, data[offset:], limits=self._limits)
        except FrameError as error:
            return BadFrame(header, error)
        if header.is_request:
            return RequestReceived(header, content)
        return ResponseReceived(header, content)

    # --- sending -------------------------------------------------------------------------------

    def send_request(
        self,
        content: bytes,
        *,
        flags: int,
        agent_id: int = NO_ID,
        management_server_id: int = NO_ID,
        via: int | None = None,
        sequence: int | None = None,
    ) -> bytes:
        """The frame of a request.

        Args:
            content: The JSON array of commands.
            flags: Stop-on-error, in-sequence, control; request and from-server are set by us.
            agent_id: The host id, -1 while there is none.
            management_server_id: The node id; -1 from an agent.
            via: The agent id unless given.
            sequence: Taken from the counter unless given (the shutdown notice uses -1).
        """
        self._step(_Step.SEND_REQUEST)
        flags |= REQUEST_BIT
        if self.role is Role.MANAGEMENT_SERVER:
            flags |= FROM_SERVER_BIT
        header = Header(
            flags=flags,
            sequence=self.sequences.take() if sequence is None else sequence,
            management_server_id=management_server_id,
            agent_id=agent_id,
            via=agent_id if via is None else via,
        )
        return encode_frame(Frame(header=header, content=content), limits=self._limits)

    def send_response(self, request: Header, content: bytes) -> bytes:
        """The frame of the response to a request received on this link."""
        self._step(_Step.SEND_RESPONSE)
        if not request.is_request:
            raise LocalProtocolError("A response is not answered.")
        return encode_frame(Frame(header=request.response(), content=content), limits=self._limits)

    def close(self) -> None:
        """The link ended; nothing may be sent or received any more."""
        self._step(_Step.CLOSE)

    # --- states --------------------------------------------------------------------------------

    def _step(self, step: _Step) -> None:
        following = _TRANSITIONS.get((self.role, self._state, step))
        if following is None:
            if step is _Step.RECEIVE:
                raise self._fail("The management server spoke before it was spoken to.")
            raise LocalProtocolError(f"Cannot {step.value}: the link is {self._state.name}.")
        self._state = following

    def _refuse_if_over(self) -> None:
        if self._state in (State.CLOSED, State.FAILED):
            raise LocalProtocolError(f"The link is {self._state.name}; nothing is read from it.")

    def _fail(self, message: str) -> RemoteProtocolError:
        self._state = State.FAILED
        self._pieces.clear()
        return RemoteProtocolError(message)
