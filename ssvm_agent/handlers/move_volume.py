# SPDX-License-Identifier: Apache-2.0
"""MoveVolumeCommand: move a volume to another account (storage-commands.md 3.19)."""

from __future__ import annotations

from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.handlers.mapping import required, url_ref
from ssvm_agent.messages.base import Answer
from ssvm_agent.messages.files import MoveVolumeCommand
from ssvm_agent.storage.moves import move_volume


@REGISTRY.command(MoveVolumeCommand, Answer)
async def handle(command: MoveVolumeCommand, services: Services) -> Answer:
    """Rename its directory; a failure stops the move of the account."""
    source = required(command.src_path, "srcPath")
    target = required(command.dest_path, "destPath")
    store = await services.stores.open(url_ref(command.datastore_uri))
    await move_volume(store, source, target)
    name = command.volume_name or command.volume_uuid or source
    return Answer(details=f"Moved volume [{name}] from [{source}] to [{target}].")
