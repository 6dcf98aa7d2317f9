# SPDX-License-Identifier: Apache-2.0
"""VHDX images: the region tables lead to the metadata, which says whether there is a parent.

A log that still has to be replayed could change that metadata when the image is opened, so only
images that were closed cleanly are accepted.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass

from ssvm_agent.images.errors import CorruptImageError, UnsafeImageError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.report import Facts, InspectionLimits
from ssvm_agent.images.stream import Parser, Span, Tail, exactly

_KIB, _MIB = 1 << 10, 1 << 20
_HEADERS = (64 * _KIB, 128 * _KIB)
_REGION_TABLES = (192 * _KIB, 256 * _KIB)
_HEADER_BYTES = 4 * _KIB
_TABLE_BYTES = 64 * _KIB
_MAX_METADATA_BYTES = 2 * _MIB
_MAX_ENTRIES = 2047
_REGION_ENTRY, _METADATA_ENTRY = 32, 32
_REQUIRED_REGION, _REQUIRED_ITEM = 1, 1 << 2
_HAS_PARENT = 1 << 1

_BAT = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
_METADATA = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
_FILE_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
_VIRTUAL_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
_PARENT_LOCATOR = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
_KNOWN_ITEMS = frozenset(
    {
        _FILE_PARAMETERS,
        _VIRTUAL_SIZE,
        _PARENT_LOCATOR,
        uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746"),  # identity of the virtual disk
        uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f"),  # logical sector size
        uuid.UUID("cda348c7-445d-4471-9cc9-e9885251c556"),  # physical sector size
    }
)
_PARENT = "The VHDX image names a parent disk; merge it with its parent before registering it."


@dataclass(frozen=True, slots=True)
class _Region:
    offset: int
    length: int


def parse_vhdx(limits: InspectionLimits) -> Parser[Facts]:
    """Read headers, region tables and metadata.

    Raises:
        UnsafeImageError: It has a parent, a pending log, or parts we do not know.
        CorruptImageError: It contradicts itself or ends too early.
        SizeLimitError: Its virtual disk is too large.
    """
    headers = []
    for offset in _HEADERS:
        window = yield Span(offset, _HEADER_BYTES)
        headers.append(exactly(window, _HEADER_BYTES, "its VHDX header"))
    _check_log(headers)
    tables = []
    for offset in _REGION_TABLES:
        window = yield Span(offset, _TABLE_BYTES)
        tables.append(exactly(window, _TABLE_BYTES, "its VHDX region table"))
    regions = _read_regions(tables[0])
    if _read_regions(tables[1]) != regions:
        raise UnsafeImageError("The two region tables of the VHDX image contradict each other.")
    metadata = regions[_METADATA]
    length = min(metadata.length, _MAX_METADATA_BYTES)
    window = yield Span(metadata.offset, length)
    size = limits.check_virtual_size(_read_metadata(exactly(window, length, "its VHDX metadata")))
    # Differs: storage-commands.md 7: the size is read from the metadata instead of left unknown.
    end = (yield Tail(0)).end
    if max(region.offset + region.length for region in regions.values()) > end:
        raise CorruptImageError(
            "The VHDX image is shorter than its tables say; the transfer was probably cut short."
        )
    return Facts(format=ImageFormat.VHDX, virtual_size_bytes=size, physical_size_bytes=end)


def _check_log(headers: list[bytes]) -> None:
    """The newer sound copy of the header is the current one and must not name a log."""
    sound = [
        header
        for header in headers
        if header.startswith(b"head") and _crc32c(header, 4) == header[4:8]
    ]
    if not sound:
        raise CorruptImageError("The VHDX image has a damaged header.")
    current = max(sound, key=lambda header: int.from_bytes(header[8:16], "little"))
    if any(current[48:64]):
        raise UnsafeImageError(
            "The VHDX image was not closed cleanly and still has a log to be replayed;"
            " attach and detach it once, or convert it with qemu-img convert."
        )


def _crc32c(block: bytes, field: int) -> bytes:
    """The Castagnoli checksum of a block whose own checksum field counts as zeros."""
    crc = 0xFFFFFFFF
    for byte in block[:field] + bytes(4) + block[field + 4 :]:
        crc = crc >> 8 ^ _CRC32C_TABLE[(crc ^ byte) & 0xFF]
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "little")


def _crc32c_entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_CRC32C_TABLE = tuple(_crc32c_entry(value) for value in range(256))


def _read_regions(table: bytes) -> dict[uuid.UUID, _Region]:
    if not table.startswith(b"regi"):
        raise CorruptImageError("The VHDX image has a damaged region table.")
    (count,) = struct.unpack_from("<I", table, 8)
    if count > _MAX_ENTRIES:
        raise CorruptImageError("The VHDX image has too many regions.")
    regions: dict[uuid.UUID, _Region] = {}
    for start in range(16, 16 + count * _REGION_ENTRY, _REGION_ENTRY):
        kind = uuid.UUID(bytes_le=table[start : start + 16])
        offset, length, flags = struct.unpack_from("<QII", table, start + 16)
        if kind in regions or offset < _MIB or offset % _MIB:
            raise CorruptImageError("The regions of the VHDX image contradict each other.")
        if kind not in {_BAT, _METADATA} and flags & _REQUIRED_REGION:
            raise UnsafeImageError("The VHDX image has a region we do not know but must.")
        regions[kind] = _Region(offset, length)
    if _METADATA not in regions or _BAT not in regions:
        raise CorruptImageError("The VHDX image has no metadata or no block table.")
    return regions


def _read_metadata(region: bytes) -> int:
    """Judge the metadata items; returns the virtual size in bytes."""
    if len(region) < _TABLE_BYTES or not region.startswith(b"metadata"):
        raise CorruptImageError("The VHDX image has a damaged metadata table.")
    (count,) = struct.unpack_from("<H", region, 10)
    if count > _MAX_ENTRIES:
        raise CorruptImageError("The VHDX image has too many metadata items.")
    items: dict[uuid.UUID, bytes] = {}
    for start in range(32, 32 + count * _METADATA_ENTRY, _METADATA_ENTRY):
        kind = uuid.UUID(bytes_le=region[start : start + 16])
        offset, length, flags = struct.unpack_from("<III", region, start + 16)
        if kind in items:
            raise UnsafeImageError("The VHDX image has the same metadata item twice.")
        if kind not in _KNOWN_ITEMS and flags & _REQUIRED_ITEM:
            raise UnsafeImageError("The VHDX image has a metadata item we do not know but must.")
        items[kind] = region[offset : offset + length]
    if _PARENT_LOCATOR in items:
        raise UnsafeImageError(_PARENT)
    parameters, size = items.get(_FILE_PARAMETERS, b""), items.get(_VIRTUAL_SIZE, b"")
    if len(parameters) != 8 or len(size) != 8:
        raise CorruptImageError("The VHDX image does not say how large its disk is.")
    if struct.unpack("<II", parameters)[1] & _HAS_PARENT:
        raise UnsafeImageError(_PARENT)
    (size_bytes,) = struct.unpack("<Q", size)
    if not size_bytes:
        raise CorruptImageError("The VHDX image has no virtual size.")
    return int(size_bytes)
