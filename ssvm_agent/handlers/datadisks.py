# SPDX-License-Identifier: Apache-2.0
"""GetDatadisksCommand: the disks of an OVA template (storage-commands.md 3.17)."""

from __future__ import annotations

from ssvm_agent.dispatch.registry import Lane
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.handlers.mapping import required, store_ref
from ssvm_agent.handlers.ovf_mapping import data_disk
from ssvm_agent.ingest.datadisks import list_disks
from ssvm_agent.messages.datadisk import GetDatadisksAnswer, GetDatadisksCommand
from ssvm_agent.messages.objects import TemplateObjectTO
from ssvm_agent.storage.copies import CopyTools
from ssvm_agent.storage.errors import StorageError


@REGISTRY.command(GetDatadisksCommand, GetDatadisksAnswer, lane=Lane.LONG)
async def handle(command: GetDatadisksCommand, services: Services) -> GetDatadisksAnswer:
    """A list for every OVA, also for one with a single disk: the server waits for it.

    Differs: storage-commands.md 3.17: a failure has the class of its own command too.
    """
    template = required(command.data, "data")
    if not isinstance(template, TemplateObjectTO):
        raise StorageError("Only templates have data disks")
    path = required(template.path, "data.path")
    store = await services.stores.open(store_ref(template.image_data_store))
    found = await list_disks(
        store, path, template.name, command.configuration_id,
        tools=CopyTools(owner=services.jobs.tools.owner, clock=services.clock),
    )  # fmt: skip
    return GetDatadisksAnswer(
        data_disk_details=[data_disk(disk, found.directory) for disk in found.disks]
    )
