# SPDX-License-Identifier: Apache-2.0
"""Commands for hypervisor hosts or vCenter (storage-commands.md 3.20, 3.21).

An SSVM does not carry them out; it knows them so that its refusal names them properly.
"""

import msgspec

from ssvm_agent.messages.base import Command, wire_class
from ssvm_agent.messages.download import AbstractDownloadCommand
from ssvm_agent.messages.names import PoolTypeName
from ssvm_agent.messages.objects import SnapshotObjectTO
from ssvm_agent.messages.stores import StorageFilerTO


class SnapshotCommand(Command, kw_only=True, frozen=True):
    """What the snapshot commands have in common."""

    primary_storage_pool_name_label: str | None = None
    primary_pool: StorageFilerTO | None = None
    snapshot_uuid: str | None = None
    snapshot_name: str | None = None
    secondary_storage_url: str | None = None
    dc_id: int | None = None
    account_id: int | None = None
    volume_id: int | None = None
    volume_path: str | None = None
    nfs_version: str | None = None


@wire_class("com.cloud.agent.api.BackupSnapshotCommand")
class BackupSnapshotCommand(SnapshotCommand, kw_only=True, frozen=True):
    """Back a snapshot up through vCenter."""

    prev_snapshot_uuid: str | None = None
    prev_backup_uuid: str | None = None
    is_volume_inactive: bool = False
    vm_name: str | None = None
    snapshot_id: int | None = None
    pool: StorageFilerTO | None = None
    sec_host_id: int | None = None


@wire_class("com.cloud.agent.api.CreatePrivateTemplateFromVolumeCommand")
class CreatePrivateTemplateFromVolumeCommand(SnapshotCommand, kw_only=True, frozen=True):
    """Make a template of a volume through vCenter."""

    vm_name: str | None = msgspec.field(default=None, name="_vmName")
    source_volume_path: str | None = msgspec.field(default=None, name="_volumePath")
    user_specified_name: str | None = msgspec.field(default=None, name="_userSpecifiedName")
    unique_name: str | None = msgspec.field(default=None, name="_uniqueName")
    template_id: int = msgspec.field(default=0, name="_templateId")
    template_account_id: int = msgspec.field(default=0, name="_accountId")
    source_pool: StorageFilerTO | None = msgspec.field(default=None, name="_primaryPool")
    target_url: str | None = msgspec.field(default=None, name="_secondaryStorageUrl")


@wire_class("com.cloud.agent.api.CreatePrivateTemplateFromSnapshotCommand")
class CreatePrivateTemplateFromSnapshotCommand(SnapshotCommand, kw_only=True, frozen=True):
    """Make a template of a snapshot through vCenter."""

    orig_template_install_path: str | None = None
    new_template_id: int | None = None
    template_name: str | None = None


@wire_class("com.cloud.agent.api.CreateVolumeFromSnapshotCommand")
class CreateVolumeFromSnapshotCommand(SnapshotCommand, kw_only=True, frozen=True):
    """Make a volume of a snapshot through vCenter."""


@wire_class("com.cloud.agent.api.storage.PrimaryStorageDownloadCommand")
class PrimaryStorageDownloadCommand(AbstractDownloadCommand, kw_only=True, frozen=True):
    """Bring a template to primary storage through vCenter."""

    local_path: str | None = None
    pool_uuid: str | None = None
    pool_id: int = 0
    primary_pool: StorageFilerTO | None = None
    secondary_storage_url: str | None = None
    primary_storage_url: str | None = None


@wire_class("com.cloud.agent.api.storage.CopyVolumeCommand")
class CopyVolumeCommand(Command, kw_only=True, frozen=True):
    """Copy a volume through vCenter."""

    volume_id: int = 0
    volume_path: str | None = None
    pool: StorageFilerTO | None = None
    secondary_storage_url: str | None = msgspec.field(default=None, name="secondaryStorageURL")
    to_secondary_storage: bool = False
    vm_name: str | None = None
    src_details: dict[str, str] | None = None
    execute_in_sequence: bool = False
    nfs_version: str | None = None


@wire_class("com.cloud.agent.api.ConvertSnapshotCommand")
class ConvertSnapshotCommand(Command, kw_only=True, frozen=True):
    """For KVM hosts."""

    snapshot_object: SnapshotObjectTO | None = msgspec.field(default=None, name="snapshotObjectTO")


@wire_class("com.cloud.agent.api.GetVolumeStatsCommand")
class GetVolumeStatsCommand(Command, kw_only=True, frozen=True):
    """For hypervisor hosts."""

    volume_uuids: list[str] | None = None
    pool_type: PoolTypeName | None = None
    pool_uuid: str | None = None


@wire_class("com.cloud.agent.api.MigrateBackupsBetweenSecondaryStoragesCommand")
class MigrateBackupsBetweenSecondaryStoragesCommand(Command, kw_only=True, frozen=True):
    """For KVM hosts, since 4.23."""
