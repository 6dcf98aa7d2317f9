# SPDX-License-Identifier: Apache-2.0
"""VDI images: dynamic and fixed ones; undo and differencing images need another file."""

from __future__ import annotations

import struct

from ssvm_agent.images.errors import CorruptImageError, UnsafeImageError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.report import Facts, InspectionLimits
from ssvm_agent.images.stream import Parser, Span, Tail, exactly

_HEADER_BYTES = 512
_MAJOR_VERSION = 1
_DYNAMIC, _FIXED = 1, 2
_LINKS = slice(424, 456)
"""The identifiers of the images this one was linked to and derived from."""


def parse_vdi(limits: InspectionLimits) -> Parser[Facts]:
    """Read the header and wait for the length.

    Raises:
        UnsafeImageError: It depends on another image, or is of an unknown version.
        CorruptImageError: It contradicts itself or ends too early.
        SizeLimitError: Its virtual disk is too large.
    """
    window = yield Span(0, _HEADER_BYTES)
    header = exactly(window, _HEADER_BYTES, "its VDI header")
    version, _, kind = struct.unpack_from("<III", header, 68)
    if version >> 16 != _MAJOR_VERSION:
        raise UnsafeImageError(f"The VDI image is of the unknown version {version >> 16}.")
    if kind not in {_DYNAMIC, _FIXED} or any(header[_LINKS]):
        raise UnsafeImageError(
            "The VDI image depends on another image; clone it to a full one before registering it."
        )
    (data_offset,) = struct.unpack_from("<I", header, 344)
    size, block_bytes, _, blocks, allocated = struct.unpack_from("<QIIII", header, 368)
    limits.check_virtual_size(size)
    if not size or blocks * block_bytes < size or allocated > blocks:
        raise CorruptImageError("The VDI image has a block table that does not fit its disk.")
    # Differs: storage-commands.md 7: the size is read from the header instead of left unknown.
    length = (yield Tail(0)).end
    if data_offset + allocated * block_bytes > length:
        raise CorruptImageError(
            "The VDI image is shorter than its tables say; the transfer was probably cut short."
        )
    return Facts(format=ImageFormat.VDI, virtual_size_bytes=size, physical_size_bytes=length)
