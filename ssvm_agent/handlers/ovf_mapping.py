# SPDX-License-Identifier: Apache-2.0
"""From what an OVF descriptor says to what an answer carries (storage-commands.md 7.3). Pure.

A list with nothing in it is left out, as the management server expects.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

from ssvm_agent.images.ovf import OvfConfiguration, OvfFacts, OvfHardware, OvfHardwareItem
from ssvm_agent.images.ovf_disks import DataDisk
from ssvm_agent.messages.ovf import (
    DatadiskTO,
    GuestOsInfo,
    OVFConfigurationTO,
    OVFEulaSectionTO,
    OVFInformationTO,
    OVFNetworkTO,
    OVFPropertyTO,
    OVFVirtualHardwareItemTO,
    OVFVirtualHardwareSectionTO,
)


def ovf_information(
    facts: OvfFacts, disks: Iterable[DataDisk], directory: PurePath
) -> OVFInformationTO:
    """Everything a deploy-as-is template needs to know.

    Args:
        facts: The descriptor.
        disks: Its disks.
        directory: Where the archive was unpacked, as the agent sees it.
    """
    guest_os = facts.guest_os
    return OVFInformationTO(
        properties=_properties(facts) or None,
        networks=_networks(facts) or None,
        disks=[data_disk(disk, directory) for disk in disks] or None,
        hardware_section=_hardware(facts.hardware) if facts.hardware else None,
        eula_sections=[
            OVFEulaSectionTO(
                info=eula.info, compressed_license=eula.compressed_license, index=eula.index
            )
            for eula in facts.eulas
        ]
        or None,
        guest_os_info=(GuestOsInfo(t=guest_os.type, u=guest_os.description) if guest_os else None),
    )


def data_disk(disk: DataDisk, directory: PurePath) -> DatadiskTO:
    """One disk or ISO; an empty disk has no path."""
    return DatadiskTO(
        path=str(directory / disk.file_name) if disk.file_name else None,
        virtual_size=disk.virtual_size_bytes,
        file_size=disk.file_size_bytes,
        bootable=disk.bootable,
        disk_id=disk.disk_id,
        is_iso=disk.is_iso,
        disk_controller=disk.controller,
        disk_controller_sub_type=disk.controller_sub_type,
        disk_number=disk.number,
        configuration=disk.configuration,
    )


def _properties(facts: OvfFacts) -> list[OVFPropertyTO]:
    return [
        OVFPropertyTO(
            key=entry.key,
            type=entry.type,
            value=entry.value,
            qualifiers=entry.qualifiers,
            user_configurable=entry.user_configurable,
            label=entry.label,
            description=entry.description,
            password=entry.password,
            index=entry.index,
            category=entry.category,
        )
        for entry in facts.properties
    ]


def _networks(facts: OvfFacts) -> list[OVFNetworkTO]:
    return [
        OVFNetworkTO(
            name=network.name,
            network_description=network.network_description,
            address_on_parent=network.address_on_parent,
            automatic_allocation=network.automatic_allocation,
            nic_description=network.nic_description,
            element_name=network.element_name,
            instance_id=network.instance_id,
            resource_sub_type=network.resource_sub_type,
            resource_type=network.resource_type,
        )
        for network in facts.networks
    ]


def _hardware(hardware: OvfHardware) -> OVFVirtualHardwareSectionTO:
    return OVFVirtualHardwareSectionTO(
        minimum_hardware_version=hardware.minimum_hardware_version,
        configurations=[_configuration(entry) for entry in hardware.configurations] or None,
        common_hardware_items=[_item(item) for item in hardware.common_items] or None,
    )


def _configuration(configuration: OvfConfiguration) -> OVFConfigurationTO:
    return OVFConfigurationTO(
        id=configuration.id,
        label=configuration.label,
        description=configuration.description,
        hardware_items=[_item(item) for item in configuration.hardware_items] or None,
        index=configuration.index,
    )


def _item(item: OvfHardwareItem) -> OVFVirtualHardwareItemTO:
    return OVFVirtualHardwareItemTO(
        address_on_parent=item.address_on_parent,
        allocation_units=item.allocation_units,
        description=item.description,
        element_name=item.element_name,
        host_resource=item.host_resource,
        instance_id=item.instance_id,
        limit=item.limit,
        parent=item.parent,
        reservation=item.reservation,
        resource_type=item.resource_type,
        virtual_quantity=item.virtual_quantity,
        configuration_ids=item.configuration_ids,
    )
