# SPDX-License-Identifier: Apache-2.0
"""Taking a tar archive off the one file it holds (requirements R16)."""

from __future__ import annotations

from collections.abc import Iterator

from ssvm_agent.images.codecs import PIECE_BYTES
from ssvm_agent.images.errors import CompressionError, CorruptImageError
from ssvm_agent.images.stream import Parser, StreamReader
from ssvm_agent.images.tar import Member, TarWalk, single_member


class TarCodec:
    """Decodes a tar with exactly one member to that member's data."""

    def __init__(self) -> None:
        self._member: Member | None = None
        self._reader = StreamReader(self._walk())
        self._position = 0

    def _walk(self) -> Parser[None]:
        walk = TarWalk(max_members=1)
        self._member = yield from single_member(walk)
        yield from walk.next_member()

    def feed(self, data: memoryview) -> Iterator[memoryview]:
        """Take input; yield what of it belongs to the member. The iterator must be exhausted."""
        self._reader.feed(data)
        start = self._position
        self._position += len(data)
        if self._member is None:
            return
        begin = max(self._member.offset - start, 0)
        end = min(self._member.end - start, len(data))
        for offset in range(begin, end, PIECE_BYTES):
            yield data[offset : min(offset + PIECE_BYTES, end)]

    def finish(self) -> None:
        """Check that the archive is complete.

        Raises:
            CompressionError: It ends too early.
        """
        try:
            self._reader.finish()
        except CorruptImageError as error:
            raise CompressionError(error.message) from error
