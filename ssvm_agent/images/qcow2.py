# SPDX-License-Identifier: Apache-2.0
"""QCOW2 images (storage-commands.md 7.2, H1 to H5).

Refused: anything that makes a reader open another file (backing file, external data file), features
we cannot judge, version 1. Accepted: dirty and corrupt bits, zstd clusters, internal snapshots,
lazy refcounts, LUKS inside.
"""

from __future__ import annotations

import struct

from ssvm_agent.images.errors import CorruptImageError, UnsafeImageError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.report import Facts, InspectionLimits
from ssvm_agent.images.stream import Parser, Span, Tail, exactly

_V2_HEADER_BYTES = 72
_V3_HEADER_BYTES = 104
_CLUSTER_BITS = range(9, 22)
_DIRTY, _CORRUPT, _EXTERNAL_DATA, _COMPRESSION, _EXTENDED_L2 = range(5)
_ZSTD = 1
_NOT_ENCRYPTED, _LUKS = 0, 2
_END_OF_EXTENSIONS = 0
_EXTERNAL_DATA_NAME = 0x44415441
_MAX_EXTENSIONS = 64
_BACKING_FILE = (
    "The image names a backing file; flatten it with qemu-img convert before registering it."
)
_DATA_FILE = (
    "The image keeps its data in an external file;"
    " convert it to a single file with qemu-img convert before registering it."
)


def parse_qcow2(limits: InspectionLimits) -> Parser[Facts]:
    """Read header and header extensions, then wait for the length.

    Raises:
        UnsafeImageError: It refers to another file or has features we do not know.
        CorruptImageError: It contradicts itself or ends too early.
        SizeLimitError: Its virtual disk is too large.
    """
    window = yield Span(0, _V2_HEADER_BYTES)
    header = exactly(window, _V2_HEADER_BYTES, "its QCOW2 header")
    version, backing_offset, _, cluster_bits, size, encryption = struct.unpack_from(
        ">IQIIQI", header, 4
    )
    if version not in {2, 3}:
        raise UnsafeImageError(f"The QCOW2 image is of version {version}; only 2 and 3 are known.")
    if backing_offset:
        raise UnsafeImageError(_BACKING_FILE)
    if cluster_bits not in _CLUSTER_BITS:
        raise CorruptImageError(
            f"The QCOW2 image has an impossible cluster size (2^{cluster_bits})."
        )
    if encryption not in {_NOT_ENCRYPTED, _LUKS}:
        raise UnsafeImageError("The QCOW2 image is encrypted by a method that is not supported.")
    limits.check_virtual_size(size)
    if not size:
        raise CorruptImageError("The QCOW2 image has no virtual size.")
    notes: tuple[str, ...] = ()
    extensions = _V2_HEADER_BYTES
    if version == 3:
        window = yield Span(0, _V3_HEADER_BYTES + 1)
        exactly(window, _V3_HEADER_BYTES, "its QCOW2 header")
        notes, extensions = _read_version_3(window.data)
    if encryption:
        notes = (*notes, "encrypted with LUKS")
    yield from _check_extensions(extensions, 1 << cluster_bits)
    length = (yield Tail(0)).end
    _check_tables(header, cluster_bits, size, length)
    return Facts(
        format=ImageFormat.QCOW2,
        virtual_size_bytes=size,
        physical_size_bytes=length,
        notes=notes,
    )


def _read_version_3(header: bytes) -> tuple[tuple[str, ...], int]:
    """Judge the feature bits; return remarks and where the header extensions begin."""
    (features,) = struct.unpack_from(">Q", header, 72)
    if features >> _EXTERNAL_DATA & 1:
        raise UnsafeImageError(_DATA_FILE)
    if features >> _EXTENDED_L2 & 1:
        raise UnsafeImageError(
            "The QCOW2 image uses extended L2 entries, which not every hypervisor can read;"
            " convert it with qemu-img convert -o extended_l2=off before registering it."
        )
    if features >> (_EXTENDED_L2 + 1):
        raise UnsafeImageError(
            f"The QCOW2 image uses unknown incompatible features ({features:#x});"
            " convert it with qemu-img convert before registering it."
        )
    (header_bytes,) = struct.unpack_from(">I", header, 100)
    if header_bytes < _V3_HEADER_BYTES or header_bytes % 8:
        raise CorruptImageError("The QCOW2 image has a header of an impossible length.")
    if features >> _COMPRESSION & 1 and header[_V3_HEADER_BYTES:] != bytes([_ZSTD]):
        raise UnsafeImageError("The QCOW2 image uses an unknown compression method.")
    words = {_DIRTY: "marked dirty", _CORRUPT: "marked corrupt", _COMPRESSION: "zstd clusters"}
    return tuple(word for bit, word in words.items() if features >> bit & 1), header_bytes


def _check_extensions(offset: int, cluster_bytes: int) -> Parser[None]:
    """Walk the header extensions, which end inside the first cluster."""
    for _ in range(_MAX_EXTENSIONS):
        if offset + 8 > cluster_bytes:
            return
        window = yield Span(offset, 8)
        kind, length = struct.unpack(">II", exactly(window, 8, "its QCOW2 header extensions"))
        if kind == _END_OF_EXTENSIONS:
            return
        if kind == _EXTERNAL_DATA_NAME:
            raise UnsafeImageError(_DATA_FILE)
        offset += 8 + (length + 7) // 8 * 8
        if offset > cluster_bytes:
            raise CorruptImageError("A header extension of the QCOW2 image is longer than allowed.")
    raise CorruptImageError("The QCOW2 image has too many header extensions.")


def _check_tables(header: bytes, cluster_bits: int, size: int, length: int) -> None:
    """The top tables must lie inside the file, and the L1 table must cover the disk."""
    l1_entries, l1_offset, refcount_offset, refcount_clusters = struct.unpack_from(
        ">IQQI", header, 36
    )
    bytes_per_entry = 1 << (cluster_bits + cluster_bits - 3)
    if l1_entries * bytes_per_entry < size or l1_offset % (1 << cluster_bits):
        raise CorruptImageError("The QCOW2 image has an L1 table that does not cover its disk.")
    if (
        max(l1_offset + 8 * l1_entries, refcount_offset + (refcount_clusters << cluster_bits))
        > length
    ):
        raise CorruptImageError(
            "The QCOW2 image is shorter than its tables say; the transfer was probably cut short."
        )
