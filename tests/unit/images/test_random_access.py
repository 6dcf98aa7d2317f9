# SPDX-License-Identifier: Apache-2.0
"""A file at rest is judged as the same bytes in a stream are, from a few reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ssvm_agent.images.errors import ImageError, UnsafeImageError, WrongFormatError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.inspect_file import inspect_stream
from ssvm_agent.images.inspector import parse_image
from ssvm_agent.images.random_access import inspect_file, pull
from ssvm_agent.images.report import InspectionLimits
from tests.fixtures import hostile_images as make


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_a_sound_image_is_described_as_its_stream_is(tmp_path: Path) -> None:
    for data, declared in (
        (make.qcow2(), ImageFormat.QCOW2),
        (make.dynamic_vhd(), ImageFormat.VHD),
    ):
        path = tmp_path / "image"
        path.write_bytes(data)
        with opened(path) as descriptor:
            assert inspect_file(descriptor, declared) == inspect_stream([data], declared)


def test_an_unsafe_or_wrong_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(make.qcow2(backing=b"/etc/shadow"))
    with opened(path) as descriptor:
        with pytest.raises(UnsafeImageError):
            inspect_file(descriptor, ImageFormat.QCOW2)
        with pytest.raises(WrongFormatError):
            inspect_file(descriptor, ImageFormat.RAW)


def test_a_limit_on_the_virtual_size_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(make.qcow2(size=2 << 30))
    with opened(path) as descriptor, pytest.raises(ImageError):
        inspect_file(descriptor, ImageFormat.QCOW2, max_virtual_size_bytes=1 << 30)


def test_only_headers_are_read() -> None:
    """Invariant: what was written is not read back as a whole (requirements S1, R20)."""
    data = make.qcow2() + bytes(64 << 20)
    read = 0

    def read_at(offset: int, count: int) -> bytes:
        nonlocal read
        read += count
        return data[offset : offset + count]

    facts = pull(parse_image(ImageFormat.QCOW2, InspectionLimits()), read_at, len(data))
    assert facts.physical_size_bytes == len(data)
    assert read < 1 << 20
