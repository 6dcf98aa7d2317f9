# SPDX-License-Identifier: Apache-2.0
"""Deleting objects (storage-commands.md 3.13, 3.14)."""

from ssvm_agent.messages.base import Answer, Command, DataStoreTO, DataTO, wire_class


@wire_class("org.apache.cloudstack.storage.command.DeleteCommand")
class DeleteCommand(Command, kw_only=True, frozen=True):
    """Delete one object; ``delete_chain`` came with 4.23 and means nothing here."""

    data: DataTO | None = None
    delete_chain: bool | None = None


@wire_class("org.apache.cloudstack.storage.command.BackupDeleteAnswer", bare=True)
class BackupDeleteAnswer(Answer, kw_only=True, frozen=True):
    """A backup could not be deleted (4.23)."""

    backup_id: int = 0


@wire_class("com.cloud.agent.api.DeleteSnapshotsDirCommand")
class DeleteSnapshotsDirCommand(Command, kw_only=True, frozen=True):
    """Delete the snapshots of one volume: ``snapshots/<account>/<volume>``."""

    store: DataStoreTO | None = None
    directory: str | None = None
