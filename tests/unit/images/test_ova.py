# SPDX-License-Identifier: Apache-2.0
"""OVA archives in one pass: member rules (H10), descriptor rules (H13), disks inside."""

from __future__ import annotations

import collections
from collections.abc import Callable

import pytest

from ssvm_agent.images.errors import (
    ArchiveRefusedError,
    CorruptImageError,
    ImageError,
    SizeLimitError,
    UnsafeImageError,
    WrongFormatError,
)
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.inspector import ImageInspector
from ssvm_agent.images.report import ImageReport
from tests.fixtures import hostile_images as make

OVA = ImageFormat.OVA
MIB = 1 << 20


def inspect(data: bytes, **limits: int) -> ImageReport:
    """Feed everything at once."""
    inspector = ImageInspector(OVA, **limits)
    inspector.feed(data)
    return inspector.finish()


def test_an_ova_reports_its_descriptor_and_the_sum_of_its_disks() -> None:
    """storage-commands.md 7: the virtual size is the sum over Disk of capacity times unit."""
    two = make.ovf(
        files=[("file1", "disk1.vmdk"), ("file2", "disk2.vmdk")],
        disks=[("vmdisk1", "file1", "10"), ("vmdisk2", "file2", "5")],
    )
    data = make.ova(make.tar_member("disk2.vmdk", make.vmdk()), descriptor=two)
    report = inspect(data)
    assert report.accepted
    assert report.detected is OVA
    assert report.virtual_size_bytes == 15 * MIB
    assert report.physical_size_bytes == len(data)
    assert report.ovf is not None
    assert [disk.id for disk in report.ovf.disks] == ["vmdisk1", "vmdisk2"]


BAD_MEMBERS: list[tuple[str, Callable[[], bytes], str]] = [
    (
        "symbolic link",
        lambda: make.tar_header(b"x", 0, kind=b"2", link=b"/etc/shadow"),
        "symbolic link",
    ),
    ("hard link", lambda: make.tar_header(b"x", 0, kind=b"1", link=b"vm.ovf"), "hard link"),
    ("character device", lambda: make.tar_header(b"x", 0, kind=b"3"), "device"),
    ("block device", lambda: make.tar_header(b"x", 0, kind=b"4"), "device"),
    ("named pipe", lambda: make.tar_header(b"x", 0, kind=b"6"), "pipe"),
    ("directory", lambda: make.tar_header(b"x/", 0, kind=b"5"), "a directory"),
    ("old directory", lambda: make.tar_header(b"x/", 0), "lies in a directory"),
    ("name above", lambda: make.tar_header(b"../x", 0), "lies in a directory"),
    ("absolute name", lambda: make.tar_header(b"/x", 0), "lies in a directory"),
    ("name in a prefix", lambda: make.tar_header(b"x", 0, prefix=b"a"), "lies in a directory"),
    ("Windows path", lambda: make.tar_header(b"..\\x", 0), "lies in a directory"),
    ("no name", lambda: make.tar_header(b"./", 0), "usable name"),
    ("dots", lambda: make.tar_header(b"..", 0), "usable name"),
    ("control character", lambda: make.tar_header(b"a\nb", 0), "not allowed"),
    ("no UTF-8", lambda: make.tar_header(b"a\xff", 0), "not allowed"),
    ("same name again", lambda: make.tar_header(b"vm.ovf", 0), "two members"),
    ("same name in capitals", lambda: make.tar_header(b"DISK1.VMDK", 0), "two members"),
    ("GNU sparse file", lambda: make.tar_header(b"x", 0, kind=b"S"), "sparse"),
    ("GNU long link", lambda: make.tar_member("x", b"target", kind=b"K"), "a link"),
    ("unknown kind", lambda: make.tar_header(b"x", 0, kind=b"Q"), "unknown kind"),
    ("PAX sparse file", lambda: make.pax({"GNU.sparse.major": "1"}), "GNU.sparse"),
    ("PAX link path", lambda: make.pax({"linkpath": "/etc/shadow"}), "linkpath"),
    (
        "PAX size lie",
        lambda: make.pax({"size": "0"}) + make.tar_member("x", b"data"),
        "two different sizes",
    ),
    (
        "PAX negative size",
        lambda: make.pax({"size": "-1"}) + make.tar_member("x", b"d"),
        "two different sizes",
    ),
    (
        "PAX path above",
        lambda: make.pax({"path": "../x"}) + make.tar_member("x", b"data"),
        "lies in a directory",
    ),
    ("PAX size for all", lambda: make.pax({"size": "9"}, kind=b"g"), "not allowed"),
    ("PAX headers without end", lambda: make.pax({"comment": "x"}) * 10, "too many extension"),
    (
        "long name too long",
        lambda: make.tar_member("x", b"n" * 300, kind=b"L") + make.tar_member("x", b""),
        "too long",
    ),
    (
        "GNU long name above",
        lambda: make.tar_member("x", b"../y\0", kind=b"L") + make.tar_member("x", b""),
        "lies in a directory",
    ),
    ("second descriptor", lambda: make.tar_member("b.ovf", make.ovf()), "more than one OVF"),
]


