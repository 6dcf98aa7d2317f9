# SPDX-License-Identifier: Apache-2.0
"""OVA archives: the tar, the OVF inside, and every disk inside, in one pass (H10, H13).

The archive stays an archive; unpacking it is another matter (:mod:`ssvm_agent.images.archive`).
"""

from __future__ import annotations

from collections.abc import Callable

from ssvm_agent.images.errors import ArchiveRefusedError, CorruptImageError, ImageError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.ovf import OvfFacts
from ssvm_agent.images.ovf_reading import read_ovf
from ssvm_agent.images.report import Facts, InspectionLimits
from ssvm_agent.images.stream import Parser, Span, Tail, exactly, within
from ssvm_agent.images.tar import Member, TarWalk

Inspect = Callable[[ImageFormat | None, InspectionLimits], Parser[Facts]]

_DESCRIPTIONS = (".ovf", ".mf", ".cert", ".xml", ".txt", ".nvram")
"""Members that are not disks; nothing ever opens them as one."""


def parse_ova(limits: InspectionLimits, inspect: Inspect) -> Parser[Facts]:
    """Walk over the archive, read its descriptor and inspect its disks.

    Args:
        limits: Bounds for sizes and counts.
        inspect: Inspects one member as an image of a declared format, or of any.

    Raises:
        ImageError: A member is not acceptable, or archive and descriptor do not fit each other.
    """
    walk = TarWalk(limits.max_members)
    members: dict[str, Member] = {}
    ovf: OvfFacts | None = None
    while (member := (yield from walk.next_member())) is not None:
        members[member.name] = member
        if member.name.lower().endswith(".ovf"):
            if ovf is not None:
                raise ArchiveRefusedError("The OVA has more than one OVF descriptor.")
            ovf = yield from _read_descriptor(member, limits)
        elif not member.name.lower().endswith(_DESCRIPTIONS):
            yield from _inspect_disk(member, limits, inspect)
    if ovf is None:
        raise ArchiveRefusedError("The OVA has no OVF descriptor.")
    for file in ovf.files:
        if file.name not in members:
            raise ArchiveRefusedError(
                f"The OVF descriptor refers to {file.name!r}, which the OVA does not contain."
            )
    if not ovf.virtual_size_bytes:
        raise CorruptImageError("The OVF descriptor describes no disk.")
    return Facts(
        format=ImageFormat.OVA,
        virtual_size_bytes=ovf.virtual_size_bytes,
        physical_size_bytes=(yield Tail(0)).end,
        ovf=ovf,
    )


def _read_descriptor(member: Member, limits: InspectionLimits) -> Parser[OvfFacts]:
    if member.size > limits.max_ovf_bytes:
        raise ArchiveRefusedError("The OVF descriptor is too large to be one.")
    window = yield Span(member.offset, member.size)
    ovf = read_ovf(exactly(window, member.size, "the archive"), member.name)
    limits.check_virtual_size(ovf.virtual_size_bytes)
    return ovf


def _inspect_disk(member: Member, limits: InspectionLimits, inspect: Inspect) -> Parser[None]:
    """A member named like an image must be one; any other must at least be harmless."""
    extension = member.name.rpartition(".")[2].upper()
    declared = ImageFormat(extension) if extension in _NESTED else None
    if not member.size:
        return
    try:
        yield from within(inspect(declared, limits), member.offset, member.size)
    except ImageError as error:
        message = f"Inside the OVA, {member.name!r}: {error.message}"
        raise type(error)(message, detail=error.detail) from error


_NESTED = frozenset({"VMDK", "ISO", "VHD", "VHDX", "VDI", "QCOW2", "RAW"})
