# SPDX-License-Identifier: Apache-2.0
"""Unpacking and packing OVAs on a disk: all of it or nothing (requirements S5, H10)."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssvm_agent.images.archive import Unpacked, pack, unpack
from ssvm_agent.images.errors import ArchiveRefusedError, CorruptImageError, ImageError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.inspect_file import inspect_stream
from tests.fixtures import hostile_images as make


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where things are unpacked."""
    path = tmp_path / "template"
    path.mkdir()
    return path


@pytest.fixture
def handle(directory: Path) -> Iterator[int]:
    """A descriptor of it."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def unpack_bytes(data: bytes, directory: Path, handle: int) -> tuple[Unpacked, ...]:
    archive = directory / "vm.ova"
    archive.write_bytes(data)
    fd = os.open(archive, os.O_RDONLY)
    try:
        return unpack(
            fd,
            handle,
            temporary_prefix="dnld-unpack-",
            protected={"vm.ova", "template.properties"},
        )
    finally:
        os.close(fd)


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_an_ova_is_unpacked_beside_itself(directory: Path, handle: int) -> None:
    disk = make.vmdk()
    files = unpack_bytes(make.ova(disk=disk), directory, handle)
    assert files == (Unpacked("vm.ovf", len(make.ovf())), Unpacked("disk1.vmdk", len(disk)))
    assert names(directory) == {"vm.ova", "vm.ovf", "disk1.vmdk"}
    assert (directory / "disk1.vmdk").read_bytes() == disk
    assert (directory / "vm.ovf").read_bytes() == make.ovf()
    assert (directory / "vm.ovf").stat().st_mode & 0o777 == 0o666


def test_files_of_an_earlier_attempt_are_replaced(directory: Path, handle: int) -> None:
    (directory / "disk1.vmdk").write_text("half")
    unpack_bytes(make.ova(), directory, handle)
    assert (directory / "disk1.vmdk").read_bytes() == make.vmdk()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (make.ova(make.tar_header(b"x", 0, kind=b"2", link=b"/etc")), ArchiveRefusedError),
        (make.ova(make.tar_member("../x", b"x")), ArchiveRefusedError),
        (make.ova(make.tar_member("vm.ova", b"x")), ArchiveRefusedError),
        (make.ova(make.tar_member("Template.Properties", b"x")), ArchiveRefusedError),
        (make.ova(make.tar_member("dnld-unpack-0", b"x")), ArchiveRefusedError),
        (make.ova()[:-1024], CorruptImageError),
        (make.ova()[:5000], CorruptImageError),
        (
            make.tar_archive(*[make.tar_header(b"%d" % n, 0) for n in range(1001)]),
            ArchiveRefusedError,
        ),
        (b"no archive" * 100, CorruptImageError),
    ],
)
def test_nothing_is_left_of_a_refused_archive(
    directory: Path, handle: int, data: bytes, error: type[ImageError]
) -> None:
    """Requirements S5: reject at the first bad member and leave nothing."""
    with pytest.raises(error):
        unpack_bytes(data, directory, handle)
    assert names(directory) == {"vm.ova"}


@pytest.mark.parametrize("kind", ["link", "directory"])
def test_nothing_but_a_file_is_replaced(
    tmp_path: Path, directory: Path, handle: int, kind: str
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    if kind == "link":
        (directory / "disk1.vmdk").symlink_to(outside)
    else:
        (directory / "disk1.vmdk").mkdir()
    with pytest.raises(ArchiveRefusedError, match="place"):
        unpack_bytes(make.ova(), directory, handle)
    assert names(directory) == {"vm.ova", "disk1.vmdk"}
    assert outside.read_text() == "precious"


def test_stopping_in_the_middle_leaves_nothing(directory: Path, handle: int) -> None:
    (directory / "vm.ova").write_bytes(make.ova())
    fd = os.open(directory / "vm.ova", os.O_RDONLY)

    def stop(copied: int) -> None:
        assert copied
        raise InterruptedError

    with pytest.raises(InterruptedError):
        unpack(fd, handle, temporary_prefix="t-", protected=(), on_progress=stop)
    os.close(fd)
    assert names(directory) == {"vm.ova"}


def test_a_packed_archive_is_read_by_us_and_by_others(directory: Path, handle: int) -> None:
    """storage-commands.md 3.20: descriptor first, then the disk."""
    (directory / "vm.ovf").write_bytes(make.ovf())
    (directory / "disk1.vmdk").write_bytes(make.vmdk())
    copied: list[int] = []
    length = pack(
        handle,
        ["vm.ovf", "disk1.vmdk"],
        "new.ova",
        temporary_name="dnld-1",
        on_progress=copied.append,
    )
    data = (directory / "new.ova").read_bytes()
    assert length == len(data)
    assert sum(copied) == len(make.ovf()) + len(make.vmdk())
    assert inspect_stream([data], ImageFormat.OVA).accepted
    with tarfile.open(directory / "new.ova") as tar:
        assert tar.getnames() == ["vm.ovf", "disk1.vmdk"]
    assert names(directory) == {"vm.ovf", "disk1.vmdk", "new.ova"}


@pytest.mark.parametrize("member", ["missing", "link", "pipe", "../outside"])
def test_only_regular_files_are_packed(directory: Path, handle: int, member: str) -> None:
    (directory / "link").symlink_to("/etc/passwd")
    os.mkfifo(directory / "pipe")
    with pytest.raises((OSError, ArchiveRefusedError)):
        pack(handle, [member], "new.ova", temporary_name="dnld-1")
    assert names(directory) == {"link", "pipe"}