@pytest.mark.parametrize(
    ("build", "words"), [row[1:] for row in BAD_MEMBERS], ids=[row[0] for row in BAD_MEMBERS]
)
def test_an_unacceptable_member_is_refused(build: Callable[[], bytes], words: str) -> None:
    """Requirements S5 and H10."""
    with pytest.raises(ArchiveRefusedError, match=words):
        inspect(make.ova(build()))


def test_a_million_members_are_refused_when_the_limit_is_passed() -> None:
    """Requirements H10: the walk stops early, it does not count to the end."""
    inspector = ImageInspector(OVA, max_members=100)
    headers = (make.tar_header(b"%d.txt" % number, 0) for number in range(10**6))
    with pytest.raises(ArchiveRefusedError, match="more than 100 members"):
        collections.deque(map(inspector.feed, headers), maxlen=0)
    assert inspector.physical_size_bytes < 200 * 512


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (make.ova()[:-1024], CorruptImageError, "cut short"),
        (make.ova()[:9000], CorruptImageError, r"inside the OVA|cut short"),
        (make.ova() + b"junk", ArchiveRefusedError, "belongs to nothing"),
        (make.ova()[:-1024] + b"\x01" * 1024, CorruptImageError, "header is not valid"),
        (
            make.tar_archive(make.tar_member("disk1.vmdk", make.vmdk())),
            ArchiveRefusedError,
            "no OVF",
        ),
        (
            make.tar_archive(make.tar_member("vm.ovf", make.ovf())),
            ArchiveRefusedError,
            "does not contain",
        ),
        (
            make.ova(make.tar_header(b"x", 0, size_field=b"garbage!1234")),
            CorruptImageError,
            "no valid size",
        ),
        (
            make.ova(make.tar_header(b"x", 0, size_field=b"\x80" + b"\xff" * 11)),
            CorruptImageError,
            "impossible size",
        ),
        (
            make.ova(make.tar_member("x", b"nonsense", kind=b"x")),
            CorruptImageError,
            "extension header",
        ),
    ],
)
def test_a_damaged_archive_is_refused(data: bytes, error: type[ImageError], words: str) -> None:
    with pytest.raises(error, match="(?i)" + words):
        inspect(data)


@pytest.mark.parametrize(
    ("name", "disk", "error", "words"),
    [
        ("disk1.vmdk", make.vmdk_descriptor(), UnsafeImageError, "descriptor without"),
        (
            "disk1.vmdk",
            make.vmdk(descriptor=make.vmdk_descriptor(extents=['RW 20480 SPARSE "../x.vmdk"'])),
            UnsafeImageError,
            "with a path",
        ),
        ("disk1.vmdk", make.qcow2(), WrongFormatError, "QCOW2"),
        ("disk1.vmdk", bytes(MIB), WrongFormatError, "not of that format"),
        ("disk1.vmdk", make.vmdk()[:40000], CorruptImageError, "cut short"),
        ("disk1.iso", make.vmdk(), WrongFormatError, "VMDK"),
        ("disk1", make.qcow2(backing=b"/etc/shadow"), UnsafeImageError, "backing file"),
    ],
)
def test_every_disk_inside_is_inspected(
    name: str, disk: bytes, error: type[ImageError], words: str
) -> None:
    """Requirements S1: a disk in an archive is an image like any other."""
    descriptor = make.ovf(files=[("file1", name)])
    with pytest.raises(error, match=words) as caught:
        inspect(make.ova(descriptor=descriptor, disk=disk, name=name))
    assert caught.value.message.startswith(f"Inside the OVA, '{name}': ")


