# SPDX-License-Identifier: Apache-2.0
"""Where things are stored: NFS, object stores, primary pools (storage-commands.md 1.2)."""

import msgspec

from ssvm_agent.messages.base import DataStoreTO, Int, Message, SecretText, wire_class
from ssvm_agent.messages.names import DataStoreRoleName, PoolTypeName


@wire_class("com.cloud.agent.api.to.NfsTO")
class NfsTO(DataStoreTO, kw_only=True, frozen=True):
    """An NFS or CIFS export; a CIFS URL carries its password in the query."""

    url: str | None = msgspec.field(default=None, name="_url")
    role: DataStoreRoleName | None = msgspec.field(default=None, name="_role")
    uuid: str | None = None
    nfs_version: str | None = None


@wire_class("com.cloud.agent.api.to.S3TO", bare=True)
class S3TO(DataStoreTO, kw_only=True, frozen=True):
    """A bucket. ``created`` is a date in the server's locale and stays the text it is."""

    id: int | None = None
    uuid: str | None = None
    access_key: SecretText | None = None
    secret_key: SecretText | None = None
    end_point: str | None = None
    bucket_name: str | None = None
    signer: str | None = None
    https_flag: bool | None = None
    use_tcp_keep_alive: bool | None = msgspec.field(default=None, name="useTCPKeepAlive")
    connection_timeout: Int | None = None
    max_error_retry: Int | None = None
    socket_timeout: Int | None = None
    connection_ttl: Int | None = None
    created: str | None = None
    enable_rrs: bool = msgspec.field(default=False, name="enableRRS")
    max_single_upload_size_in_bytes: int = 0


@wire_class("com.cloud.agent.api.to.SwiftTO")
class SwiftTO(DataStoreTO, kw_only=True, frozen=True):
    """A Swift account."""

    id: int | None = None
    url: str | None = None
    account: str | None = None
    user_name: str | None = None
    key: SecretText | None = None
    storage_policy: str | None = None


@wire_class("org.apache.cloudstack.storage.to.ImageStoreTO")
class ImageStoreTO(DataStoreTO, kw_only=True, frozen=True):
    """The server's own view of an image store."""

    type: str | None = None
    uri: str | None = None
    provider_name: str | None = None
    role: DataStoreRoleName | None = None
    uuid: str | None = None


@wire_class("org.apache.cloudstack.storage.to.PrimaryDataStoreTO", bare=True)
class PrimaryDataStoreTO(DataStoreTO, kw_only=True, frozen=True):
    """A primary pool."""

    uuid: str | None = None
    name: str | None = None
    type: str | None = None
    id: int = 0
    pool_type: PoolTypeName | None = None
    host: str | None = None
    path: str | None = None
    port: Int = 0
    url: str | None = None
    details: dict[str, str] | None = None
    full_clone_flag: bool | None = None
    disk_provisioning_strictness_flag: bool | None = None
    is_managed: bool = False
    parent_pool_type: PoolTypeName | None = None


class StorageFilerTO(Message, kw_only=True, frozen=True):
    """A primary pool as the commands for hypervisors name it; never wrapped."""

    id: int = 0
    uuid: str | None = None
    host: str | None = None
    path: str | None = None
    user_info: SecretText | None = None
    port: Int = 0
    type: PoolTypeName | None = None
