# SPDX-License-Identifier: Apache-2.0
"""The fixed head of a frame: version, flags, sequence, length and the three routing ids.

Pure: bytes in, values out (wire-protocol.md 2). It knows nothing of the content behind the head.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from enum import IntFlag
from typing import Final

from ssvm_agent.wire.errors import FrameError

HEADER_SIZE: Final = 40
SHORT_HEADER_SIZE: Final = 32  # version byte 2: no via, which then equals the agent id

VERSION: Final = 0  # "version 1": the wire carries the ordinal, not the number
SHORT_VERSION: Final = 2

NO_ID: Final = -1

# version, reserved, flags, sequence, content length, management server id, agent id [, via];
# all signed except the flags, big-endian.
_LONG = struct.Struct(">bbHqiqqq")
_SHORT = struct.Struct(">bbHqiqq")


class Flag(IntFlag):
    """Bits of the flags field; other bits are ignored when read and never written."""

    REQUEST = 0x01
    STOP_ON_ERROR = 0x02
    IN_SEQUENCE = 0x04
    FROM_SERVER = 0x20
    CONTROL = 0x40
    COMPRESSED = 0x80


# Plain integers: arithmetic on enum members is far slower, and every frame takes this path.
REQUEST_BIT: Final = int(Flag.REQUEST)
COMPRESSED_BIT: Final = int(Flag.COMPRESSED)
FROM_SERVER_BIT: Final = int(Flag.FROM_SERVER)
_ECHOED_BITS: Final = int(Flag.STOP_ON_ERROR | Flag.IN_SEQUENCE)
_FLAG_BITS: Final = 0xFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A frame's head.

    Attributes:
        flags: Bits of :class:`Flag`; undefined bits are kept as read.
        sequence: Signed 64 bits; a response repeats its request's.
        management_server_id: Node id of the server a request came from; opaque, echoed exactly.
        agent_id: Host id of the agent; the server matches responses to a host by it.
        via: The host a message passes through; the agent id in all ordinary traffic.
        version: The version byte; 0 is written, 0 and 2 are read.
        reserved: Second byte; written 0, ignored when read.
        content_length: Length of the uncompressed content in bytes, as the header states it.
    """

    flags: int
    sequence: int
    management_server_id: int = NO_ID
    agent_id: int = NO_ID
    via: int = NO_ID
    version: int = VERSION
    reserved: int = 0
    content_length: int = 0

    @property
    def is_request(self) -> bool:
        """Whether the frame is a request rather than a response."""
        return bool(self.flags & REQUEST_BIT)

    @property
    def is_compressed(self) -> bool:
        """Whether the content is gzip; the flag decides, not the size."""
        return bool(self.flags & COMPRESSED_BIT)

    @property
    def stops_on_error(self) -> bool:
        """Whether commands behind a failed one are to be left out."""
        return bool(self.flags & Flag.STOP_ON_ERROR)

    @property
    def is_in_sequence(self) -> bool:
        """Whether the server holds back its next in-sequence request until this one's answer."""
        return bool(self.flags & Flag.IN_SEQUENCE)

    def flag_names(self) -> list[str]:
        """The defined flags that are set, by lower-case name, lowest bit first."""
        return [flag.name.lower() for flag in Flag if self.flags & flag and flag.name is not None]

    def response_flags(self) -> int:
        """The flags of a response to this request (wire-protocol.md 0.6 and 2).

        Stop-on-error and in-sequence are repeated; from-server is the opposite of the request's.
        """
        return (self.flags & _ECHOED_BITS) | (~self.flags & FROM_SERVER_BIT)

    def response(self) -> Header:
        """The head of a response: the ids and the sequence repeated, version always 0."""
        return replace(
            self, flags=self.response_flags(), version=VERSION, reserved=0, content_length=0
        )


def encode_header(header: Header) -> bytes:
    """The 40 bytes of a head; version 0 whatever the header says, since nothing else is sent."""
    return _LONG.pack(
        VERSION,
        0,
        header.flags & _FLAG_BITS,
        header.sequence,
        header.content_length,
        header.management_server_id,
        header.agent_id,
        header.via,
    )


def decode_header(data: bytes) -> tuple[Header, int]:
    """Reads the head at the start of a frame.

    Returns:
        The header and the offset at which the content begins.

    Raises:
        FrameError: The frame is shorter than its head or of a version nobody sends.
    """
    if not data:
        raise FrameError("An empty frame came from the peer.")
    version = data[0]
    if version == VERSION and len(data) >= HEADER_SIZE:
        _, reserved, flags, sequence, length, server, agent, via = _LONG.unpack_from(data)
        size = HEADER_SIZE
    elif version == SHORT_VERSION and len(data) >= SHORT_HEADER_SIZE:
        _, reserved, flags, sequence, length, server, agent = _SHORT.unpack_from(data)
        via, size = agent, SHORT_HEADER_SIZE
    elif version in (VERSION, SHORT_VERSION):
        raise FrameError(f"A frame of {len(data)} bytes is shorter than its header.")
    else:
        raise FrameError(f"A frame has the unsupported version byte {version}.")
    header = Header(
        flags=flags,
        sequence=sequence,
        management_server_id=server,
        agent_id=agent,
        via=via,
        version=version,
        reserved=reserved,
        content_length=length,
    )
    return header, size
