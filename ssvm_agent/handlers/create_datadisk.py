# SPDX-License-Identifier: Apache-2.0
"""CreateDatadiskTemplateCommand: a template of one disk of an OVA (storage-commands.md 3.18)."""

from __future__ import annotations

from ssvm_agent.errors import AgentError
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.handlers.mapping import required, store_ref
from ssvm_agent.ingest.datadisks import DiskTemplate, make_disk_template
from ssvm_agent.messages.datadisk import (
    CreateDatadiskTemplateAnswer,
    CreateDatadiskTemplateCommand,
)
from ssvm_agent.messages.objects import TemplateObjectTO
from ssvm_agent.storage.copies import CopyTools
from ssvm_agent.storage.errors import StorageError


@REGISTRY.command(CreateDatadiskTemplateCommand, CreateDatadiskTemplateAnswer)
async def handle(
    command: CreateDatadiskTemplateCommand, services: Services
) -> CreateDatadiskTemplateAnswer:
    """The disk has a template of its own."""
    template = required(command.data_disk_template, "dataDiskTemplate")
    if not isinstance(template, TemplateObjectTO):
        raise StorageError("Only a template can be made of a disk")
    wanted = DiskTemplate(
        disk_path=required(command.path, "path"),
        account_id=template.account_id,
        template_id=template.id,
        unique_name=required(template.unique_name or template.name, "dataDiskTemplate.uniqueName"),
        virtual_size_bytes=template.size or 0,
        bootable=command.bootable,
    )
    tools = CopyTools(owner=services.jobs.tools.owner, clock=services.clock)
    store = await services.stores.open(store_ref(template.image_data_store))
    try:
        made = await make_disk_template(store, wanted, tools=tools)
    except AgentError as error:
        # Compat: storage-commands.md 3.18
        raise StorageError(
            f"Create Datadisk template failed due to {error.message}", detail=error.detail
        ) from error
    return CreateDatadiskTemplateAnswer(
        data_disk_template=TemplateObjectTO(
            id=template.id,
            path=made.path,
            size=made.virtual_size_bytes,
            physical_size=made.physical_size_bytes,
        )
    )