@pytest.mark.parametrize(
    ("descriptor", "error", "words"),
    [
        (
            make.ovf(doctype='<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/shadow">]>'),
            UnsafeImageError,
            "document type",
        ),
        (make.ovf(doctype="<!DOCTYPE x>"), UnsafeImageError, "document type"),
        (
            make.ovf(files=[("file1", "file:///etc/shadow")]),
            ArchiveRefusedError,
            "inside the archive",
        ),
        (
            make.ovf(files=[("file1", "http://169.254.169.254/x")]),
            ArchiveRefusedError,
            "inside the archive",
        ),
        (make.ovf(files=[("file1", "../disk1.vmdk")]), ArchiveRefusedError, "inside the archive"),
        (make.ovf(files=[("file1", "")]), ArchiveRefusedError, "inside the archive"),
        (make.ovf(disks=[("d", "file1", "-10")]), CorruptImageError, "impossible capacity"),
        (make.ovf(disks=[("d", "file1", "9" * 18)]), CorruptImageError, "impossible capacity"),
        (make.ovf(disks=[("d", "file1", "0")]), CorruptImageError, "Failed to read capacity"),
        (make.ovf(disks=[]), CorruptImageError, "describes no disk"),
        (
            make.ovf(disks=[(f"d{n}", "file1", "1") for n in range(300)]),
            UnsafeImageError,
            "300 disks",
        ),
        (
            make.ovf(disks=[(f"d{n}", "f", "1") for n in range(10**5)]),
            ImageError,
            r"too large|too many",
        ),
        (make.ovf(systems=0), CorruptImageError, "found 0 system definitions"),
        (make.ovf(systems=2), CorruptImageError, "found 2 system definitions"),
        (b"<Envelope>", CorruptImageError, "not well-formed"),
        (b"<other/>", CorruptImageError, "not an OVF envelope"),
        (b"<a>" * 100, UnsafeImageError, "too many elements"),
        (
            b'<?xml version="1.0" encoding="klingon"?><a/>',
            CorruptImageError,
            r"encoding|well-formed",
        ),
        (b"", CorruptImageError, "not well-formed"),
    ],
)
def test_an_unacceptable_descriptor_is_refused(
    descriptor: bytes, error: type[ImageError], words: str
) -> None:
    """Requirements R31 and H13."""
    with pytest.raises(error, match=words):
        inspect(make.ova(descriptor=descriptor))


def test_a_capacity_that_is_no_number_counts_as_one() -> None:
    """storage-commands.md 7.3: missing or not a number means 1 of the unit."""
    report = inspect(make.ova(descriptor=make.ovf(disks=[("d", "file1", "${size}")])))
    assert report.virtual_size_bytes == MIB


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("byte * 2^10", 1 << 10),
        ("KB", 1 << 10),
        ("megabytes", 1 << 20),
        ("GB", 1 << 30),
        ("", 1),
        ("byte", 1),
        ("byte * 2^40", 1),
    ],
)
def test_units_of_capacity_are_read(unit: str, factor: int) -> None:
    """storage-commands.md 7.3: three units in three spellings each, anything else is bytes."""
    assert inspect(make.ova(descriptor=make.ovf(unit=unit))).virtual_size_bytes == 10 * factor


def test_the_limit_holds_for_the_sum_and_for_each_disk_inside() -> None:
    small = make.ova(descriptor=make.ovf(disks=[("d", "file1", "1")]))
    with pytest.raises(SizeLimitError):
        inspect(small, max_virtual_size_bytes=5 * MIB)
    with pytest.raises(SizeLimitError):
        inspect(make.ova(), max_virtual_size_bytes=5 * MIB)


def test_names_with_dot_slash_long_names_and_base_256_sizes_are_fine() -> None:
    """What common tar programs write is accepted."""
    long_name = "n" * 120 + ".txt"
    data = make.ova(
        make.tar_member("./readme.txt", b"hello"),
        make.tar_member("x", long_name.encode() + b"\0", kind=b"L"),
        make.tar_member("n" * 99, b"text", size_field=b"\x80" + (4).to_bytes(11, "big")),
        make.pax({"mtime": "1.5", "path": "\u00e4.txt"}) + make.tar_member("?.txt", b"x"),
        make.pax({"comment": "made by git"}, kind=b"g") + make.tar_member("vm.mf", b"SHA1"),
    )
    assert inspect(data).accepted
    assert inspect(data + bytes(9 * MIB)).accepted


def test_the_order_of_members_does_not_matter() -> None:
    data = make.tar_archive(
        make.tar_member("disk1.vmdk", make.vmdk()), make.tar_member("vm.OVF", make.ovf())
    )
    assert inspect(data).accepted
