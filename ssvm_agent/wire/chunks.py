# SPDX-License-Identifier: Apache-2.0
"""The framing outside TLS: a four-byte head in clear text before each encrypted chunk.

Pure (wire-protocol.md 1.1). The low 16 bits of the head are the length of what follows, bit 16 says
that the frame goes on in the next chunk, the rest is ignored. What a chunk holds is opaque here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from ssvm_agent.wire.errors import LocalProtocolError, RemoteProtocolError

CHUNK_HEADER_SIZE: Final = 4
MAX_CHUNK: Final = 18000  # the peer's reader takes 18000 and closes at 18001
MAX_PLAINTEXT: Final = 16384  # one TLS record holds no more, and a chunk of ours is one record

_MORE: Final = 0x0001_0000
_LENGTH: Final = 0xFFFF
_HEAD = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk: its encrypted payload and whether the frame goes on in the next."""

    payload: bytes
    more: bool


def chunk_header(length: int, more: bool) -> bytes:
    """The four bytes before a chunk of ``length`` encrypted bytes.

    Raises:
        LocalProtocolError: The chunk is longer than the peer reads.
    """
    if not 0 <= length <= MAX_CHUNK:
        raise LocalProtocolError(f"A chunk of {length} bytes cannot be sent.")
    return _HEAD.pack(length | (_MORE if more else 0))


class ChunkReader:
    """Cuts a byte stream into chunks; the input may be split anywhere."""

    __slots__ = ("_broken", "_buffer")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._broken = False

    @property
    def pending_bytes(self) -> int:
        """How many bytes of an unfinished chunk are held; never more than one whole chunk."""
        return len(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> list[Chunk]:
        """Takes the next piece of the stream and returns the chunks it completes.

        Raises:
            RemoteProtocolError: A length over the limit (or negative as a signed 16-bit number).
        """
        if self._broken:
            raise LocalProtocolError("The stream was broken before; it cannot be read further.")
        buffer = self._buffer
        buffer += data
        chunks: list[Chunk] = []
        offset, end = 0, len(buffer)
        while end - offset >= CHUNK_HEADER_SIZE:
            (word,) = _HEAD.unpack_from(buffer, offset)
            length = word & _LENGTH
            if length > MAX_CHUNK:
                self._broken = True
                raise RemoteProtocolError(
                    f"The peer announced a chunk of {length} bytes; the limit is {MAX_CHUNK}."
                )
            start = offset + CHUNK_HEADER_SIZE
            if end - start < length:
                break
            offset = start + length
            chunks.append(Chunk(bytes(buffer[start:offset]), bool(word & _MORE)))
        del buffer[:offset]
        return chunks
