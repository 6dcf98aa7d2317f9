# SPDX-License-Identifier: Apache-2.0
"""Setting the appliance up: stores, web certificates, firewall (storage-commands.md 3.1-3.3)."""

from typing import Annotated

import msgspec

from ssvm_agent.messages.base import (
    Answer,
    Command,
    DataStoreTO,
    Mark,
    Message,
    SecretText,
    wire_class,
)


class Certificates(Message, kw_only=True, frozen=True):
    """Web certificates as PEM texts; all may be missing."""

    priv_key: SecretText | None = None
    priv_cert: str | None = None
    cert_chain: str | None = None
    root_ca_cert: str | None = msgspec.field(default=None, name="rootCACert")


@wire_class("com.cloud.agent.api.SecStorageSetupCommand")
class SecStorageSetupCommand(Command, kw_only=True, frozen=True):
    """Mount this store, use these certificates and this upload key."""

    store: DataStoreTO | None = None
    sec_url: str | None = None
    certs: Certificates | None = None
    post_upload_key: SecretText | None = None
    nfs_version: str | None = None


@wire_class("com.cloud.agent.api.SecStorageSetupAnswer")
class SecStorageSetupAnswer(Answer, kw_only=True, frozen=True):
    """``dir`` (``_dir``) is the mount directory's name, which the server keeps as the parent."""

    dir: str | None = msgspec.field(default=None, name="_dir")


@wire_class("com.cloud.agent.api.SecStorageVMSetupCommand")
class SecStorageVMSetupCommand(Command, kw_only=True, frozen=True):
    """Internal sites that may be reached, and the account for zone copies."""

    allowed_internal_sites: list[str] | None = msgspec.field(default_factory=list)
    copy_user_name: str | None = None
    copy_password: SecretText | None = None


class PortConfig(Message, kw_only=True, frozen=True):
    """One address of another SSVM; only ``add`` and ``source_ip`` matter."""

    add: bool = False
    source_ip: str | None = None
    port: str | None = None
    intf: str | None = None


@wire_class("com.cloud.agent.api.SecStorageFirewallCfgCommand")
class SecStorageFirewallCfgCommand(Command, kw_only=True, frozen=True):
    """Who may fetch from the copy tree; ``is_append`` false replaces the whole list."""

    port_configs: Annotated[list[PortConfig], Mark.OMIT_EMPTY] = msgspec.field(default_factory=list)
    is_append: bool = msgspec.field(default=False, name="isAppendAIp")
