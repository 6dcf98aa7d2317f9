# SPDX-License-Identifier: Apache-2.0
"""Recognising a format by the first bytes of a stream, strictly: one image is one thing.

An image that two readers would take for two different formats is refused, whatever was declared
(requirements S1, H6). So is one whose content is not what was declared (H8), because a hypervisor
that probes would open something nobody checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ssvm_agent.images.compression import Compression, detect, is_tar_header
from ssvm_agent.images.errors import UnsafeImageError, WrongFormatError
from ssvm_agent.images.formats import ImageFormat

BOOT_SIGNATURE = b"\x55\xaa"
_DESCRIPTOR_SECTOR = 2048
_FIRST_DESCRIPTOR = 16 * _DESCRIPTOR_SECTOR


@dataclass(frozen=True, slots=True)
class Signature:
    """How one kind of content begins.

    Attributes:
        name: The kind in words, with its article.
        format: The format it can be registered as; None when there is none.
        matches: Whether a head of up to 64 KiB begins like it.
    """

    name: str
    format: ImageFormat | None
    matches: Callable[[bytes], bool]


def _starts(*magics: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(magics)


def is_vmdk_descriptor(head: bytes) -> bool:
    """Whether the head is the text of a VMDK descriptor, by any rule a reader might use."""
    if head[:32].lower().startswith(b"# disk descriptorfile"):
        return True
    for line in head[:2048].splitlines():
        text = line.strip()
        if text and not text.startswith(b"#"):
            return text.replace(b" ", b"").lower().startswith(b"version=")
    return False


def has_iso9660(head: bytes) -> bool:
    """Whether an ISO 9660 volume descriptor stands in sector 16."""
    return head[_FIRST_DESCRIPTOR + 1 : _FIRST_DESCRIPTOR + 6] == b"CD001"


def has_udf(head: bytes) -> bool:
    """Whether a UDF volume recognition sequence begins in sector 16."""
    return head[_FIRST_DESCRIPTOR + 1 : _FIRST_DESCRIPTOR + 6] == b"BEA01"


def has_boot_record(head: bytes) -> bool:
    """Whether the first sector ends like a boot sector or a master boot record."""
    return head[510:512] == BOOT_SIGNATURE


def has_gpt(head: bytes) -> bool:
    """Whether a GUID partition table header stands in the second sector (512 or 4096 bytes)."""
    return head[512:520] == b"EFI PART" or head[4096:4104] == b"EFI PART"


def _compressed(kind: Compression) -> Callable[[bytes], bool]:
    return lambda head: detect(head) is kind


CONTAINERS = (
    Signature("a QCOW2 image", ImageFormat.QCOW2, _starts(b"QFI\xfb")),
    Signature("a VMDK image", ImageFormat.VMDK, _starts(b"KDMV")),
    Signature("a VHD image", ImageFormat.VHD, _starts(b"conectix")),
    Signature("a VHDX image", ImageFormat.VHDX, _starts(b"vhdxfile")),
    Signature("a VDI image", ImageFormat.VDI, lambda head: head[64:68] == b"\x7f\x10\xda\xbe"),
    Signature("an ISO 9660 image", ImageFormat.ISO, has_iso9660),
    Signature("a tar archive", ImageFormat.TAR, is_tar_header),
    Signature("a ZIP archive", ImageFormat.ZIP, _starts(b"PK\x03\x04")),
)
"""Formats with a place in :class:`ImageFormat`; RAW is what none of them matches."""

FOREIGN = (
    Signature("a VMDK descriptor without its disk data", None, is_vmdk_descriptor),
    Signature("a VMDK of the old ESX COWD kind", None, _starts(b"COWD")),
    Signature("a VMDK of the seSparse kind", None, _starts(b"\xbe\xba\xfe\xca\0\0\0\0")),
    Signature("a QED image", None, _starts(b"QED\0")),
    Signature("a Parallels image", None, _starts(b"WithoutFreeSpace", b"WithouFreSpacExt")),
    Signature("a Bochs image", None, _starts(b"Bochs Virtual HD Image")),
    Signature("a cloop image", None, _starts(b"#!/bin/sh\n#V2.0 Format")),
    Signature("a ZIP archive in several parts", None, _starts(b"PK\x07\x08", b"PK00PK\x03\x04")),
    Signature("still compressed with gzip", None, _compressed(Compression.GZIP)),
    Signature("still compressed with bzip2", None, _compressed(Compression.BZIP2)),
    Signature("still compressed with xz", None, _compressed(Compression.XZ)),
    Signature("still compressed with zstd", None, _compressed(Compression.ZSTD)),
)
"""Contents nobody can register, but which some reader would not take for a raw disk."""

_MAY_CARRY_PARTITIONS = frozenset({ImageFormat.ISO, ImageFormat.ZIP})
_HINTS = {
    "a VMDK descriptor without its disk data": (
        "convert the disk to one monolithicSparse or streamOptimized file before registering it"
    ),
}


def settle(head: bytes, declared: ImageFormat | None) -> ImageFormat:
    """Decide what an image is by its first 64 KiB.

    A fixed VHD cannot be told from a raw disk here; both come back as RAW, or as VHD when that was
    declared, and the end of the stream decides.

    Args:
        head: The first 64 KiB, or all of a shorter image.
        declared: The format it was registered with; None, or an opaque one, accepts any.

    Raises:
        UnsafeImageError: It is of no supported format, or of two.
        WrongFormatError: It is not of the declared format.
    """
    found = [signature for signature in CONTAINERS if signature.matches(head)]
    foreign = [signature for signature in FOREIGN if signature.matches(head)]
    if len(found) + len(foreign) > 1:
        names = " and ".join(signature.name for signature in found + foreign)
        raise UnsafeImageError(f"The image is {names} at once; it must be exactly one of them.")
    if foreign:
        hint = _HINTS.get(foreign[0].name, "it cannot be registered")
        raise UnsafeImageError(f"The content is {foreign[0].name}; {hint}.")
    if not found:
        return _settle_plain(head, declared)
    detected = found[0].format
    assert detected is not None
    _refuse_partitions(head, found[0])
    return _compare(detected, found[0].name, declared)


def _refuse_partitions(head: bytes, signature: Signature) -> None:
    if signature.format in _MAY_CARRY_PARTITIONS:
        return
    if has_udf(head):
        raise UnsafeImageError(f"The image is {signature.name} and a UDF file system at once.")
    if has_boot_record(head) or has_gpt(head):
        raise UnsafeImageError(
            f"The image is {signature.name} and carries a partition table or boot sector at once."
        )


def is_web_page(head: bytes) -> bool:
    """Whether the head is the start of an HTML page, such as the error page of a server."""
    return head[:64].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def _settle_plain(head: bytes, declared: ImageFormat | None) -> ImageFormat:
    if is_web_page(head):
        raise WrongFormatError("The content is a web page and not an image; check the URL.")
    if declared is None or declared.is_opaque or declared is ImageFormat.RAW:
        return ImageFormat.RAW
    if declared is ImageFormat.VHD:
        return ImageFormat.VHD
    if declared is ImageFormat.ISO and has_udf(head):
        return ImageFormat.ISO
    raise WrongFormatError(
        f"The image was registered as {declared}, but its content is not of that format."
    )


def _compare(detected: ImageFormat, name: str, declared: ImageFormat | None) -> ImageFormat:
    if declared is None or declared.is_opaque or declared is detected:
        return detected
    if declared is ImageFormat.OVA and detected is ImageFormat.TAR:
        return ImageFormat.OVA
    raise WrongFormatError(
        f"The image was registered as {declared}, but its content is {name}."
        f" Register it as {'OVA or TAR' if detected is ImageFormat.TAR else detected}."
    )
