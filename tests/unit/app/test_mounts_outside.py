# SPDX-License-Identifier: Apache-2.0
"""A confined agent mounts through the service manager."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ssvm_agent.app.domain import Machine, RoutingMounter
from ssvm_agent.app.status_numbers import WorkNumbers
from ssvm_agent.appliance.recording import RecordingAppliance
from ssvm_agent.host.clock import SystemClock
from ssvm_agent.storage.layout import parse_store_url
from tests.fakes.machine import FakeRunner


@pytest.mark.parametrize(("outside", "program"), [(True, "systemd-run"), (False, "mount")])
async def test_mounts_go_where_the_setting_says(*, outside: bool, program: str) -> None:
    runner = FakeRunner()
    settings = SimpleNamespace(mounts_outside=outside, mount_timeout_s=5.0)
    machine: Any = SimpleNamespace(
        settings=settings,
        runner=runner,
        disk=None,
        appliance=RecordingAppliance(),
        clock=SystemClock(),
    )
    mounter = RoutingMounter(cast(Machine, machine), WorkNumbers())
    url = parse_store_url("nfs://10.1.40.2/export")
    await mounter.mount(url, "10.1.40.2", Path("/mnt/SecStorage/x"), None)
    (call,) = runner.calls
    assert call[0] == program
    assert call[-2:] == ["10.1.40.2:/export", "/mnt/SecStorage/x"]
