# SPDX-License-Identifier: Apache-2.0
"""VHD ("conectix") images: fixed disks, known by the footer at their end, and dynamic ones.

A differencing disk names its parent and is refused (H9). Virtual sizes follow
storage-commands.md 7.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ssvm_agent.images.errors import CorruptImageError, UnsafeImageError, WrongFormatError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.report import Facts, InspectionLimits
from ssvm_agent.images.stream import Parser, Span, Tail, exactly

FOOTER_BYTES = 512
_COOKIE = b"conectix"
_FIXED, _DYNAMIC, _DIFFERENCING = 2, 3, 4
_HEADER_COOKIE = b"cxsparse"
_HEADER_BYTES = 1024
_LOCATORS = slice(576, 576 + 8 * 24)
_PARENT_NAME = slice(64, 576)


@dataclass(frozen=True, slots=True)
class Footer:
    """The fields of a footer that matter here; sizes in bytes."""

    header_offset: int
    original_size: int
    current_size: int
    disk_type: int

    @classmethod
    def parse(cls, block: bytes) -> Footer:
        """Read a footer, or its copy at the start of a dynamic disk.

        Raises:
            CorruptImageError: Its checksum does not fit.
        """
        if not is_footer(block):
            raise CorruptImageError("The footer of the VHD image is damaged.")
        (header_offset,) = struct.unpack_from(">Q", block, 16)
        original_size, current_size = struct.unpack_from(">QQ", block, 40)
        (disk_type,) = struct.unpack_from(">I", block, 60)
        return cls(header_offset, original_size, current_size, disk_type)

    def check_type(self) -> None:
        """Refuse a disk that needs another one.

        Raises:
            UnsafeImageError: It is a differencing disk, or of an unknown type.
        """
        if self.disk_type == _DIFFERENCING:
            raise UnsafeImageError(
                "The VHD image is a differencing disk and names its parent;"
                " merge it with its parent before registering it."
            )
        if self.disk_type not in {_FIXED, _DYNAMIC}:
            raise UnsafeImageError(f"The VHD image is of the unknown type {self.disk_type}.")


def is_footer(block: bytes) -> bool:
    """Whether these 512 bytes are a VHD footer with the right checksum."""
    if len(block) != FOOTER_BYTES or not block.startswith(_COOKIE):
        return False
    (stored,) = struct.unpack_from(">I", block, 64)
    return bool(stored == _checksum(block, 64))


def _checksum(block: bytes, field: int) -> int:
    """One's complement of the sum of all bytes but those of the checksum field itself."""
    return ~(sum(block) - sum(block[field : field + 4])) & 0xFFFFFFFF


def parse_vhd(limits: InspectionLimits) -> Parser[Facts]:
    """Read a VHD of either kind; a stream that does not begin with a footer must end with one."""
    start = yield Span(0, FOOTER_BYTES)
    if start.data.startswith(_COOKIE):
        return (yield from _parse_dynamic(start.data, limits))
    return (yield from parse_fixed(limits))


def parse_fixed(limits: InspectionLimits) -> Parser[Facts]:
    """Read a fixed disk: plain data and a footer.

    Raises:
        WrongFormatError: There is no footer at the end.
        CorruptImageError: The data is shorter than the footer says.
    """
    # Compat: storage-commands.md 7: the virtual size of a fixed disk includes its footer.
    beyond = yield Span(limits.max_virtual_size_bytes, 1)
    if beyond.data:
        limits.check_virtual_size(beyond.end)
    tail = yield Tail(FOOTER_BYTES)
    if not tail.data.startswith(_COOKIE):
        raise WrongFormatError(
            "The image was registered as VHD, but it neither begins nor ends with a VHD footer."
        )
    footer = Footer.parse(tail.data)
    footer.check_type()
    if footer.disk_type != _FIXED:
        raise CorruptImageError("The beginning of the dynamic VHD image is missing.")
    if footer.current_size > tail.start:
        raise CorruptImageError(f"The VHD image holds {tail.start} bytes of {footer.current_size}.")
    return Facts(format=ImageFormat.VHD, virtual_size_bytes=tail.end, physical_size_bytes=tail.end)


def _parse_dynamic(block: bytes, limits: InspectionLimits) -> Parser[Facts]:
    if len(block) < FOOTER_BYTES:
        raise CorruptImageError("The VHD image ends in the middle of its header.")
    footer = Footer.parse(block)
    footer.check_type()
    if footer.disk_type != _DYNAMIC:
        raise CorruptImageError("The VHD image begins like a dynamic disk but says it is fixed.")
    # Compat: storage-commands.md 7: the "original size" at offset 40 counts; the current size of a
    # resized disk still has to be within the limit.
    size = limits.check_virtual_size(footer.original_size)
    limits.check_virtual_size(footer.current_size)
    if not size:
        raise CorruptImageError("The VHD image has no virtual size.")
    header = yield Span(footer.header_offset, _HEADER_BYTES)
    _check_header(exactly(header, _HEADER_BYTES, "its VHD header"))
    tail = yield Tail(FOOTER_BYTES)
    if tail.data[:-1] != block[:-1] and not tail.data[1:].startswith(_COOKIE):
        raise CorruptImageError(
            "The VHD image does not end with its footer; the transfer was probably cut short."
        )
    return Facts(format=ImageFormat.VHD, virtual_size_bytes=size, physical_size_bytes=tail.end)


def _check_header(header: bytes) -> None:
    if not header.startswith(_HEADER_COOKIE):
        raise CorruptImageError("The VHD image has no dynamic disk header where its footer says.")
    (stored,) = struct.unpack_from(">I", header, 36)
    if stored != _checksum(header, 36):
        raise CorruptImageError("The dynamic disk header of the VHD image is damaged.")
    if any(header[_LOCATORS]) or any(header[_PARENT_NAME]):
        raise UnsafeImageError("The VHD image names a parent disk; merge it before registering it.")
