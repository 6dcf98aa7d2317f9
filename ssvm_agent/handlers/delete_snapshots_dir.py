# SPDX-License-Identifier: Apache-2.0
"""DeleteSnapshotsDirCommand: delete all snapshots of a volume (storage-commands.md 3.14)."""

from __future__ import annotations

from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.handlers.mapping import required, store_ref
from ssvm_agent.messages.base import Answer
from ssvm_agent.messages.delete import DeleteSnapshotsDirCommand
from ssvm_agent.storage.removal import remove_snapshots_directory


@REGISTRY.command(DeleteSnapshotsDirCommand, Answer)
async def handle(command: DeleteSnapshotsDirCommand, services: Services) -> Answer:
    """Delete the directory; a store that has none of it is as good."""
    directory = required(command.directory, "directory")
    store = await services.stores.open(store_ref(command.store))
    removal = await remove_snapshots_directory(store, directory)
    if removal.existed:
        return Answer()
    return Answer(details=f"snapshot directory {removal.directory.name} doesn't exist")
