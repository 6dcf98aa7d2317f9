# SPDX-License-Identifier: Apache-2.0
"""ListDataStoreObjectsCommand: one page of a directory (storage-commands.md 3.19)."""

from __future__ import annotations

from typing import Final

from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.handlers.mapping import store_ref
from ssvm_agent.messages.listing import ListDataStoreObjectsAnswer, ListDataStoreObjectsCommand
from ssvm_agent.storage.objects import list_page

# The server waits 15 s.
_DEADLINE_S: Final = 15.0


@REGISTRY.command(
    ListDataStoreObjectsCommand, ListDataStoreObjectsAnswer, deadline_s=_DEADLINE_S, changes=False
)
async def handle(
    command: ListDataStoreObjectsCommand, services: Services
) -> ListDataStoreObjectsAnswer:
    """The entries in order of their names, so that pages fit together."""
    ref = store_ref(command.store, nfs_version=command.nfs_version)
    store = await services.stores.open(ref)
    page = await list_page(store, command.path or "", command.start_index, command.page_size)
    return ListDataStoreObjectsAnswer(
        path_exists=page.exists,
        count=page.count,
        names=[entry.name for entry in page.objects],
        paths=[entry.path for entry in page.objects],
        abs_paths=[entry.absolute_path for entry in page.objects],
        is_dirs=[entry.is_directory for entry in page.objects],
        sizes=[entry.size_bytes for entry in page.objects],
        last_modified=[entry.modified_ms for entry in page.objects],
    )
