# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from ssvm_agent.messages import hypervisor
from ssvm_agent.messages.base import Command, UnsupportedAnswer, class_name_of
from tests.fakes.services import Rig


@pytest.mark.parametrize(
    "command",
    [
        hypervisor.PrimaryStorageDownloadCommand(),
        hypervisor.BackupSnapshotCommand(),
        hypervisor.CreatePrivateTemplateFromVolumeCommand(),
        hypervisor.CreatePrivateTemplateFromSnapshotCommand(),
        hypervisor.CopyVolumeCommand(),
        hypervisor.CreateVolumeFromSnapshotCommand(),
    ],
    ids=lambda command: type(command).__name__,
)
async def test_commands_for_vcenter_are_refused_with_the_reason(rig: Rig, command: Command) -> None:
    """storage-commands.md 3.20, 3.21: as unsupported as any unknown command."""
    answer = await rig.ask(command)
    assert type(answer) is UnsupportedAnswer
    assert not answer.result
    unsupported = UnsupportedAnswer.to(class_name_of(command)).details
    assert answer.details is not None
    assert answer.details.startswith(unsupported or "?")
    assert answer.details.endswith("this agent does not serve VMware.")
