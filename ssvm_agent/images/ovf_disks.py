# SPDX-License-Identifier: Apache-2.0
"""The disks of an unpacked OVA, and a descriptor reduced to one of them.

Pure: callers bring the names and sizes of the unpacked files (storage-commands.md 3.17, 3.18, 7.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ssvm_agent.images.errors import ArchiveRefusedError, CorruptImageError
from ssvm_agent.images.ovf import DISK_DRIVE, OvfDisk, OvfFacts, OvfFile, OvfHardwareItem
from ssvm_agent.images.ovf_reading import resource_id
from ssvm_agent.images.xmltree import Element, parse_xml


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDisk:
    """A disk or ISO of an OVA as the management server wants to know it.

    Attributes:
        file_name: The file with its content; None for an empty disk.
        virtual_size_bytes: What a guest sees.
        file_size_bytes: What the file has; 0 for an empty disk.
        disk_id: Identifier of the disk, or of the file of an ISO.
        is_iso: Whether it is an ISO.
        bootable: Whether it is the first disk.
        controller: Element name of its controller, or empty.
        controller_sub_type: Resource sub-type of its controller, or empty.
        number: Its place in the list.
        configuration: The configurations its hardware item belongs to, as written.
    """

    file_name: str | None
    virtual_size_bytes: int
    file_size_bytes: int
    disk_id: str
    is_iso: bool
    bootable: bool
    controller: str
    controller_sub_type: str
    number: int
    configuration: str | None


def data_disks(
    facts: OvfFacts, sizes: Mapping[str, int], configuration_id: str | None = None
) -> tuple[DataDisk, ...]:
    """List the disks of a configuration, then the ISOs.

    Args:
        facts: The descriptor.
        sizes: Sizes in bytes of the regular files beside it, by name.
        configuration_id: Which configuration; None or blank takes every disk.

    Raises:
        ArchiveRefusedError: A file the descriptor refers to is missing.
        CorruptImageError: A hardware item refers to a disk that is not described.
    """
    found: list[DataDisk] = []
    for item in facts.hardware.items if facts.hardware else ():
        is_disk = item.resource_type_number == DISK_DRIVE
        wanted = is_disk and item.belongs_to(configuration_id)
        if wanted and (item.host_resource or "").strip():
            found.append(_describe_disk(facts, item, sizes, len(found)))
    for file in facts.files:
        if file.is_iso:
            size = _file_size(file, sizes)
            found.append(
                DataDisk(
                    file_name=file.name,
                    virtual_size_bytes=size,
                    file_size_bytes=size,
                    disk_id=file.id,
                    is_iso=True,
                    bootable=False,
                    controller="",
                    controller_sub_type="",
                    number=len(found),
                    configuration=None,
                )
            )
    return tuple(found)


def _describe_disk(
    facts: OvfFacts, item: OvfHardwareItem, sizes: Mapping[str, int], number: int
) -> DataDisk:
    disk = _find_disk(facts.disks, resource_id(item.host_resource))
    file = next((file for file in facts.files if file.id == disk.file_ref), None)
    return DataDisk(
        file_name=file.name if file else None,
        virtual_size_bytes=disk.capacity_bytes,
        file_size_bytes=_file_size(file, sizes) if file else 0,
        disk_id=disk.id,
        is_iso=file is not None and file.is_iso,
        bootable=file is not None and file.bootable,
        controller=disk.controller,
        controller_sub_type=disk.controller_sub_type,
        number=number,
        configuration=item.configuration_ids,
    )


def _find_disk(disks: Iterable[OvfDisk], disk_id: str) -> OvfDisk:
    for disk in disks:
        if disk.id.lower() == disk_id.lower():
            return disk
    raise CorruptImageError(
        f"The OVF descriptor has no disk {disk_id!r}, but hardware refers to it."
    )


def _file_size(file: OvfFile, sizes: Mapping[str, int]) -> int:
    if file.name not in sizes:
        raise ArchiveRefusedError(
            f"One of the attached disk or iso as stated on OVF does not exists {file.name}"
        )
    return sizes[file.name] if file.size_bytes is None else file.size_bytes


def reduce_to_disk(data: bytes, file_name: str) -> bytes:
    """Cut everything out of a descriptor that belongs to other files than this one.

    The rest stays byte for byte what it was. Removed are File elements of other files, Disk
    elements on them, and hardware items on other disks (storage-commands.md 3.18).

    Args:
        data: The descriptor.
        file_name: Name of the file that stays.

    Raises:
        ArchiveRefusedError: The descriptor does not refer to the file.
        ImageError: The descriptor cannot be read.
    """
    root = parse_xml(data, "The OVF descriptor")
    files = list(root.descendants("File"))
    kept_file = next((file for file in files if file.attribute("href") == file_name), None)
    if kept_file is None:
        raise ArchiveRefusedError(f"The OVF descriptor does not refer to {file_name!r}.")
    file_id = kept_file.attribute("id")
    disks = list(root.descendants("Disk"))
    kept_disks = [disk for disk in disks if disk.attribute("fileRef") == file_id]
    kept_ids = {(disk.attribute("diskId") or "").lower() for disk in kept_disks}
    # An ISO has no Disk; its drive refers to the file.
    kept_ids.add((file_id or "").lower())
    removed = [file for file in files if file is not kept_file]
    removed += [disk for disk in disks if disk not in kept_disks]
    removed += [item for item in root.descendants("Item") if _is_elsewhere(item, kept_ids)]
    return _cut(data, removed)


def _is_elsewhere(item: Element, kept_ids: set[str]) -> bool:
    resource = item.child_text("HostResource")
    return resource is not None and resource_id(resource).lower() not in kept_ids


def _cut(data: bytes, removed: Iterable[Element]) -> bytes:
    pieces = []
    position = 0
    for element in sorted(removed, key=lambda element: element.start):
        pieces.append(data[position : element.start])
        position = max(position, element.end)
    pieces.append(data[position:])
    return b"".join(pieces)
