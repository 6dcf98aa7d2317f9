# SPDX-License-Identifier: Apache-2.0
"""One frame: a head and its content, compressed on the wire when it is long.

Pure (wire-protocol.md 2, 3 and 11). Content is bytes here; that it is JSON is known elsewhere.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Final

from ssvm_agent.wire.errors import FrameError, LocalProtocolError
from ssvm_agent.wire.header import COMPRESSED_BIT, Header, decode_header, encode_header
from ssvm_agent.wire.limits import DEFAULT_LIMITS, Limits

# Content of this many bytes or more is compressed, in both directions (wire-protocol.md 3).
COMPRESS_FROM_BYTES: Final = 8192

_GZIP_WBITS: Final = 16 + zlib.MAX_WBITS
# A list of JSON shrinks to a tenth at the fastest level; a higher one only holds up the loop.
_LEVEL: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A head and its content, uncompressed.

    Attributes:
        header: As read; ``encode_frame`` sets the compression flag and the length itself.
        content: The uncompressed content.
    """

    header: Header
    content: bytes

    @property
    def length_is_wrong(self) -> bool:
        """Whether the head states another length than the content has (harmless when plain)."""
        return self.header.content_length != len(self.content)


def encode_frame(frame: Frame, *, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The bytes of a frame, compressed when the content is 8192 bytes or longer.

    Raises:
        LocalProtocolError: The content is longer than a peer of ours would take.
    """
    content = frame.content
    size = len(content)
    if size > limits.max_content_bytes:
        raise LocalProtocolError(
            f"A message of {size} bytes is over the limit of {limits.max_content_bytes}."
        )
    flags = frame.header.flags & ~COMPRESSED_BIT
    if size >= COMPRESS_FROM_BYTES:
        flags |= COMPRESSED_BIT
        content = zlib.compress(content, _LEVEL, wbits=_GZIP_WBITS)
    return encode_header(replace(frame.header, flags=flags, content_length=size)) + content


def decode_frame(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> Frame:
    """Reads one complete frame.

    A plain content whose length differs from the head's is accepted; a compressed one is bounded by
    the head's length and checked against it.

    Raises:
        FrameError: Too short, an unknown version, or compressed content that is damaged, of another
            length than stated, or over the limit.
    """
    header, offset = decode_header(data)
    return Frame(header=header, content=decode_content(header, data[offset:], limits=limits))


def decode_content(header: Header, body: bytes, *, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The uncompressed content behind a head.

    Raises:
        FrameError: As :func:`decode_frame`.
    """
    if header.is_compressed:
        return _inflate(body, header.content_length, limits)
    if len(body) > limits.max_content_bytes:
        raise FrameError(f"A message of {len(body)} bytes is over the limit.")
    return body


def _inflate(body: bytes, expected: int, limits: Limits) -> bytes:
    if not 0 <= expected <= limits.max_content_bytes:
        raise FrameError(f"A compressed frame states an impossible length of {expected} bytes.")
    inflater = zlib.decompressobj(wbits=_GZIP_WBITS)
    try:
        # One byte more than stated is enough to see that there is more. (0 would mean no limit.)
        content = inflater.decompress(body, expected + 1)
    except zlib.error as error:
        raise FrameError("A compressed frame is damaged.", detail=str(error)) from error
    if len(content) != expected:
        more = "more" if len(content) > expected else "less"
        raise FrameError(f"A compressed frame inflates to {more} than the stated {expected} bytes.")
    if not inflater.eof or inflater.unused_data:
        raise FrameError("A compressed frame is cut short or has something behind its end.")
    return content
