# SPDX-License-Identifier: Apache-2.0
"""Decoding zstd with bounded output.

The library hands out everything an input decodes to, and four bytes can decode to 128 KiB. So the
frames are followed block by block here, and the library only ever gets as many blocks as fill one
piece. It also gives exact answers about truncated streams and junk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ssvm_agent.images.codecs import PIECE_BYTES, junk, too_large_dictionary, truncated
from ssvm_agent.images.errors import CompressionError

if TYPE_CHECKING:
    import zstandard

MAGIC = b"\x28\xb5\x2f\xfd"
_TOO_LITTLE_MEMORY = "requires too much memory"
_SKIPPABLE_MAGICS = range(0x184D2A50, 0x184D2A60)
_BLOCK_OUTPUT_BYTES = 128 << 10
_BLOCKS_PER_PIECE = PIECE_BYTES // _BLOCK_OUTPUT_BYTES
_RLE_BLOCK = 1
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)
_DICTIONARY_ID_BYTES = (0, 1, 2, 4)


class ZstdCodec:
    """Decodes zstd frames that follow each other; skippable frames are passed over.

    Args:
        window_bytes: The largest window a frame may have.
    """

    def __init__(self, window_bytes: int) -> None:
        import zstandard

        self._error = zstandard.ZstdError
        self._context = zstandard.ZstdDecompressor(max_window_size=window_bytes)
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._field = bytearray()
        self._skip = 0
        self._want = len(MAGIC)
        self._step: Callable[[bytes], None] = self._on_magic
        self._checksum_bytes = 0
        self._blocks = 0
        self._frames = 0
        self._cut = self._frame_ends = False

    def feed(self, data: memoryview) -> Iterator[bytes]:
        """Take input; yield what comes out of it. The iterator must be exhausted."""
        position = sent = 0
        while True:
            if self._skip:
                skipped = min(self._skip, len(data) - position)
                self._skip -= skipped
                position += skipped
                if self._skip:
                    break
            field = data[position : position + self._want - len(self._field)]
            self._field += field
            position += len(field)
            if len(self._field) < self._want:
                break
            inside = self._frame is not None
            self._take_field()
            if not inside:
                sent = position  # the magic has been passed on, or belongs to nothing we decode
            elif self._cut:
                yield from self._decode(data[sent:position])
                sent = position
        yield from self._decode(data[sent:])

    def finish(self) -> None:
        """Check that the last frame is complete.

        Raises:
            CompressionError: It is not, or something else follows it.
        """
        if self._frame is not None or self._skip or not self._frames:
            raise truncated("zstd")
        if self._field:
            raise junk("zstd")

    def _decode(self, data: memoryview) -> Iterator[bytes]:
        """Pass a part of a frame on; where the frame ends, check that the library agrees."""
        if self._frame is None:
            return
        try:
            piece = self._frame.decompress(data) if data else b""
        except self._error as error:
            if _TOO_LITTLE_MEMORY in str(error):
                raise too_large_dictionary("zstd") from error
            raise CompressionError("The zstd data is damaged.", detail=str(error)) from error
        if piece:
            yield piece
        self._cut = False
        if self._frame_ends:
            if not self._frame.eof:
                raise CompressionError("The zstd data is damaged.", detail="a frame has no end")
            self._frame, self._frame_ends = None, False

    def _take_field(self) -> None:
        field = bytes(self._field)
        self._field.clear()
        self._step(field)

    def _expect(self, want: int, step: Callable[[bytes], None]) -> None:
        self._want, self._step = want, step

    def _on_magic(self, field: bytes) -> None:
        if int.from_bytes(field, "little") in _SKIPPABLE_MAGICS:
            self._expect(4, self._on_skippable)
            return
        if field != MAGIC:
            raise junk("zstd")
        self._frame = self._context.decompressobj()
        self._frame.decompress(field)
        self._frames += 1
        self._blocks = 0
        self._expect(1, self._on_descriptor)

    def _on_skippable(self, field: bytes) -> None:
        self._skip = int.from_bytes(field, "little")
        self._expect(len(MAGIC), self._on_magic)

    def _on_descriptor(self, field: bytes) -> None:
        flags = field[0]
        single_segment = flags >> 5 & 1
        self._checksum_bytes = 4 * (flags >> 2 & 1)
        content_size = _CONTENT_SIZE_BYTES[flags >> 6] or single_segment
        window = 1 - single_segment
        self._expect(window + _DICTIONARY_ID_BYTES[flags & 3] + content_size, self._on_header)

    def _on_header(self, _: bytes) -> None:
        self._expect(3, self._on_block)

    def _on_block(self, field: bytes) -> None:
        header = int.from_bytes(field, "little")
        self._skip = 1 if header >> 1 & 3 == _RLE_BLOCK else header >> 3
        if self._blocks == _BLOCKS_PER_PIECE:
            self._cut, self._blocks = True, 0
        self._blocks += 1
        if header & 1:
            self._expect(self._checksum_bytes, self._on_frame_end)

    def _on_frame_end(self, _: bytes) -> None:
        self._cut = self._frame_ends = True
        self._expect(len(MAGIC), self._on_magic)
