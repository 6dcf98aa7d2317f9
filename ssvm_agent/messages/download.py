# SPDX-License-Identifier: Apache-2.0
"""Downloads into a store (storage-commands.md 4)."""

import msgspec

from ssvm_agent.messages.base import (
    Answer,
    Command,
    DataStoreTO,
    Int,
    Message,
    SecretText,
    wire_class,
)
from ssvm_agent.messages.names import (
    DownloadStatusName,
    ImageFormatName,
    RequestTypeName,
    ResourceType,
    ResourceTypeName,
)
from ssvm_agent.messages.ovf import OVFInformationTO


class StoreUrlCommand(Command, kw_only=True, frozen=True):
    """Parent of commands that also name the store by URL; most handlers use ``store`` instead."""

    sec_url: str | None = None
    nfs_version: str | None = None


class AbstractDownloadCommand(StoreUrlCommand, kw_only=True, frozen=True):
    """What downloads and download links have in common."""

    url: str | None = None
    format: ImageFormatName | None = None
    account_id: int = 0
    name: str | None = None


class PasswordAuth(Message, kw_only=True, frozen=True):
    """Basic authentication at the source."""

    user_name: str | None = None
    password: SecretText | None = None


class Proxy(Message, kw_only=True, frozen=True):
    """An HTTP proxy."""

    host: str | None = msgspec.field(default=None, name="_host")
    port: Int = msgspec.field(default=0, name="_port")
    user_name: str | None = msgspec.field(default=None, name="_userName")
    password: SecretText | None = msgspec.field(default=None, name="_password")


@wire_class("org.apache.cloudstack.storage.command.DownloadCommand")
class DownloadCommand(AbstractDownloadCommand, kw_only=True, frozen=True):
    """Bring one template, volume or snapshot in (storage-commands.md 4.1)."""

    hvm: bool = False
    description: str | None = None
    checksum: str | None = None
    auth: PasswordAuth | None = None
    proxy: Proxy | None = msgspec.field(default=None, name="_proxy")
    max_download_size_in_bytes: int | None = None
    id: int = 0
    resource_type: ResourceTypeName | None = ResourceType.TEMPLATE
    install_path: str | None = None
    store: DataStoreTO | None = msgspec.field(default=None, name="_store")
    cache_store: DataStoreTO | None = None
    follow_redirects: bool = False


@wire_class("org.apache.cloudstack.storage.command.DownloadProgressCommand")
class DownloadProgressCommand(DownloadCommand, kw_only=True, frozen=True):
    """Ask for, abort or forget a download; handled apart from its parent class."""

    job_id: str | None = None
    request: RequestTypeName | None = None


@wire_class("com.cloud.agent.api.storage.DownloadAnswer")
class DownloadAnswer(Answer, kw_only=True, frozen=True):
    """State of a download; ``result`` stays true even for a failed one (storage-commands 4.2)."""

    job_id: str | None = None
    download_pct: Int = 0
    error_string: str | None = None
    download_status: DownloadStatusName | None = None
    download_path: str | None = None
    install_path: str | None = None
    template_size: int = 0
    template_physical_size: int = msgspec.field(default=0, name="templatePhySicalSize")
    check_sum: str | None = None
    ovf_information: OVFInformationTO | None = msgspec.field(default=None, name="ovfInformationTO")
