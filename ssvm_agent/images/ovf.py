# SPDX-License-Identifier: Apache-2.0
"""What an OVF descriptor says, as plain values (storage-commands.md 7.3).

The classes mirror what answers carry; turning them into messages happens elsewhere. They are filled
by :mod:`ssvm_agent.images.ovf_reading`.
"""

from __future__ import annotations

from dataclasses import dataclass

DISK_DRIVE = 17
_VENDOR_RESERVED = "VendorReserved"
_DMTF_RESERVED = "DMTF_reserved"
_LAST_DMTF_RESERVED = 32767
_RESOURCE_TYPES = (
    "Other", "ComputerSystem", "Processor", "Memory", "IDEController", "ParallelSCSIHBA", "FC_HBA",
    "iSCSI_HBA", "IB_HCA", "EthernetAdapter", "OtherNetworkAdapter", "IO_Slot", "IO_Device",
    "FloppyDrive", "CD_Drive", "DVD_Drive", "DiskDrive", "TapeDrive", "StorageExtent",
    "OtherStorageDevice", "SerialPort", "ParallelPort", "USBController", "GraphicsController",
    "IEEE_1394_Controller", "PartitionableUnit", "BasePartitionableUnit", "PowerSupply",
    "CoolingCapacity", "EthernetSwitchPort", "LogicalDisk", "StorageVolume", "EthernetConnection",
)  # fmt: skip
"""The names answers use for CIM resource types 1, 2, 3, ..."""


def resource_type_name(number: int) -> str:
    """The name answers use for a CIM resource type."""
    if 1 <= number <= len(_RESOURCE_TYPES):
        return _RESOURCE_TYPES[number - 1]
    if len(_RESOURCE_TYPES) < number <= _LAST_DMTF_RESERVED:
        return _DMTF_RESERVED
    return _VENDOR_RESERVED


@dataclass(frozen=True, slots=True, kw_only=True)
class OvfFile:
    """A file the descriptor refers to; only disks and ISOs count.

    Attributes:
        id: Its identifier inside the descriptor.
        name: Its plain file name.
        size_bytes: The size the descriptor gives; None without one.
        is_iso: Whether it is an ISO.
        bootable: Whether it is the first one that is no ISO.
    """

    id: str
    name: str
    size_bytes: int | None
    is_iso: bool
    bootable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OvfDisk:
    """A virtual disk.

    Attributes:
        id: Its identifier inside the descriptor.
        file_ref: Identifier of the file with its content; None for an empty disk.
        capacity_bytes: Its virtual size; 0 when the descriptor gives none.
        controller: Element name of the controller it hangs on; empty when unknown.
        controller_sub_type: Resource sub-type of that controller.
    """

    id: str
    file_ref: str | None
    capacity_bytes: int
    controller: str = ""
    controller_sub_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OvfProperty:
    """A property the user may set when deploying."""

    key: str
    type: str | None
    value: str | None
    qualifiers: str | None
    label: str | None
    description: str | None
    password: bool
    index: int
    category: str | None
    user_configurable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class OvfNetwork:
    """A network, and the adapter connected to it if there is one (then the second half is set)."""

    name: str | None = None
    network_description: str | None = None
    address_on_parent: int | None = None
    automatic_allocation: bool | None = None
    nic_description: str | None = None
    element_name: str | None = None
    instance_id: int | None = None
    resource_sub_type: str | None = None
    resource_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OvfHardwareItem:
    """An item of the virtual hardware; texts are as written, None when absent."""

    instance_id: str | None
    resource_type_number: int | None
    configuration_ids: str | None
    allocation_units: str | None
    description: str | None
    element_name: str | None
    limit: int | None
    reservation: int | None
    virtual_quantity: int | None
    host_resource: str | None
    address_on_parent: str | None
    parent: str | None

    @property
    def resource_type(self) -> str | None:
        """The name answers use for the resource type."""
        number = self.resource_type_number
        return None if number is None else resource_type_name(number)

    def belongs_to(self, configuration_id: str | None) -> bool:
        """Whether the item is part of a configuration; a blank one takes all items."""
        own = (self.configuration_ids or "").split()
        return not own or not (configuration_id or "").strip() or configuration_id in own


@dataclass(frozen=True, slots=True, kw_only=True)
class OvfConfiguration:
    """A deployment configuration and the hardware only it has."""

    id: str | None
    label: str | None
    description: str | None
    hardware_items: tuple[OvfHardwareItem, ...]
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OvfHardware:
    """The virtual hardware of the one system."""

    minimum_hardware_version: str | None
    configurations: tuple[OvfConfiguration, ...]
    items: tuple[OvfHardwareItem, ...]

    @property
    def common_items(self) -> tuple[OvfHardwareItem, ...]:
        """The items every configuration has."""
        return tuple(item for item in self.items if not (item.configuration_ids or "").strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class OvfEula:
    """A licence agreement.

    Attributes:
        info: Its title.
        compressed_license: Its text, UTF-8, compressed with gzip.
        index: Its place in the descriptor.
    """

    info: str | None
    compressed_license: bytes
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OvfGuestOs:
    """The guest operating system: VMware's name for its type, and a description."""

    type: str | None
    description: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OvfFacts:
    """Everything a descriptor says that matters here.

    Attributes:
        name: File name of the descriptor.
        virtual_size_bytes: The sum over all disks.
    """

    name: str
    virtual_size_bytes: int
    files: tuple[OvfFile, ...] = ()
    disks: tuple[OvfDisk, ...] = ()
    properties: tuple[OvfProperty, ...] = ()
    networks: tuple[OvfNetwork, ...] = ()
    hardware: OvfHardware | None = None
    eulas: tuple[OvfEula, ...] = ()
    guest_os: OvfGuestOs | None = None
