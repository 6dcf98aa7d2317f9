# SPDX-License-Identifier: Apache-2.0
"""HandleConfigDriveIsoCommand: write or delete a config drive (storage-commands.md 3.16)."""

from __future__ import annotations

from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.handlers.mapping import required, store_ref
from ssvm_agent.masking import Secret
from ssvm_agent.messages.configdrive import HandleConfigDriveIsoAnswer, HandleConfigDriveIsoCommand
from ssvm_agent.storage.configdrives import delete_config_drive, write_config_drive
from ssvm_agent.storage.errors import StorageError


@REGISTRY.command(HandleConfigDriveIsoCommand, HandleConfigDriveIsoAnswer)
async def handle(
    command: HandleConfigDriveIsoCommand, services: Services
) -> HandleConfigDriveIsoAnswer:
    """The ISO is on the store, or it is not there any more."""
    iso_file = required(command.iso_file, "isoFile")
    if command.create and not command.iso_data:
        # Compat: storage-commands.md 3.16
        raise StorageError("Invalid config drive ISO data")
    store = await services.stores.open(store_ref(command.dest_store))
    if not command.create:
        await delete_config_drive(store, iso_file)
        return HandleConfigDriveIsoAnswer(details="Successfully deleted config drive")
    data = Secret(command.iso_data or "")
    await write_config_drive(store, iso_file, data, owner=services.jobs.tools.owner)
    return HandleConfigDriveIsoAnswer(
        details="Successfully saved config drive at secondary storage"
    )
