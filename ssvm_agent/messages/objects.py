# SPDX-License-Identifier: Apache-2.0
"""What is stored: templates, volumes, snapshots, backups (storage-commands.md 1.3)."""

from typing import Any

import msgspec

from ssvm_agent.messages.base import DataStoreTO, DataTO, Message, wire_class
from ssvm_agent.messages.names import HypervisorName, ImageFormatName


@wire_class("org.apache.cloudstack.storage.to.TemplateObjectTO")
class TemplateObjectTO(DataTO, kw_only=True, frozen=True):
    """A template or an ISO. ``size`` is the virtual size in bytes."""

    path: str | None = None
    orig_url: str | None = None
    uuid: str | None = None
    id: int = 0
    format: ImageFormatName | None = None
    account_id: int = 0
    checksum: str | None = None
    hvm: bool = False
    display_text: str | None = None
    image_data_store: DataStoreTO | None = None
    name: str | None = None
    guest_os_type: str | None = None
    size: int | None = None
    physical_size: int | None = None
    hypervisor_type: HypervisorName | None = None
    bootable: bool = False
    unique_name: str | None = None
    direct_download: bool = False
    deploy_as_is: bool = False
    deploy_as_is_configuration: str | None = None
    follow_redirects: bool = False


@wire_class("org.apache.cloudstack.storage.to.VolumeObjectTO")
class VolumeObjectTO(DataTO, kw_only=True, frozen=True):
    """A volume. ``size`` is the virtual size in bytes; ``passphrase`` is a secret."""

    uuid: str | None = None
    volume_type: str | None = None
    data_store: DataStoreTO | None = None
    name: str | None = None
    size: int | None = None
    usable_size: int | None = None
    path: str | None = None
    volume_id: int | None = None
    vm_name: str | None = None
    account_id: int = 0
    chain_info: str | None = None
    format: ImageFormatName | None = None
    provisioning_type: str | None = None
    pool_id: int | None = None
    id: int = 0
    device_id: int | None = None
    bytes_read_rate: int | None = None
    bytes_read_rate_max: int | None = None
    bytes_read_rate_max_length: int | None = None
    bytes_write_rate: int | None = None
    bytes_write_rate_max: int | None = None
    bytes_write_rate_max_length: int | None = None
    iops_read_rate: int | None = None
    iops_read_rate_max: int | None = None
    iops_read_rate_max_length: int | None = None
    iops_write_rate: int | None = None
    iops_write_rate_max: int | None = None
    iops_write_rate_max_length: int | None = None
    cache_mode: str | None = None
    hypervisor_type: HypervisorName | None = None
    migration_options: dict[str, Any] | None = None
    direct_download: bool = False
    data_store_uuid: str | None = None
    deploy_as_is: bool = False
    updated_data_store_uuid: str | None = msgspec.field(default=None, name="updatedDataStoreUUID")
    vsphere_storage_policy_id: str | None = msgspec.field(
        default=None, name="vSphereStoragePolicyId"
    )
    passphrase: bytes | None = None
    encrypt_format: str | None = None
    checkpoint_paths: list[str] | None = None
    checkpoint_image_store_urls: list[str] | None = None
    follow_redirects: bool = False


@wire_class("org.apache.cloudstack.storage.to.SnapshotObjectTO")
class SnapshotObjectTO(DataTO, kw_only=True, frozen=True):
    """A snapshot of a volume."""

    path: str | None = None
    volume: VolumeObjectTO | None = None
    parent_snapshot_path: str | None = None
    data_store: DataStoreTO | None = None
    image_store: DataStoreTO | None = None
    kvm_incremental_snapshot: bool = False
    vm_name: str | None = None
    name: str | None = None
    hypervisor_type: HypervisorName | None = None
    id: int = 0
    quiescevm: bool = False
    parents: list[str] | None = None
    parent_store: DataStoreTO | None = None
    checkpoint_path: str | None = None
    physical_size: int | None = None
    account_id: int = 0
    follow_redirects: bool = False


@wire_class("org.apache.cloudstack.storage.to.BackupDeltaTO")
class BackupDeltaTO(DataTO, kw_only=True, frozen=True):
    """A backup of 4.23; ``id`` is 0 or the backup's id."""

    data_store: DataStoreTO | None = msgspec.field(default=None, name="dataStoreTO")
    hypervisor_type: HypervisorName | None = None
    path: str | None = None
    screenshot_path: str | None = None
    format: ImageFormatName | None = None
    id: int = 0


class TemplateProp(Message, kw_only=True, frozen=True):
    """One entry of a list answer; ``size`` virtual, ``physical_size`` on disk, both in bytes."""

    template_name: str | None = None
    install_path: str | None = None
    size: int = 0
    physical_size: int = 0
    id: int = 0
    is_public: bool = False
    is_corrupted: bool = False
