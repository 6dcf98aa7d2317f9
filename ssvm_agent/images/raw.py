# SPDX-License-Identifier: Apache-2.0
"""Raw disks: a partition table, a bare file system or plain bytes; what no other format claims.

The layout found is only a remark for people; any content is a valid raw disk. What matters is that
nothing else matches (:mod:`ssvm_agent.images.signatures`), and that the end is not a VHD footer.
"""

from __future__ import annotations

from ssvm_agent.images.errors import CorruptImageError, SizeLimitError, WrongFormatError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.report import Facts, InspectionLimits
from ssvm_agent.images.signatures import has_boot_record, has_gpt, has_udf
from ssvm_agent.images.stream import HEAD_BYTES, Parser, Span, Tail
from ssvm_agent.images.vhd import FOOTER_BYTES, is_footer, parse_fixed

_FILE_SYSTEMS = (
    (0x438, b"\x53\xef", "a bare ext file system"),
    (0, b"XFSB", "a bare XFS file system"),
    (3, b"NTFS    ", "a bare NTFS file system"),
    (0x200, b"LABELONE", "an LVM physical volume"),
    (0, b"LUKS\xba\xbe", "a LUKS container"),
    (4086, b"SWAPSPACE2", "swap space"),
)


def parse_plain(kind: ImageFormat, limits: InspectionLimits) -> Parser[Facts]:
    """Measure an image whose virtual size is its length (RAW, ISO, TAR, ZIP).

    Raises:
        SizeLimitError: As soon as the stream is longer than allowed.
        CorruptImageError: The stream is empty.
    """
    beyond = yield Span(limits.max_virtual_size_bytes, 1)
    if beyond.data:
        raise SizeLimitError(
            f"The image is larger than the {limits.max_virtual_size_bytes} bytes allowed."
        )
    length = (yield Tail(0)).end
    if not length:
        raise CorruptImageError("The image is empty.")
    return Facts(format=kind, virtual_size_bytes=length, physical_size_bytes=length)


def parse_raw(limits: InspectionLimits, declared: ImageFormat | None) -> Parser[Facts]:
    """Read a raw disk; when its end turns out to be a VHD footer, it is a fixed VHD.

    Raises:
        WrongFormatError: It is a fixed VHD, but RAW was declared.
    """
    head = yield Span(0, HEAD_BYTES)
    facts = yield from parse_plain(ImageFormat.RAW, limits)
    if is_footer((yield Tail(FOOTER_BYTES)).data):
        if declared is ImageFormat.RAW:
            raise WrongFormatError(
                "The image was registered as RAW, but it is a fixed VHD. Register it as VHD."
            )
        return (yield from parse_fixed(limits))
    return facts.with_notes(layout(head.data))


def layout(head: bytes) -> str:
    """What the first 64 KiB of a raw disk look like, in words."""
    if has_gpt(head):
        return "a GUID partition table"
    for offset, magic, name in _FILE_SYSTEMS:
        if head[offset : offset + len(magic)] == magic:
            return name
    if has_udf(head):
        return "a bare UDF file system"
    if not has_boot_record(head):
        return "no known partition table or file system"
    if head[54:57] == b"FAT" or head[82:85] == b"FAT":
        return "a bare FAT file system"
    return "a master boot record"
