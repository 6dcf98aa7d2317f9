# SPDX-License-Identifier: Apache-2.0
"""Reading OVF descriptors, which strangers wrote (storage-commands.md 7.3, requirements R31, H13).

Two differences to the reference, both in favour of more vendors: names are found by namespace and
not by a literal prefix, and nothing depends on the order of maps.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import replace

from ssvm_agent.images.errors import ArchiveRefusedError, CorruptImageError, UnsafeImageError
from ssvm_agent.images.names import plain_name, shown_name
from ssvm_agent.images.ovf import (
    OvfConfiguration,
    OvfDisk,
    OvfEula,
    OvfFacts,
    OvfFile,
    OvfGuestOs,
    OvfHardware,
    OvfHardwareItem,
    OvfNetwork,
    OvfProperty,
)
from ssvm_agent.images.xmltree import Element, parse_xml

_MAX_DISKS = 256
_MAX_PARENTS = 16
"""Controllers hang on controllers on a bus; a longer chain is a circle."""

_MAX_CAPACITY_BYTES = 1 << 62
_UNITS = {
    **dict.fromkeys(("kb", "kilobytes", "byte * 2^10"), 1 << 10),
    **dict.fromkeys(("mb", "megabytes", "byte * 2^20"), 1 << 20),
    **dict.fromkeys(("gb", "gigabytes", "byte * 2^30"), 1 << 30),
}
_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_NUMBER = re.compile(r"\d+")


def read_ovf(data: bytes, name: str) -> OvfFacts:
    """Read a descriptor.

    Args:
        data: The document.
        name: Its file name, for messages.

    Raises:
        UnsafeImageError: It has a DTD, or is absurdly large.
        ArchiveRefusedError: It refers to files outside the archive.
        CorruptImageError: It is not a descriptor of exactly one system with disks.
    """
    root = parse_xml(data, "The OVF descriptor")
    if root.name != "Envelope":
        raise CorruptImageError("The OVF descriptor is not an OVF envelope.")
    systems = len(list(root.descendants("VirtualSystem")))
    if systems != 1:
        # Compat: storage-commands.md 7.3: the management server's users know this sentence.
        raise CorruptImageError(
            f"found {systems} system definitions in OVA, can only handle exactly one."
        )
    hardware = _read_hardware(root)
    return OvfFacts(
        name=name,
        virtual_size_bytes=_virtual_size(root, name),
        files=_read_files(root),
        disks=tuple(_read_disks(root)),
        properties=_read_properties(root),
        networks=_read_networks(root),
        hardware=hardware,
        eulas=_read_eulas(root),
        guest_os=_read_guest_os(root),
    )


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and _INTEGER.fullmatch(text.strip()) else None


def _is_true(text: str | None) -> bool:
    return (text or "").strip().lower() == "true"


def _virtual_size(root: Element, name: str) -> int:
    disks = list(root.descendants("Disk"))
    if len(disks) > _MAX_DISKS:
        raise UnsafeImageError(f"The OVF descriptor has {len(disks)} disks; too many to be true.")
    total = 0
    for disk in disks:
        # Compat: storage-commands.md 7.3: a capacity that is no number counts as 1.
        capacity = _integer(disk.attribute("capacity"))
        size = _capacity_bytes(disk, 1 if capacity is None else capacity)
        if not size:
            raise CorruptImageError(
                "Failed to read capacity and capacityAllocationUnits from the OVF file: " + name
            )
        total += size
    return total


def _capacity_bytes(disk: Element, capacity: int) -> int:
    unit = (disk.attribute("capacityAllocationUnits") or "").strip().lower()
    size = capacity * _UNITS.get(unit, 1)
    if not 0 <= size < _MAX_CAPACITY_BYTES:
        raise CorruptImageError("The OVF descriptor has a disk of an impossible capacity.")
    return size


def _read_files(root: Element) -> tuple[OvfFile, ...]:
    files: list[OvfFile] = []
    bootable = True
    for element in root.descendants("File"):
        href = element.attribute("href") or ""
        try:
            name = plain_name(href)
        except ArchiveRefusedError:
            raise ArchiveRefusedError(
                f"The OVF descriptor refers to {shown_name(href)};"
                " only files inside the archive are allowed."
            ) from None
        if not name.endswith(("vmdk", "iso")):
            continue
        size = _integer(element.attribute("size"))
        is_iso = name.endswith("iso")
        files.append(
            OvfFile(
                id=element.attribute("id") or "",
                name=name,
                size_bytes=size if size is not None and size >= 0 else None,
                is_iso=is_iso,
                bootable=bootable and not is_iso,
            )
        )
        bootable = bootable and is_iso
    return tuple(files)


def _read_disks(root: Element) -> list[OvfDisk]:
    items = list(root.descendants("Item"))
    parents = {(item.child_text("InstanceID") or "").strip(): item for item in items}
    users: dict[str, Element] = {}
    for item in items:
        users.setdefault(resource_id(item.child_text("HostResource")).lower(), item)
    disks = []
    for element in root.descendants("Disk"):
        disk_id = element.attribute("diskId") or ""
        controller, sub_type = _controller(users.get(disk_id.lower()), parents)
        capacity = _integer(element.attribute("capacity")) or 0
        disks.append(
            OvfDisk(
                id=disk_id,
                file_ref=element.attribute("fileRef"),
                capacity_bytes=_capacity_bytes(element, capacity),
                controller=controller,
                controller_sub_type=sub_type,
            )
        )
    return disks


def resource_id(host_resource: str | None) -> str:
    """The identifier at the end of a host resource such as ``ovf:/disk/vmdisk1``."""
    return (host_resource or "").strip().rpartition("/")[2]


def _controller(item: Element | None, parents: dict[str, Element]) -> tuple[str, str]:
    """Name and sub-type of the topmost parent of the item that uses a disk."""
    if item is None:
        return "", ""
    for _ in range(_MAX_PARENTS):
        parent = parents.get((item.child_text("Parent") or "").strip())
        if parent is None or parent is item:
            break
        item = parent
    return item.child_text("ElementName") or "", item.child_text("ResourceSubType") or ""


def _read_properties(root: Element) -> tuple[OvfProperty, ...]:
    found: list[OvfProperty] = []
    category: str | None = None
    for section in root.descendants("ProductSection"):
        for child in section.children:
            if child.name == "Category":
                category = child.text
            key = child.attribute("key") if child.name == "Property" else None
            if not key or not _is_true(child.attribute("userConfigurable")):
                continue
            found.append(
                OvfProperty(
                    key=key,
                    type=child.attribute("type"),
                    value=child.attribute("value"),
                    qualifiers=child.attribute("qualifiers"),
                    label=child.child_text("Label"),
                    description=child.child_text("Description"),
                    password=_is_true(child.attribute("password")),
                    index=len(found),
                    category=category,
                )
            )
    return tuple(found)


def _read_networks(root: Element) -> tuple[OvfNetwork, ...]:
    networks: dict[str | None, OvfNetwork] = {}
    for element in root.descendants("Network"):
        name = element.attribute("name")
        networks[name] = OvfNetwork(
            name=name, network_description=element.child_text("Description")
        )
    for item in root.descendants("Item"):
        connection = item.child_text("Connection")
        if connection is not None:
            networks[connection] = _connect(networks.get(connection, OvfNetwork()), item)
    return tuple(networks.values())


def _connect(network: OvfNetwork, item: Element) -> OvfNetwork:
    return replace(
        network,
        address_on_parent=_integer(item.child_text("AddressOnParent")),
        automatic_allocation=_is_true(item.child_text("AutomaticAllocation")),
        nic_description=item.child_text("Description"),
        element_name=item.child_text("ElementName"),
        instance_id=_integer(item.child_text("InstanceID")),
        resource_sub_type=item.child_text("ResourceSubType"),
        resource_type=item.child_text("ResourceType"),
    )


def _read_hardware(root: Element) -> OvfHardware:
    section = next(root.descendants("VirtualHardwareSection"), None)
    elements = [] if section is None else [e for e in section.children if e.name == "Item"]
    items = tuple(_read_item(element) for element in elements)
    options = next(root.descendants("DeploymentOptionSection"), None)
    choices = [] if options is None else [e for e in options.children if e.name == "Configuration"]
    return OvfHardware(
        minimum_hardware_version=_minimum_version(root),
        configurations=tuple(
            _read_configuration(choice, items, index) for index, choice in enumerate(choices)
        ),
        items=items,
    )


def _read_item(element: Element) -> OvfHardwareItem:
    return OvfHardwareItem(
        instance_id=element.child_text("InstanceID"),
        resource_type_number=_integer(element.child_text("ResourceType")),
        configuration_ids=element.attribute("configuration"),
        allocation_units=element.child_text("AllocationUnits"),
        description=element.child_text("Description"),
        element_name=element.child_text("ElementName"),
        limit=_integer(element.child_text("Limit")),
        reservation=_integer(element.child_text("Reservation")),
        virtual_quantity=_integer(element.child_text("VirtualQuantity")),
        host_resource=element.child_text("HostResource"),
        address_on_parent=element.child_text("AddressOnParent"),
        parent=element.child_text("Parent"),
    )


def _read_configuration(
    element: Element, items: tuple[OvfHardwareItem, ...], index: int
) -> OvfConfiguration:
    configuration_id = element.attribute("id")
    return OvfConfiguration(
        id=configuration_id,
        label=element.child_text("Label"),
        description=element.child_text("Description"),
        hardware_items=tuple(
            item for item in items if configuration_id in (item.configuration_ids or "").split()
        ),
        index=index,
    )


def _minimum_version(root: Element) -> str | None:
    """The smallest version of a list such as ``vmx-11,vmx-09``."""
    system = next(root.descendants("System"), None)
    text = None if system is None else system.child_text("VirtualSystemType")
    versions = [version.strip() for version in (text or "").split(",") if version.strip()]
    return min(versions, key=_version_key, default=None)


def _version_key(version: str) -> tuple[int, str]:
    number = _NUMBER.search(version)
    return (int(number.group()[:9]) if number else 0, version)


def _read_eulas(root: Element) -> tuple[OvfEula, ...]:
    eulas: list[OvfEula] = []
    for section in root.descendants("EulaSection"):
        text = section.child_text("License")
        if text is not None:
            compressed = gzip.compress(text.encode(), mtime=0)
            eulas.append(
                OvfEula(
                    info=section.child_text("Info"),
                    compressed_license=compressed,
                    index=len(eulas),
                )
            )
    return tuple(eulas)


def _read_guest_os(root: Element) -> OvfGuestOs | None:
    section = next(root.descendants("OperatingSystemSection"), None)
    if section is None:
        return None
    return OvfGuestOs(
        type=section.attribute("osType"), description=section.child_text("Description")
    )
