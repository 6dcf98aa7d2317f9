# SPDX-License-Identifier: Apache-2.0
"""What an OVF descriptor says, as it travels in answers (storage-commands.md 7.3)."""

import msgspec

from ssvm_agent.messages.base import Int, Message


class OVFPropertyTO(Message, kw_only=True, frozen=True):
    """A property the user may set."""

    key: str | None = None
    type: str | None = None
    value: str | None = None
    qualifiers: str | None = None
    user_configurable: bool | None = None
    label: str | None = None
    description: str | None = None
    password: bool | None = None
    index: Int = 0
    category: str | None = None


class OVFNetworkTO(Message, kw_only=True, frozen=True):
    """A network and the adapter on it."""

    name: str | None = None
    network_description: str | None = None
    address_on_parent: Int | None = None
    automatic_allocation: bool | None = None
    nic_description: str | None = None
    element_name: str | None = None
    instance_id: Int | None = msgspec.field(default=None, name="InstanceID")
    resource_sub_type: str | None = None
    resource_type: str | None = None


class DatadiskTO(Message, kw_only=True, frozen=True):
    """A disk or an attached ISO of an OVA; sizes in bytes."""

    path: str | None = None
    virtual_size: int = 0
    file_size: int = 0
    bootable: bool = False
    disk_id: str | None = None
    is_iso: bool = False
    disk_controller: str | None = None
    disk_controller_sub_type: str | None = None
    disk_number: Int = 0
    configuration: str | None = None


class OVFVirtualHardwareItemTO(Message, kw_only=True, frozen=True):
    """An item of the virtual hardware; ``resource_type`` is a constant's name."""

    address: str | None = None
    address_on_parent: str | None = None
    allocation_units: str | None = None
    automatic_allocation: bool | None = None
    automatic_deallocation: bool | None = None
    caption: str | None = None
    change_able_type: str | None = None
    configuration_name: str | None = None
    connection: str | None = None
    consumer_visibility: str | None = None
    description: str | None = None
    element_name: str | None = None
    generation: str | None = None
    host_resource: str | None = None
    instance_id: str | None = None
    limit: int | None = None
    mapping_behavior: str | None = None
    parent: str | None = None
    pool_id: str | None = msgspec.field(default=None, name="poolID")
    reservation: int | None = None
    resource_sub_type: str | None = None
    resource_type: str | None = None
    virtual_quantity: int | None = None
    virtual_quantity_units: str | None = None
    weight: Int | None = None
    configuration_ids: str | None = None


class OVFConfigurationTO(Message, kw_only=True, frozen=True):
    """A deployment configuration and its hardware."""

    id: str | None = None
    label: str | None = None
    description: str | None = None
    hardware_items: list[OVFVirtualHardwareItemTO] | None = None
    index: Int = 0


class OVFVirtualHardwareSectionTO(Message, kw_only=True, frozen=True):
    """Hardware, common and per configuration; the wire name of the version is misspelt."""

    minimum_hardware_version: str | None = msgspec.field(
        default=None, name="minimiumHardwareVersion"
    )
    configurations: list[OVFConfigurationTO] | None = None
    common_hardware_items: list[OVFVirtualHardwareItemTO] | None = None


class OVFEulaSectionTO(Message, kw_only=True, frozen=True):
    """A licence; ``compressed_license`` is gzip, signed numbers on the wire."""

    info: str | None = None
    compressed_license: bytes | None = None
    index: Int = 0


class GuestOsInfo(Message, kw_only=True, frozen=True):
    """A Pair: ``t`` is the osType attribute, ``u`` the description."""

    t: str | None = None
    u: str | None = None


class OVFInformationTO(Message, kw_only=True, frozen=True):
    """Everything a deploy-as-is template needs to know about its OVF; absent parts are None."""

    properties: list[OVFPropertyTO] | None = None
    networks: list[OVFNetworkTO] | None = None
    disks: list[DatadiskTO] | None = None
    hardware_section: OVFVirtualHardwareSectionTO | None = None
    eula_sections: list[OVFEulaSectionTO] | None = None
    guest_os_info: GuestOsInfo | None = None
