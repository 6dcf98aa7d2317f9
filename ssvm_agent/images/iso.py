# SPDX-License-Identifier: Apache-2.0
"""ISO 9660 and UDF images, also hybrid ones with a partition table in front (H14)."""

from __future__ import annotations

import struct

from ssvm_agent.images.errors import CorruptImageError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.raw import parse_plain
from ssvm_agent.images.report import Facts, InspectionLimits
from ssvm_agent.images.signatures import has_boot_record, has_gpt, has_iso9660
from ssvm_agent.images.stream import HEAD_BYTES, Parser, Span, exactly

_SECTOR_BYTES = 2048
_FIRST_DESCRIPTOR = 16
_MAX_DESCRIPTORS = 64
_PRIMARY, _TERMINATOR = 1, 255
_ISO9660 = b"CD001"
_UDF_MARKS = frozenset({b"NSR02", b"NSR03"})
_END_OF_UDF = b"TEA01"
_UNWRITTEN_BYTES = 150 * _SECTOR_BYTES
"""Writers promise up to two seconds of run-out sectors, which some images leave out."""


def parse_iso(limits: InspectionLimits) -> Parser[Facts]:
    """Walk over the volume descriptors and measure the image.

    Raises:
        CorruptImageError: The descriptors are incomplete, or the image is shorter than they say.
        SizeLimitError: It is too large.
    """
    head = (yield Span(0, HEAD_BYTES)).data
    notes: list[str] = []
    promised_bytes = 0
    if has_iso9660(head):
        following, promised_bytes = yield from _read_descriptors()
    else:
        following = _FIRST_DESCRIPTOR + 1
    if (yield from _find_udf(following)):
        notes.append("a UDF file system")
    elif not promised_bytes:
        raise CorruptImageError("The UDF file system of the image is not complete.")
    if has_gpt(head):
        notes.append("hybrid with a GUID partition table")
    elif has_boot_record(head):
        notes.append("hybrid with a master boot record")
    facts = yield from parse_plain(ImageFormat.ISO, limits)
    if facts.physical_size_bytes + _UNWRITTEN_BYTES < promised_bytes:
        raise CorruptImageError(
            f"The ISO image has {facts.physical_size_bytes} of {promised_bytes} bytes;"
            " the transfer was probably cut short."
        )
    return facts.with_notes(*notes)


def _read_descriptors() -> Parser[tuple[int, int]]:
    """Read the ISO 9660 descriptors; returns the sector behind them and the promised length."""
    promised_bytes = 0
    for sector in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + _MAX_DESCRIPTORS):
        window = yield Span(sector * _SECTOR_BYTES, _SECTOR_BYTES)
        block = exactly(window, _SECTOR_BYTES, "its ISO 9660 descriptors")
        if block[1:6] != _ISO9660:
            raise CorruptImageError("The ISO 9660 descriptors of the image have no end.")
        if block[0] == _PRIMARY and not promised_bytes:
            promised_bytes = _volume_bytes(block)
        elif block[0] == _TERMINATOR:
            if not promised_bytes:
                break
            return sector + 1, promised_bytes
    raise CorruptImageError("The image has no ISO 9660 primary volume descriptor.")


def _volume_bytes(block: bytes) -> int:
    """Volume space size times block size, both written in both byte orders."""
    (blocks,) = struct.unpack_from("<I", block, 80)
    (block_bytes,) = struct.unpack_from("<H", block, 128)
    if not blocks or block_bytes not in {512, 1024, 2048}:
        raise CorruptImageError("The ISO 9660 primary volume descriptor of the image is damaged.")
    return int(blocks * block_bytes)


def _find_udf(sector: int) -> Parser[bool]:
    """Whether a UDF recognition sequence follows the ISO 9660 descriptors."""
    for number in range(sector, sector + 4):
        mark = (yield Span(number * _SECTOR_BYTES, 6)).data[1:6]
        if mark in _UDF_MARKS:
            return True
        if mark == _END_OF_UDF:
            break
    return False
