# SPDX-License-Identifier: Apache-2.0
"""Programs that have to run outside the service's mount namespace."""

from __future__ import annotations

import pytest

from ssvm_agent.host.errors import ProgramFailedError
from ssvm_agent.host.outside import OutsideRunner
from ssvm_agent.host.run import ProgramResult
from tests.fakes.machine import FakeRunner


async def test_the_service_manager_gets_the_program_as_it_is() -> None:
    runner = FakeRunner()
    await OutsideRunner(runner).run(["mount", "-t", "nfs", "10.1.1.5:/a$b", "/mnt/x"], deadline_s=9)
    (call,) = runner.calls
    assert call[0] == "systemd-run"
    assert "--property=RuntimeMaxSec=14" in call
    assert call[call.index("--") + 1 :] == ["mount", "-t", "nfs", "10.1.1.5:/a$$b", "/mnt/x"]


async def test_a_failure_is_told_in_the_name_of_the_program() -> None:
    def refuse(_: list[str]) -> ProgramResult:
        return ProgramResult(returncode=32, stdout=b"", stderr=b"mount.nfs: access denied")

    with pytest.raises(ProgramFailedError, match=r"^mount failed with exit status 32: mount\.nfs"):
        await OutsideRunner(FakeRunner(react=refuse)).run(["mount"], deadline_s=1)
