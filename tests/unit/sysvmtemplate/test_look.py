# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import pytest

from ssvm_agent.images.compression import Compression
from ssvm_agent.images.errors import WrongFormatError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.sysvmtemplate.look import look_at
from tests.fixtures import hostile_images as make


def test_a_compressed_disk_tells_its_size_by_its_head(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(bz2.compress(make.qcow2()))
    look = look_at(path, ImageFormat.QCOW2)
    assert look.compression is Compression.BZIP2
    assert look.size_bytes == path.stat().st_size
    assert look.virtual_size_bytes == int.from_bytes(make.qcow2()[24:32], "big")
    assert look.least_bytes(ImageFormat.QCOW2) == look.size_bytes


def test_an_ova_needs_its_length_twice(tmp_path: Path) -> None:
    """Archive and members (boot-and-system.md 6.1)."""
    path = tmp_path / "t"
    path.write_bytes(make.ova())
    look = look_at(path, ImageFormat.OVA)
    assert look.virtual_size_bytes is None
    assert look.least_bytes(ImageFormat.OVA) == 2 * look.size_bytes


def test_the_wrong_format_is_seen_at_once(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(gzip.compress(make.ova()))
    with pytest.raises(WrongFormatError):
        look_at(path, ImageFormat.QCOW2)
