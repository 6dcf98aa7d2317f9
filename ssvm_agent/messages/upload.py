# SPDX-License-Identifier: Apache-2.0
"""Uploads: by browser (storage-commands.md 5) and, no longer in use, to FTP servers (3.6)."""

from typing import Any

import msgspec

from ssvm_agent.messages.base import Answer, Command, Int, Message, wire_class
from ssvm_agent.messages.download import PasswordAuth
from ssvm_agent.messages.names import (
    BrowserUploadStatusName,
    DataStoreRoleName,
    EntityTypeName,
    ExtractTypeName,
    FtpUploadStatusName,
    ImageFormatName,
    RequestTypeName,
)
from ssvm_agent.messages.ovf import OVFInformationTO


@wire_class("org.apache.cloudstack.storage.command.UploadStatusCommand")
class UploadStatusCommand(Command, kw_only=True, frozen=True):
    """How far is this upload? ``abort`` came with 4.23."""

    entity_uuid: str | None = None
    entity_type: EntityTypeName | None = None
    abort: bool | None = None


@wire_class("org.apache.cloudstack.storage.command.UploadStatusAnswer")
class UploadStatusAnswer(Answer, kw_only=True, frozen=True):
    """State of a browser upload; ``result`` is false for an upload that failed."""

    status: BrowserUploadStatusName | None = None
    virtual_size: int = 0
    physical_size: int = 0
    install_path: str | None = None
    download_percent: Int = 0
    ovf_information: OVFInformationTO | None = msgspec.field(default=None, name="ovfInformationTO")


@wire_class("org.apache.cloudstack.storage.command.TemplateOrVolumePostUploadCommand")
class TemplateOrVolumePostUploadCommand(Message, kw_only=True, frozen=True):
    """Metadata of a browser upload: plain JSON, never on the link (storage-commands.md 5.4)."""

    entity_id: int = 0
    entity_uuid: str | None = msgspec.field(default=None, name="entityUUID")
    absolute_path: str | None = None
    checksum: str | None = None
    type: str | None = None
    name: str | None = None
    local_path: str | None = None
    requires_hvm: bool = False
    image_format: ImageFormatName | None = None
    data_to: str | None = None
    data_to_role: DataStoreRoleName | None = None
    remote_end_point: str | None = None
    max_upload_size: str | None = None
    description: str | None = None
    default_max_secondary_storage_in_gb: int = msgspec.field(
        default=0, name="defaultMaxSecondaryStorageInGB"
    )
    process_timeout: int = 0
    account_id: int = 0
    zone_id: int | None = None
    nfs_version: str | None = None


class AbstractUploadCommand(Command, kw_only=True, frozen=True):
    """Base of the FTP commands; its ``url`` is the sub-class's own field."""

    format: ImageFormatName | None = None
    account_id: int = 0
    name: str | None = None
    nfs_version: str | None = None


@wire_class("com.cloud.agent.api.storage.UploadCommand")
class UploadCommand(AbstractUploadCommand, kw_only=True, frozen=True):
    """Upload a template to an FTP server; answered with an error."""

    template: dict[str, Any] | None = None
    url: str | None = None
    install_path: str | None = None
    hvm: bool = False
    description: str | None = None
    checksum: str | None = None
    auth: PasswordAuth | None = None
    template_size_in_bytes: int = 0
    id: int = 0
    type: ExtractTypeName | None = None


@wire_class("com.cloud.agent.api.storage.UploadProgressCommand")
class UploadProgressCommand(UploadCommand, kw_only=True, frozen=True):
    """Progress of an FTP upload."""

    job_id: str | None = None
    request: RequestTypeName | None = None


@wire_class("com.cloud.agent.api.storage.UploadAnswer")
class UploadAnswer(Answer, kw_only=True, frozen=True):
    """State of an FTP upload."""

    job_id: str | None = None
    upload_pct: Int = 0
    error_string: str | None = None
    upload_status: FtpUploadStatusName | None = None
    upload_path: str | None = None
    install_path: str | None = None
    template_size: int | None = 0
