# SPDX-License-Identifier: Apache-2.0
"""ListTemplateCommand: which templates are on a store (storage-commands.md 3.11)."""

from __future__ import annotations

from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.handlers.mapping import store_ref, template_prop
from ssvm_agent.messages.listing import ListTemplateAnswer, ListTemplateCommand
from ssvm_agent.storage.catalog import list_templates


@REGISTRY.command(ListTemplateCommand, ListTemplateAnswer, changes=False)
async def handle(command: ListTemplateCommand, services: Services) -> ListTemplateAnswer:
    """All templates, or a failure: the server acts on what is missing (requirements R8)."""
    ref = store_ref(command.store, nfs_version=command.nfs_version)
    found = await list_templates(await services.stores.open(ref))
    return ListTemplateAnswer(
        details="success",
        sec_url=ref.display,
        template_infos={name: template_prop(entry) for name, entry in found.items()},
    )
