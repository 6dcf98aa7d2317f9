# SPDX-License-Identifier: Apache-2.0
"""Disks of an OVA (storage-commands.md 3.17, 3.18)."""

import msgspec

from ssvm_agent.messages.base import Answer, Command, DataTO, wire_class
from ssvm_agent.messages.objects import TemplateObjectTO
from ssvm_agent.messages.ovf import DatadiskTO


@wire_class("com.cloud.agent.api.storage.GetDatadisksCommand")
class GetDatadisksCommand(Command, kw_only=True, frozen=True):
    """Which disks are in this OVA?"""

    data: DataTO | None = None
    configuration_id: str | None = None


@wire_class("com.cloud.agent.api.storage.GetDatadisksAnswer", bare=True)
class GetDatadisksAnswer(Answer, kw_only=True, frozen=True):
    """The disks; always a list, also with a failure (storage-commands.md 1.1)."""

    data_disk_details: list[DatadiskTO] | None = msgspec.field(default_factory=list)


@wire_class("com.cloud.agent.api.storage.CreateDatadiskTemplateCommand")
class CreateDatadiskTemplateCommand(Command, kw_only=True, frozen=True):
    """Make a template of one disk of an OVA."""

    data_disk_template: DataTO | None = None
    path: str | None = None
    file_size: int = 0
    bootable: bool = False
    disk_id: str | None = None


@wire_class("com.cloud.agent.api.storage.CreateDatadiskTemplateAnswer", bare=True)
class CreateDatadiskTemplateAnswer(Answer, kw_only=True, frozen=True):
    """The new template; not wrapped with its class name."""

    data_disk_template: TemplateObjectTO | None = None
