# SPDX-License-Identifier: Apache-2.0
"""How much memory a compressed stream asks for, as its first header says.

xz and zstd look back over a dictionary whose size whoever compressed chose, up to gigabytes; the
other wrappers need a few hundred kilobytes. Pure: the first bytes in, a number out.
"""

from __future__ import annotations

_XZ_STREAM_HEADER_BYTES = 12
_XZ_HAS_SIZES = (0x40, 0x80)
_LZMA2 = 0x21
_LZMA2_LARGEST = 40
_ZSTD_CONTENT_SIZE_BYTES = (0, 2, 4, 8)
_ZSTD_DICTIONARY_ID_BYTES = (0, 1, 2, 4)


def xz_dictionary_bytes(head: bytes) -> int:
    """Of the first block (The .xz File Format 3.1, 5.3.1); 0 when it cannot be told."""
    try:
        flags = head[_XZ_STREAM_HEADER_BYTES + 1]
        place = _XZ_STREAM_HEADER_BYTES + 2
        for has_size in _XZ_HAS_SIZES:
            if flags & has_size:
                _, place = _number(head, place)
        for _ in range((flags & 3) + 1):
            filter_id, place = _number(head, place)
            length, place = _number(head, place)
            if filter_id == _LZMA2:
                return _lzma2_dictionary_bytes(head[place])
            place += length
    except IndexError:
        pass
    return 0


def _lzma2_dictionary_bytes(bits: int) -> int:
    if bits >= _LZMA2_LARGEST:
        return (1 << 32) - 1
    return (2 | bits & 1) << (bits // 2 + 11)


def _number(head: bytes, place: int) -> tuple[int, int]:
    """A variable-length integer (1.2) and where it ends."""
    value = shift = 0
    while True:
        byte = head[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, place
        shift += 7


def zstd_window_bytes(head: bytes) -> int:
    """Of the first frame (RFC 8878 3.1.1.1); 0 when it cannot be told."""
    try:
        flags = head[4]
        if not flags >> 5 & 1:
            base = 1 << (10 + (head[5] >> 3))
            return base + base // 8 * (head[5] & 7)
        start = 5 + _ZSTD_DICTIONARY_ID_BYTES[flags & 3]
        length = _ZSTD_CONTENT_SIZE_BYTES[flags >> 6] or 1
        field = head[start : start + length]
        # A field of two bytes counts from 256.
        return int.from_bytes(field, "little") + (256 if length == 2 else 0)
    except IndexError:
        return 0
