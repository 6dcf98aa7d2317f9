# SPDX-License-Identifier: Apache-2.0
"""ListVolumeCommand: which downloaded volumes are on a store (storage-commands.md 3.12)."""

from __future__ import annotations

from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.handlers.mapping import store_ref, template_prop, url_ref
from ssvm_agent.messages.listing import ListVolumeAnswer, ListVolumeCommand
from ssvm_agent.messages.stores import NfsTO
from ssvm_agent.storage.catalog import list_volumes


@REGISTRY.command(ListVolumeCommand, ListVolumeAnswer, changes=False)
async def handle(command: ListVolumeCommand, services: Services) -> ListVolumeAnswer:
    """All volumes with a properties file, or a failure (requirements R8)."""
    # Compat: storage-commands.md 3.12: the place of an NFS store is taken from secUrl.
    ref = (
        url_ref(command.sec_url, nfs_version=command.nfs_version)
        if command.sec_url and isinstance(command.store, NfsTO | None)
        else store_ref(command.store, nfs_version=command.nfs_version)
    )
    found = await list_volumes(await services.stores.open(ref))
    return ListVolumeAnswer(
        details="success",
        sec_url=ref.display,
        template_infos={image_id: template_prop(entry) for image_id, entry in found.items()},
    )
