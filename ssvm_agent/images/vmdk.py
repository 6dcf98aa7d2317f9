# SPDX-License-Identifier: Apache-2.0
"""VMDK images: monolithicSparse and streamOptimized files that need no other file (H7).

The descriptor embedded in the file must name exactly one extent, the file itself, without a path,
and no parent. A descriptor alone, and disks split over several files, are refused.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from ssvm_agent.images.errors import CorruptImageError, UnsafeImageError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.report import Facts, InspectionLimits
from ssvm_agent.images.stream import Parser, Span, Tail, exactly

SECTOR_BYTES = 512
_DESCRIPTOR_SECTOR = 1
_MAX_DESCRIPTOR_SECTORS = 2048
_LINE_END_TEST = b"\n \r\n"
_HAS_LINE_END_TEST = 1
_DIRECTORY_AT_END = (1 << 64) - 1
_FOOTER_BYTES = 3 * SECTOR_BYTES
_NO_PARENT = "ffffffff"
_SINGLE_FILE_TYPES = frozenset({"monolithicsparse", "streamoptimized"})
_EXTENT = re.compile(
    r'(?P<access>RW|RDONLY|NOACCESS)\s+(?P<sectors>\d+)\s+(?P<kind>[A-Z]+)\s+"(?P<name>[^"]*)"\s*(?:0\s*)?',
    re.ASCII | re.IGNORECASE,
)
_EXTENT_START = re.compile(r"(RW|RDONLY|NOACCESS)\b", re.ASCII | re.IGNORECASE)
_SETTING = re.compile(r'(?P<key>[\w.]+)\s*=\s*"?(?P<value>[^"]*)"?\s*', re.ASCII)
_FILE_SETTINGS = frozenset({"parentfilenamehint", "changetrackpath"})


@dataclass(frozen=True, slots=True)
class SparseHeader:
    """The fields of a sparse extent header that matter here; counted in sectors."""

    version: int
    capacity: int
    grain: int
    descriptor_offset: int
    descriptor_length: int
    directory_offset: int
    overhead: int

    @classmethod
    def parse(cls, block: bytes) -> SparseHeader:
        """Read a header or footer of 512 bytes.

        Raises:
            CorruptImageError: It is damaged or contradicts itself.
            UnsafeImageError: Its version or compression is unknown.
        """
        version, flags, capacity, grain, offset, length, _, _, directory, overhead = (
            struct.unpack_from("<IIQQQQIQQQ", block, 4)
        )
        (compression,) = struct.unpack_from("<H", block, 77)
        if not 1 <= version <= 3:
            raise UnsafeImageError(f"The VMDK image is of the unknown version {version}.")
        if flags & _HAS_LINE_END_TEST and block[73:77] != _LINE_END_TEST:
            raise CorruptImageError("The VMDK image was damaged by a transfer in text mode.")
        if compression > 1:
            raise UnsafeImageError("The VMDK image uses an unknown compression method.")
        if not grain or grain & (grain - 1):
            raise CorruptImageError("The VMDK image has an impossible grain size.")
        if not capacity:
            raise UnsafeImageError("The VMDK image has no capacity of its own.")
        return cls(version, capacity, grain, offset, length, directory, overhead)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What an embedded descriptor says; ``sectors`` is the size of the disk."""

    create_type: str
    sectors: int

    @classmethod
    def parse(cls, data: bytes) -> Descriptor:
        """Read a descriptor and refuse everything that leads out of the file.

        Raises:
            UnsafeImageError: It names another file, or is of a type with several files.
            CorruptImageError: It is not a descriptor.
        """
        text = data.split(b"\0", 1)[0].decode("latin-1")
        settings: dict[str, str] = {}
        extents: list[str] = []
        for raw_line in text.splitlines():
            line = raw_line.strip()
            setting = _SETTING.fullmatch(line)
            if _EXTENT_START.match(line):
                extents.append(line)
            elif setting and not line.startswith("#"):
                _add_setting(settings, setting["key"].lower(), setting["value"])
        create_type = settings.get("createtype", "")
        if not create_type or not extents:
            raise CorruptImageError(
                "The VMDK image has no usable embedded descriptor; register one monolithicSparse or"
                " streamOptimized file."
            )
        if create_type.lower() not in _SINGLE_FILE_TYPES:
            raise UnsafeImageError(
                f"The VMDK image is of type {create_type[:40]!r}; only monolithicSparse and"
                " streamOptimized images are complete in one file."
            )
        if settings.get("parentcid", _NO_PARENT).lower() != _NO_PARENT:
            raise UnsafeImageError("The VMDK image names a parent disk; merge it with its parent.")
        return cls(create_type, _only_extent(extents))


