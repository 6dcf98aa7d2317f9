# SPDX-License-Identifier: Apache-2.0
"""The table of hostile and of normal images: what has to be refused, and what has to pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
from ssvm_agent.images.inspect_file import inspect_stream
from ssvm_agent.images.inspector import ImageInspector
from tests.fixtures import hostile_images as make

QCOW2, RAW, VHD, VHDX = ImageFormat.QCOW2, ImageFormat.RAW, ImageFormat.VHD, ImageFormat.VHDX
VMDK, VDI, OVA, ISO, TAR = (
    ImageFormat.VMDK,
    ImageFormat.VDI,
    ImageFormat.OVA,
    ImageFormat.ISO,
    ImageFormat.TAR,
)
MIB = 1 << 20


def inspect_all(
    data: bytes, declared: ImageFormat, *, max_virtual_size_bytes: int | None = None
) -> None:
    """Feed an image at once and finish."""
    inspector = ImageInspector(declared, max_virtual_size_bytes=max_virtual_size_bytes)
    inspector.feed(data)
    inspector.finish()


@dataclass(frozen=True)
class Refused:
    """An image that must be refused, with the kind of error and words of its message."""

    name: str
    declared: ImageFormat
    build: Callable[[], bytes]
    error: type[ImageError]
    words: str


def _descriptor(extent: str) -> bytes:
    return make.vmdk(descriptor=make.vmdk_descriptor(extents=[extent]))


REFUSED = [
    Refused("H1 backing file", QCOW2, lambda: make.qcow2(backing=b"/etc/shadow"),
            UnsafeImageError, "names a backing file; flatten it"),
    Refused("H1 backing file as json", QCOW2,
            lambda: make.qcow2(backing=b'json:{"driver":"nbd","host":"x"}'),
            UnsafeImageError, "names a backing file"),
    Refused("H2 external data file", QCOW2, lambda: make.qcow2(features=1 << 2),
            UnsafeImageError, "external file"),
    Refused("H2 external data file by its extension alone", QCOW2,
            lambda: make.qcow2(extensions=[(0x44415441, b"/dev/sda")]),
            UnsafeImageError, "external file"),
    Refused("H2 the same in version 2", QCOW2,
            lambda: make.qcow2(version=2, extensions=[(0x44415441, b"/dev/sda")]),
            UnsafeImageError, "external file"),
    Refused("H2 unknown incompatible bit", QCOW2, lambda: make.qcow2(features=1 << 40),
            UnsafeImageError, "unknown incompatible features"),
    Refused("H3 extended L2", QCOW2, lambda: make.qcow2(features=1 << 4),
            UnsafeImageError, "extended_l2=off"),
    Refused("H4 unknown compression", QCOW2,
            lambda: make.qcow2(features=1 << 3, compression=7), UnsafeImageError, "compression"),
    Refused("H5 version 1", QCOW2, lambda: make.qcow2(version=1),
            UnsafeImageError, "version 1"),
    Refused("H5 virtual size 2^62", QCOW2, lambda: make.qcow2(size=1 << 62),
            SizeLimitError, "allowed"),
    Refused("H5 no virtual size", QCOW2, lambda: make.qcow2(size=0),
            CorruptImageError, "no virtual size"),
    Refused("H6 qcow2 and MBR", QCOW2, lambda: make.with_mbr(make.qcow2()),
            UnsafeImageError, "partition table"),
    Refused("H6 qcow2 and GPT", QCOW2, lambda: make.with_gpt(make.qcow2()),
            UnsafeImageError, "partition table"),
    Refused("H6 qcow2 and ISO 9660", QCOW2,
            lambda: make.overlay(make.qcow2(), 32769, b"CD001"), UnsafeImageError, "at once"),
    Refused("H6 the same declared ISO", ISO,
            lambda: make.overlay(make.iso(), 0, make.qcow2()[:512]), UnsafeImageError, "at once"),
    Refused("H6 qcow2 in a fixed VHD", VHD, lambda: make.fixed_vhd(make.qcow2()),
            WrongFormatError, "QCOW2"),
    Refused("H6 VDI with the magic of qcow2", VDI,
            lambda: make.overlay(make.vdi(), 0, b"QFI\xfb"), UnsafeImageError, "at once"),
    Refused("H6 VMDK and MBR", VMDK, lambda: make.with_mbr(make.vmdk()),
            UnsafeImageError, "partition table"),
    Refused("H6 OVA and MBR", OVA, lambda: make.overlay(make.ova(), 510, b"\x55\xaa"),
            WrongFormatError, "not of that format"),
    Refused("H7 descriptor only", VMDK,
            lambda: make.vmdk_descriptor(extents=['RW 1 FLAT "/etc/passwd" 0']),
            UnsafeImageError, "descriptor without its disk"),
    Refused("H7 descriptor with comments in front", VMDK,
            lambda: b"# hello\n\nversion=1\n" + make.vmdk_descriptor(),
            UnsafeImageError, "descriptor without its disk"),
    Refused("H7 descriptor declared RAW", RAW, make.vmdk_descriptor,
            UnsafeImageError, "descriptor without its disk"),
    Refused("H7 extent above", VMDK, lambda: _descriptor('RW 20480 SPARSE "../other.vmdk"'),
            UnsafeImageError, "with a path"),
    Refused("H7 extent with an absolute path", VMDK,
            lambda: _descriptor('RW 20480 SPARSE "/vmfs/disk.vmdk"'),
            UnsafeImageError, "with a path"),
    Refused("H7 extent with a Windows path", VMDK,
            lambda: _descriptor('RW 20480 SPARSE "C:\\disk.vmdk"'),
            UnsafeImageError, "with a path"),
    Refused("H7 flat extent", VMDK, lambda: _descriptor('RW 20480 FLAT "disk-flat.vmdk" 0'),
            UnsafeImageError, "outside the file"),
    Refused("H7 two extents", VMDK,
            lambda: make.vmdk(descriptor=make.vmdk_descriptor(
                extents=['RW 20480 SPARSE "a.vmdk"', 'RW 20480 SPARSE "b.vmdk"'])),
            UnsafeImageError, "several extents"),
    Refused("H7 split type", VMDK,
            lambda: make.vmdk(descriptor=make.vmdk_descriptor(create_type="twoGbMaxExtentSparse")),
            UnsafeImageError, "complete in one file"),
    Refused("H7 parent identifier", VMDK,
            lambda: make.vmdk(descriptor=make.vmdk_descriptor(parent="0badf00d")),
            UnsafeImageError, "parent"),
    Refused("H7 parent name", VMDK,
            lambda: make.vmdk(descriptor=make.vmdk_descriptor(
                more='parentFileNameHint="/vmfs/base.vmdk"')),
            UnsafeImageError, "names another file"),
    Refused("H7 parent identifier said twice", VMDK,
            lambda: make.vmdk(descriptor=make.vmdk_descriptor(more="parentCID=ffffffff")),
            UnsafeImageError, "twice"),
    Refused("H7 no capacity of its own", VMDK,
            lambda: make.vmdk(capacity=0, descriptor=make.vmdk_descriptor()),
            UnsafeImageError, "capacity"),
    Refused("H7 descriptor elsewhere", VMDK, lambda: make.vmdk(descriptor_sector=9),
            UnsafeImageError, "no embedded descriptor"),
    Refused("H7 footer with another capacity", VMDK, lambda: make.vmdk(footer_capacity=1 << 30),
            UnsafeImageError, "contradict"),
    Refused("H7 descriptor with another capacity", VMDK,
            lambda: make.vmdk(descriptor=make.vmdk_descriptor(sectors=2048)),
            CorruptImageError, "different sizes"),
    Refused("VMDK damaged by a text transfer", VMDK, lambda: make.vmdk(line_ends=b"\n \n\n"),
            CorruptImageError, "text mode"),
    *(
        Refused(f"H8 qcow2 declared {declared}", declared, make.qcow2, WrongFormatError, "QCOW2")
        for declared in (RAW, VHD, VMDK, ISO, VHDX, VDI, OVA, TAR, ImageFormat.ZIP)
    ),
    Refused("H8 VHD declared RAW", RAW, make.dynamic_vhd, WrongFormatError, "VHD"),
    Refused("H8 fixed VHD declared RAW", RAW, lambda: make.fixed_vhd(bytes(MIB)),
            WrongFormatError, "fixed VHD"),
    Refused("H8 ISO declared RAW", RAW, make.iso, WrongFormatError, "ISO 9660"),
    Refused("H8 hybrid ISO declared RAW", RAW, lambda: make.with_mbr(make.iso()),
            WrongFormatError, "ISO 9660"),
    Refused("H8 raw disk declared ISO", ISO, lambda: make.with_mbr(bytes(MIB)),
            WrongFormatError, "not of that format"),
    Refused("H8 raw disk declared QCOW2", QCOW2, lambda: bytes(MIB),
            WrongFormatError, "not of that format"),
    Refused("H8 raw disk declared VHD", VHD, lambda: bytes(MIB),
            WrongFormatError, "neither begins nor ends"),
    Refused("H8 QED declared RAW", RAW, lambda: b"QED\0" + bytes(MIB), UnsafeImageError, "QED"),
    Refused("H8 still compressed", RAW, lambda: b"\x1f\x8b\x08" + bytes(MIB),
            UnsafeImageError, "still compressed with gzip"),
    Refused("H9 VHD differencing disk", VHD, lambda: make.dynamic_vhd(disk_type=4),
            UnsafeImageError, "differencing"),
    Refused("H9 fixed VHD of the differencing type", VHD,
            lambda: make.fixed_vhd(bytes(MIB), disk_type=4), UnsafeImageError, "differencing"),
    Refused("H9 VHD with a parent name", VHD, lambda: make.dynamic_vhd(parent_name="base.vhd"),
            UnsafeImageError, "parent"),
    Refused("H9 VHD with a parent locator", VHD, lambda: make.dynamic_vhd(locator=b"W2ku"),
            UnsafeImageError, "parent"),
    Refused("H9 VHDX with the parent flag", VHDX, lambda: make.vhdx(parent_flag=True),
            UnsafeImageError, "parent"),
    Refused("H9 VHDX with a parent locator", VHDX,
            lambda: make.vhdx(extra_items=[(make.PARENT_LOCATOR, 4, bytes(20))]),
            UnsafeImageError, "parent"),
    Refused("H9 VHDX with a log to replay", VHDX,
            lambda: make.vhdx(logs=(bytes(16), b"L" * 16)), UnsafeImageError, "log"),
    Refused("H9 VHDX with an unknown required item", VHDX,
            lambda: make.vhdx(extra_items=[(make.STRANGER, 4, b"x")]), UnsafeImageError, "item"),
    Refused("H9 VHDX with an unknown required region", VHDX,
            lambda: make.vhdx(extra_regions=[(make.STRANGER, 2 * MIB, MIB, 1)]),
            UnsafeImageError, "region"),
    Refused("H9 VHDX with two different region tables", VHDX,
            lambda: make.vhdx(second_table=make.other_vhdx_regions()),
            UnsafeImageError, "contradict"),
    Refused("H9 VDI differencing image", VDI, lambda: make.vdi(kind=4),
            UnsafeImageError, "another image"),
    Refused("H9 VDI with a parent", VDI, lambda: make.vdi(parent=b"p" * 16),
            UnsafeImageError, "another image"),
    Refused("VHD without its end", VHD, lambda: make.dynamic_vhd(footer_at_end=False),
            CorruptImageError, "cut short"),
    Refused("fixed VHD without its beginning", VHD,
            lambda: make.fixed_vhd(bytes(MIB), promised=2 * MIB), CorruptImageError, "holds"),
    Refused("ISO without its end", ISO, lambda: make.iso(promised=100000),
            CorruptImageError, "cut short"),
    Refused("nothing at all", RAW, lambda: b"", CorruptImageError, "empty"),
]  # fmt: skip


@pytest.mark.parametrize("sample", REFUSED, ids=lambda sample: sample.name)
def test_a_hostile_image_is_refused_with_a_readable_reason(sample: Refused) -> None:
    """Requirements H1 to H9: refused, with a sentence that tells why."""
    data = sample.build()
    with pytest.raises(sample.error, match=sample.words) as caught:
        inspect_all(data, sample.declared)
    assert caught.value.message.endswith(".")
    report = inspect_stream([data], sample.declared)
    assert not report.accepted
    assert report.reasons == (caught.value.message,)
    assert report.physical_size_bytes == len(data)


@pytest.mark.parametrize(
    "sample",
    [sample for sample in REFUSED if sample.error is UnsafeImageError],
    ids=lambda sample: sample.name,
)
def test_what_is_refused_for_its_dangers_is_refused_whatever_was_declared(sample: Refused) -> None:
    """No declared format is a way around the safety rules (requirements S1)."""
    for declared in [*ImageFormat, None]:
        assert not inspect_stream([sample.build()], declared).accepted


@pytest.mark.parametrize("declared", [QCOW2, RAW, ISO, None])
@pytest.mark.parametrize("page", [b"<!DOCTYPE html>\n<p>Not found", b"\n <HTML><body>"])
def test_a_web_page_in_place_of_an_image_is_called_one(
    declared: ImageFormat | None, page: bytes
) -> None:
    """Requirements R14: a sentence the user can act on."""
    (reason,) = inspect_stream([page], declared).reasons
    assert reason == "The content is a web page and not an image; check the URL."


@dataclass(frozen=True)
class Accepted:
    """An image that must pass, with its virtual size."""

    name: str
    declared: ImageFormat
    build: Callable[[], bytes]
    virtual_size_bytes: int


ACCEPTED = [
    Accepted("H4 zstd compression", QCOW2,
             lambda: make.qcow2(features=1 << 3, compression=1), 10 * MIB),
    Accepted("H4 dirty", QCOW2, lambda: make.qcow2(features=1), 10 * MIB),
    Accepted("corrupt bit", QCOW2, lambda: make.qcow2(features=2), 10 * MIB),
    Accepted("H5 version 2 with an extension at offset 72", QCOW2,
             lambda: make.qcow2(version=2, extensions=[(0x6803F857, bytes(48))]), 10 * MIB),
    Accepted("version 2 with an extension that would be a feature bit", QCOW2,
             lambda: make.qcow2(version=2, extensions=[(0xE2792ACA, b"raw")]), 10 * MIB),
    Accepted("LUKS inside", QCOW2, lambda: make.qcow2(encryption=2), 10 * MIB),
    Accepted("raw zeros", RAW, lambda: bytes(MIB), MIB),
    Accepted("raw with MBR", RAW, lambda: make.with_mbr(bytes(MIB)), MIB),
    Accepted("raw with GPT", RAW, lambda: make.with_gpt(bytes(MIB)), MIB),
    Accepted("raw with UDF", RAW, lambda: make.iso(plain=False, udf=True), 200 * 2048),
    Accepted("raw of an odd length", RAW, lambda: b"x", 1),
    Accepted("fixed VHD", VHD, lambda: make.fixed_vhd(bytes(MIB)), MIB + 512),
    Accepted("fixed VHD with MBR", VHD, lambda: make.fixed_vhd(make.with_mbr(bytes(MIB))),
             MIB + 512),
    Accepted("dynamic VHD", VHD, make.dynamic_vhd, 10 * MIB),
    Accepted("dynamic VHD, resized", VHD,
             lambda: make.dynamic_vhd(size=20 * MIB, original=10 * MIB), 10 * MIB),
    Accepted("VHDX", VHDX, make.vhdx, 10 * MIB),
    Accepted("VHDX whose older header has a log", VHDX,
             lambda: make.vhdx(logs=(b"L" * 16, bytes(16))), 10 * MIB),
    Accepted("VHDX with an unknown optional item", VHDX,
             lambda: make.vhdx(extra_items=[(make.STRANGER, 0, b"x")]), 10 * MIB),
    Accepted("VMDK", VMDK, make.vmdk, 10 * MIB),
    Accepted("VMDK, version 3", VMDK, lambda: make.vmdk(version=3), 10 * MIB),
    Accepted("VMDK with a footer", VMDK,
             lambda: make.vmdk(footer_capacity=20480, descriptor=make.vmdk_descriptor(
                 create_type="streamOptimized")), 10 * MIB),
    Accepted("VMDK whose extent is read-only", VMDK,
             lambda: _descriptor('RDONLY 20480 SPARSE "box-disk001.vmdk"'), 10 * MIB),
    Accepted("VDI", VDI, make.vdi, 10 * MIB),
    Accepted("fixed VDI", VDI, lambda: make.vdi(kind=2), 10 * MIB),
    Accepted("ISO", ISO, make.iso, 200 * 2048),
    Accepted("H14 ISO with MBR", ISO, lambda: make.with_mbr(make.iso()), 200 * 2048),
    Accepted("H14 ISO with GPT", ISO, lambda: make.with_gpt(make.iso()), 200 * 2048),
    Accepted("H14 UDF bridge", ISO, lambda: make.iso(udf=True), 200 * 2048),
    Accepted("UDF alone", ISO, lambda: make.iso(plain=False, udf=True), 200 * 2048),
    Accepted("ISO without its run-out", ISO, lambda: make.iso(promised=350), 200 * 2048),
    Accepted("TAR with links inside", TAR,
             lambda: make.tar_archive(make.tar_header(b"bin", 0, kind=b"2", link=b"usr/bin")),
             1536),
    Accepted("ZIP", ImageFormat.ZIP, lambda: b"PK\x03\x04" + bytes(100), 104),
    Accepted("something opaque", ImageFormat.EXTERNAL, lambda: b"anything", 8),
]  # fmt: skip


@pytest.mark.parametrize("sample", ACCEPTED, ids=lambda sample: sample.name)
def test_a_normal_image_is_accepted_with_its_virtual_size(sample: Accepted) -> None:
    """Requirements H4, H5, H14; virtual sizes by storage-commands.md 7."""
    data = sample.build()
    report = inspect_stream([data], sample.declared)
    assert report.reasons == ()
    assert report.accepted
    assert report.virtual_size_bytes == sample.virtual_size_bytes
    assert report.physical_size_bytes == len(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (make.with_gpt(bytes(MIB)), "a GUID partition table"),
        (make.with_mbr(bytes(MIB)), "a master boot record"),
        (make.overlay(bytes(MIB), 0x438, b"\x53\xef"), "a bare ext file system"),
        (make.overlay(make.with_mbr(bytes(MIB)), 82, b"FAT32"), "a bare FAT file system"),
        (make.iso(plain=False, udf=True), "a bare UDF file system"),
        (bytes(MIB), "no known partition table or file system"),
    ],
)
def test_the_layout_of_a_raw_disk_is_named(data: bytes, words: str) -> None:
    assert inspect_stream([data], RAW).notes == (words,)


@pytest.mark.parametrize(
    ("declared", "data"),
    [(QCOW2, make.qcow2()), (VHD, make.dynamic_vhd()), (VHDX, make.vhdx()), (VMDK, make.vmdk()),
     (VDI, make.vdi()), (RAW, bytes(MIB)), (ISO, make.iso()), (OVA, make.ova()),
     (VHD, make.fixed_vhd(bytes(MIB)))],
)  # fmt: skip
def test_a_virtual_disk_beyond_the_limit_is_refused(declared: ImageFormat, data: bytes) -> None:
    """Requirements R15: the limit holds to the byte."""
    size = inspect_stream([data], declared).virtual_size_bytes
    assert inspect_stream([data], declared, max_virtual_size_bytes=size).accepted
    with pytest.raises(SizeLimitError, match="allowed"):
        inspect_all(data, declared, max_virtual_size_bytes=size - 1)


def test_a_raw_image_beyond_the_limit_is_refused_before_its_end() -> None:
    inspector = ImageInspector(RAW, max_virtual_size_bytes=MIB)
    inspector.feed(bytes(MIB))
    with pytest.raises(SizeLimitError, match="larger than"):
        inspector.feed(b"x")


def test_a_refusal_repeats_on_every_later_call() -> None:
    inspector = ImageInspector(QCOW2)
    for _ in range(2):
        with pytest.raises(UnsafeImageError, match="backing"):
            inspector.feed(make.qcow2(backing=b"base"))
    with pytest.raises(UnsafeImageError, match="backing"):
        inspector.finish()


def test_the_member_rules_of_archives_are_not_applied_to_a_declared_tar() -> None:
    assert inspect_stream([make.ova()], TAR).accepted
    assert not issubclass(ArchiveRefusedError, UnsafeImageError)
