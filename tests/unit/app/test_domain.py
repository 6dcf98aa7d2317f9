# SPDX-License-Identifier: Apache-2.0
"""The working rooms as built for a real process."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ssvm_agent.app.domain import Machine, RoutingMounter, load_handlers, open_domain
from ssvm_agent.app.status_numbers import WorkNumbers
from ssvm_agent.appliance.recording import RecordingAppliance
from ssvm_agent.config.settings import Settings, StatusSettings, UploadSettings
from ssvm_agent.config.state import AgentState
from ssvm_agent.host.clock import SystemClock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.link.status import LinkState, LinkStatus
from ssvm_agent.messages.agent import CheckHealthAnswer, CheckHealthCommand
from ssvm_agent.messages.envelope import decode_answers, encode_commands
from ssvm_agent.storage.layout import parse_store_url
from tests.fakes.machine import FakeRunner
from tests.fakes.services import FakeLink

load_handlers()


def _machine(root: Path, upload_port: int = 0, status_port: int = 0) -> Machine:
    settings = Settings(
        guid="s-1-VM", zone="1", name="s-1-VM", conf_dir=root / "conf", state_dir=root / "state",
        mount_root=root / "mnt", upload=UploadSettings(listen_port=upload_port),
        status=StatusSettings(listen=f"127.0.0.1:{status_port}"),
    )  # fmt: skip
    return Machine(
        settings=settings,
        state=AgentState(settings.agent_properties, settings.resource_class),
        clock=SystemClock(),
        runner=FakeRunner(),
        disk=WorkPool("test"),
        appliance=RecordingAppliance(),
        link=FakeLink(),
        link_status=lambda: LinkStatus(state=LinkState.DISCONNECTED, since=datetime.now(UTC)),
    )


async def test_the_rooms_carry_out_commands_and_close(tmp_path: Path) -> None:
    machine = _machine(tmp_path)
    async with open_domain(machine) as executor:
        content = await executor.execute(
            encode_commands([CheckHealthCommand()]), stop_on_error=False
        )
    assert content is not None
    assert isinstance(decode_answers(content)[0], CheckHealthAnswer)
    machine.disk.close()


async def test_a_mount_is_preceded_by_its_route(tmp_path: Path) -> None:
    """storage-commands.md 3.1 step 1."""
    machine = _machine(tmp_path)
    url = parse_store_url("nfs://10.1.40.2/export/sec")
    numbers = WorkNumbers()
    await RoutingMounter(machine, numbers).mount(url, "10.1.40.2", tmp_path, None)
    assert isinstance(machine.appliance, RecordingAppliance)
    assert machine.appliance.actions == ["route to storage 10.1.40.2"]
    assert isinstance(machine.runner, FakeRunner)
    assert machine.runner.calls[0][0] == "mount"
    (row,) = numbers.histograms()
    assert (row.labels, sum(row.counts)) == ((("outcome", "done"),), 1)
    machine.disk.close()


async def test_without_its_http_side_the_agent_still_works(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        machine = _machine(tmp_path, upload_port=taken.getsockname()[1])
        async with open_domain(machine) as executor:
            content = await executor.execute(
                encode_commands([CheckHealthCommand()]), stop_on_error=False
            )
    assert content is not None
    assert "no links and uploads: the HTTP side did not start" in caplog.text
    machine.disk.close()


async def test_a_taken_status_address_is_told_and_no_reason_to_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        machine = _machine(tmp_path, status_port=taken.getsockname()[1])
        async with open_domain(machine):
            pass
    assert "no status page" in caplog.text
    machine.disk.close()