def _add_setting(settings: dict[str, str], key: str, value: str) -> None:
    if key in _FILE_SETTINGS and value:
        raise UnsafeImageError(f"The VMDK descriptor names another file ({key}).")
    if key in settings and key in {"createtype", "parentcid"}:
        raise UnsafeImageError(f"The VMDK descriptor says {key} twice.")
    settings[key] = value


def _only_extent(extents: list[str]) -> int:
    if len(extents) > 1:
        raise UnsafeImageError(
            "The VMDK descriptor names several extents; convert the disk to a single file."
        )
    extent = _EXTENT.fullmatch(extents[0])
    if extent is None or extent["kind"].upper() != "SPARSE":
        raise UnsafeImageError("The VMDK descriptor names an extent outside the file.")
    name = extent["name"]
    if not name or "/" in name or "\\" in name or ":" in name or name in {".", ".."}:
        raise UnsafeImageError("The VMDK descriptor names an extent with a path.")
    return int(extent["sectors"])


def parse_vmdk(limits: InspectionLimits) -> Parser[Facts]:
    """Read header, embedded descriptor and, when there is one, the footer.

    Raises:
        UnsafeImageError: It leads to another file or has features we do not know.
        CorruptImageError: It contradicts itself or ends too early.
        SizeLimitError: Its virtual disk is too large.
    """
    window = yield Span(0, SECTOR_BYTES)
    header = SparseHeader.parse(exactly(window, SECTOR_BYTES, "its VMDK header"))
    limits.check_virtual_size(header.capacity * SECTOR_BYTES)
    if header.descriptor_offset != _DESCRIPTOR_SECTOR:
        raise UnsafeImageError(
            "The VMDK image has no embedded descriptor in its second sector;"
            " convert the disk to one monolithicSparse or streamOptimized file."
        )
    if not 0 < header.descriptor_length <= _MAX_DESCRIPTOR_SECTORS:
        raise CorruptImageError("The embedded descriptor of the VMDK image has no possible length.")
    length = header.descriptor_length * SECTOR_BYTES
    window = yield Span(SECTOR_BYTES, length)
    descriptor = Descriptor.parse(exactly(window, length, "its VMDK descriptor"))
    # Compat: storage-commands.md 7: the first extent of the descriptor is the size that counts.
    size = limits.check_virtual_size(descriptor.sectors * SECTOR_BYTES)
    if abs(descriptor.sectors - header.capacity) >= header.grain or not size:
        raise CorruptImageError("Header and descriptor of the VMDK image give different sizes.")
    tail = yield Tail(_FOOTER_BYTES)
    if header.directory_offset == _DIRECTORY_AT_END:
        _check_footer(header, tail.data)
    if header.overhead * SECTOR_BYTES > tail.end or tail.end % SECTOR_BYTES:
        raise CorruptImageError(
            "The VMDK image is shorter than its tables say; the transfer was probably cut short."
        )
    return Facts(
        format=ImageFormat.VMDK,
        virtual_size_bytes=size,
        physical_size_bytes=tail.end,
        notes=(descriptor.create_type,),
    )


def _check_footer(header: SparseHeader, tail: bytes) -> None:
    """The footer repeats the header; only the place of the grain directory may differ."""
    block = tail[SECTOR_BYTES : 2 * SECTOR_BYTES]
    if len(tail) < _FOOTER_BYTES or not block.startswith(b"KDMV"):
        raise CorruptImageError(
            "The VMDK image does not end with its footer; the transfer was probably cut short."
        )
    footer = SparseHeader.parse(block)
    same = (footer.capacity, footer.grain, footer.descriptor_offset, footer.descriptor_length)
    if same != (
        header.capacity,
        header.grain,
        header.descriptor_offset,
        header.descriptor_length,
    ):
        raise UnsafeImageError("Header and footer of the VMDK image contradict each other.")
