# SPDX-License-Identifier: Apache-2.0
"""Small commands on files (storage-commands.md 3.10, 3.19)."""

from ssvm_agent.messages.base import Answer, Command, DataStoreTO, wire_class
from ssvm_agent.messages.download import StoreUrlCommand
from ssvm_agent.messages.objects import SnapshotObjectTO


@wire_class("com.cloud.agent.api.ComputeChecksumCommand")
class ComputeChecksumCommand(StoreUrlCommand, kw_only=True, frozen=True):
    """Digest of a file; the answer's details are ``{ALG}hex``."""

    store: DataStoreTO | None = None
    template_path: str | None = None
    algorithm: str | None = "MD5"


@wire_class("org.apache.cloudstack.storage.command.MoveVolumeCommand", bare=True)
class MoveVolumeCommand(Command, kw_only=True, frozen=True):
    """Move a volume's directory to another account."""

    src_path: str | None = None
    dest_path: str | None = None
    volume_name: str | None = None
    volume_uuid: str | None = None
    datastore_uri: str | None = None


@wire_class("org.apache.cloudstack.storage.command.QuerySnapshotZoneCopyCommand", bare=True)
class QuerySnapshotZoneCopyCommand(Command, kw_only=True, frozen=True):
    """Which files is this snapshot made of?"""

    snapshot: SnapshotObjectTO | None = None


@wire_class("org.apache.cloudstack.storage.command.QuerySnapshotZoneCopyAnswer", bare=True)
class QuerySnapshotZoneCopyAnswer(Answer, kw_only=True, frozen=True):
    """Paths relative to the store."""

    files: list[str] | None = None
