# SPDX-License-Identifier: Apache-2.0
"""Commands that only make sense with vCenter, which this agent does not talk to.

A management server with VMware clusters may send them (storage-commands.md 3.20). They are answered
as unsupported, as from any agent without vCenter; the text says why, so that nobody looks for the
fault elsewhere.
"""

from __future__ import annotations

import msgspec

from ssvm_agent.dispatch.registry import Lane
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.messages.base import Command, UnsupportedAnswer, class_name_of
from ssvm_agent.messages.hypervisor import (
    BackupSnapshotCommand,
    CopyVolumeCommand,
    CreatePrivateTemplateFromSnapshotCommand,
    CreatePrivateTemplateFromVolumeCommand,
    CreateVolumeFromSnapshotCommand,
    PrimaryStorageDownloadCommand,
)


async def handle(command: Command, services: Services) -> UnsupportedAnswer:  # noqa: ARG001 - nothing is done
    """Say that it needs vCenter; the first sentence is that of every unsupported command."""
    refusal = UnsupportedAnswer.to(class_name_of(command))
    text = f"{refusal.details} It needs vCenter, and this agent does not serve VMware."
    return msgspec.structs.replace(refusal, details=text)


for _command in (
    PrimaryStorageDownloadCommand,
    BackupSnapshotCommand,
    CreatePrivateTemplateFromVolumeCommand,
    CreatePrivateTemplateFromSnapshotCommand,
    CopyVolumeCommand,
    CreateVolumeFromSnapshotCommand,
):
    REGISTRY.command(_command, UnsupportedAnswer, lane=Lane.CONTROL, changes=False)(handle)
