# SPDX-License-Identifier: Apache-2.0
"""Small real images made without any tool: a QCOW2 disk and an ISO 9660 file system.

For the demo and for tests on machines without qemu-img or genisoimage; both are valid for those
tools. Blocking: writes files.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import struct
from pathlib import Path
from typing import BinaryIO, Final

_CLUSTER_BITS: Final = 16
_CLUSTER: Final = 1 << _CLUSTER_BITS
_ENTRIES: Final = _CLUSTER // 8  # of one L2 table
_COPIED: Final = 1 << 63  # this entry's cluster has exactly one user
_SECTOR: Final = 2048
_SYSTEM_SECTORS: Final = 16


def write_qcow2(path: Path, *, virtual_size_bytes: int, data_bytes: int) -> None:
    """Make a QCOW2 (version 3) whose first ``data_bytes`` hold random data; the rest is a hole.

    Layout, in clusters: header, refcount table, one refcount block, L1 table, L2 tables, data.
    """
    data_clusters = -(-data_bytes // _CLUSTER)
    guest_clusters = -(-virtual_size_bytes // _CLUSTER)
    tables = -(-guest_clusters // _ENTRIES)
    first_table = 4
    first_data = first_table + tables
    used = first_data + data_clusters
    assert data_clusters <= guest_clusters
    assert used <= _CLUSTER // 2, "one refcount block is enough"
    assert tables <= _ENTRIES, "one cluster of L1 is enough"
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        b"QFI\xfb",
        3,
        0,  # no backing file
        0,
        _CLUSTER_BITS,
        virtual_size_bytes,
        0,  # not encrypted
        tables,
        3 * _CLUSTER,  # L1 table
        1 * _CLUSTER,  # refcount table
        1,
        0,  # no snapshots
        0,
        0,  # no incompatible features
        0,
        0,
        4,  # refcounts of 16 bits
        104,
    )
    with path.open("wb") as file:
        _put_cluster(file, header)
        _put_cluster(file, struct.pack(">Q", 2 * _CLUSTER))
        _put_cluster(file, struct.pack(">H", 1) * used)
        _put_cluster(file, _offsets(first_table, tables))
        for table in range(tables):
            start = table * _ENTRIES
            count = max(0, min(_ENTRIES, data_clusters - start))
            _put_cluster(file, _offsets(first_data + start, count))
        for _ in range(data_clusters):
            file.write(os.urandom(_CLUSTER))


def _offsets(first_cluster: int, count: int) -> bytes:
    return b"".join(
        struct.pack(">Q", _COPIED | (first_cluster + index) * _CLUSTER) for index in range(count)
    )


def _put_cluster(file: BinaryIO, content: bytes) -> None:
    assert len(content) <= _CLUSTER
    file.write(content.ljust(_CLUSTER, b"\0"))


def write_iso(path: Path, *, data_bytes: int, volume: str = "SSVM_DEMO") -> None:
    """Make an ISO 9660 image with one file of random data in its root directory.

    Layout, in sectors of 2048 bytes: 16 for the system, primary volume descriptor, terminator, the
    two path tables, the root directory, the file.
    """
    sectors = -(-data_bytes // _SECTOR)
    path_table_l, path_table_m, root, data = (_SYSTEM_SECTORS + 2 + index for index in range(4))
    total = data + sectors
    root_record = _directory_record(b"\0", root, _SECTOR, is_directory=True)
    listing = (
        root_record
        + _directory_record(b"\1", root, _SECTOR, is_directory=True)
        + _directory_record(b"DATA.BIN;1", data, data_bytes, is_directory=False)
    )
    descriptor = b"".join(
        (
            b"\x01CD001\x01\0",
            b"LINUX".ljust(32),
            volume.encode("ascii").ljust(32),
            bytes(8),
            _both(total),
            bytes(32),
            _both16(1) + _both16(1) + _both16(_SECTOR),
            _both(10),  # length of a path table
            struct.pack("<II", path_table_l, 0) + struct.pack(">II", path_table_m, 0),
            root_record,
            b" " * (128 * 4 + 37 * 3),
            (b"0" * 16 + b"\0") * 4,
            b"\x01\0",
        )
    )
    with path.open("wb") as file:
        file.write(bytes(_SYSTEM_SECTORS * _SECTOR))
        _put_sector(file, descriptor)
        _put_sector(file, b"\xffCD001\x01")
        _put_sector(file, struct.pack("<BBIH", 1, 0, root, 1) + b"\0\0")
        _put_sector(file, struct.pack(">BBIH", 1, 0, root, 1) + b"\0\0")
        _put_sector(file, listing)
        for _ in range(sectors):
            file.write(os.urandom(_SECTOR))


def _both(number: int) -> bytes:
    return struct.pack("<I", number) + struct.pack(">I", number)


def _both16(number: int) -> bytes:
    return struct.pack("<H", number) + struct.pack(">H", number)


def _directory_record(name: bytes, sector: int, size: int, *, is_directory: bool) -> bytes:
    made = bytes((126, 11, 23, 0, 0, 0, 0))  # years since 1900, month, day; the rest is midnight
    body = b"".join(
        (
            b"\0",
            _both(sector),
            _both(size),
            made,
            bytes((2 if is_directory else 0, 0, 0)),
            _both16(1),
            bytes((len(name),)),
            name,
        )
    )
    record = bytes((len(body) + 1,)) + body
    return record if len(record) % 2 == 0 else bytes((len(body) + 2,)) + body + b"\0"


def _put_sector(file: BinaryIO, content: bytes) -> None:
    assert len(content) <= _SECTOR
    file.write(content.ljust(_SECTOR, b"\0"))


def compress(path: Path, kind: str) -> Path:
    """Compress a file beside itself as ``gz``, ``bz2`` or ``xz``, quickly; the result's path."""
    target = path.with_name(f"{path.name}.{kind}")
    with path.open("rb") as source:
        match kind:
            case "gz":
                with gzip.open(target, "wb", compresslevel=1) as gz:
                    shutil.copyfileobj(source, gz, 1 << 20)
            case "bz2":
                with bz2.open(target, "wb", compresslevel=1) as bz:
                    shutil.copyfileobj(source, bz, 1 << 20)
            case "xz":
                with lzma.open(target, "wb", preset=0) as xz:
                    shutil.copyfileobj(source, xz, 1 << 20)
            case _:
                raise ValueError(f"no compression is called {kind}")
    return target
