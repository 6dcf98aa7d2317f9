# SPDX-License-Identifier: Apache-2.0
"""The running agent: what ends it, and how it says so."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from pathlib import Path

import pytest

from ssvm_agent.app import application
from ssvm_agent.app.application import Application, log_failure
from ssvm_agent.app.exits import ExitCode
from ssvm_agent.appliance.recording import RecordingAppliance
from ssvm_agent.appliance.systemvm import SystemVmAppliance
from ssvm_agent.config.settings import ApplianceKind, LinkSettings, NetworkSettings, Settings
from ssvm_agent.config.state import AgentState
from tests.fakes.machine import until


@pytest.fixture(name="settings")
def _settings(tmp_path: Path) -> Settings:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return Settings(
        guid="s-1-VM", zone="1", name="s-1-VM", management_servers=("127.0.0.1",), port=port,
        conf_dir=tmp_path / "conf", state_dir=tmp_path / "state", mount_root=tmp_path / "mnt",
        networks=NetworkSettings(private_address="10.1.34.20", private_netmask="255.255.255.0"),
        link=LinkSettings(backoff_initial_s=0.01, backoff_max_s=0.02), oddities=("it is odd",),
    )  # fmt: skip


@pytest.fixture(name="notified")
def _notified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the service manager is told by the application itself."""
    states: list[str] = []

    def notify(state: str) -> bool:
        states.append(state)
        return True

    monkeypatch.setattr(application, "notify", notify)
    return states


def _application(settings: Settings) -> Application:
    return Application(settings, AgentState(settings.agent_properties, settings.resource_class))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
async def test_a_signal_ends_the_agent_with_its_number(
    settings: Settings, notified: list[str], number: signal.Signals, code: int
) -> None:
    """agent-lifecycle.md 3.6; here while no server answers."""
    running = asyncio.create_task(_application(settings).run())
    await until(lambda: "READY=1" in notified)
    os.kill(os.getpid(), number)
    assert await running == code
    assert notified[-1] == "STOPPING=1"
    assert (settings.state_dir / "status.json").exists()


async def test_a_signal_before_the_link_exists_is_kept(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    preparing = asyncio.Event()
    going_on = asyncio.Event()

    async def prepare(_self: RecordingAppliance) -> None:
        preparing.set()
        await going_on.wait()

    monkeypatch.setattr(RecordingAppliance, "prepare", prepare)
    running = asyncio.create_task(_application(settings).run())
    await preparing.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    going_on.set()
    assert await running == 143


async def test_a_machine_that_cannot_be_prepared_in_time_does_not_hold_up_the_link(
    settings: Settings, notified: list[str], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    async def prepare(_self: RecordingAppliance) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(RecordingAppliance, "prepare", prepare)
    monkeypatch.setattr(application, "_PREPARE_DEADLINE_S", 0.01)
    running = asyncio.create_task(_application(settings).run())
    await until(lambda: "READY=1" in notified)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 143
    assert "preparing the machine took too long" in caplog.text


async def test_a_second_signal_skips_the_waiting(
    settings: Settings, notified: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "_SAME_SIGNAL_S", -1.0)
    agent = _application(settings)
    stopping = asyncio.Event()

    async def stop() -> None:
        stopping.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(agent._link, "stop", stop)
    running = asyncio.create_task(agent.run())
    await until(lambda: "READY=1" in notified)
    os.kill(os.getpid(), signal.SIGTERM)
    await stopping.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 143


async def test_the_same_signal_twice_at_once_is_one(
    settings: Settings, notified: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    running = asyncio.create_task(_application(settings).run())
    await until(lambda: "READY=1" in notified)
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 143
    assert "stopped without waiting" not in caplog.text


async def test_a_failing_part_ends_the_agent_with_its_stack(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    agent = _application(settings)

    async def fail(_sink: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(agent._link, "run", fail)
    assert await agent.run() == ExitCode.CRASHED
    assert "a part of the agent failed" in caplog.text
    assert "a defect" in caplog.text


async def test_being_sent_away_is_a_good_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """agent-lifecycle.md 3.5: after a ShutdownCommand of the server."""
    agent = _application(settings)

    async def run(_sink: object) -> None:
        return

    monkeypatch.setattr(agent._link, "run", run)
    assert await agent.run() == ExitCode.DONE


async def test_the_watchdog_is_told_at_its_interval(
    settings: Settings, notified: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "watchdog_interval_s", lambda: 0.001)
    running = asyncio.create_task(_application(settings).run())
    await until(lambda: notified.count("WATCHDOG=1") > 3 and "READY=1" in notified)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 143


async def test_oddities_are_logged_at_the_start(
    settings: Settings, notified: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        running = asyncio.create_task(_application(settings).run())
        await until(lambda: "READY=1" in notified)
        os.kill(os.getpid(), signal.SIGTERM)
        await running
    assert "it is odd" in caplog.messages
    assert caplog.messages[0] == "agent starts"


def test_a_system_vm_gets_its_own_appliance(settings: Settings) -> None:
    import dataclasses

    told = dataclasses.replace(settings, appliance=ApplianceKind.SYSTEM_VM)
    assert isinstance(_application(told)._appliance, SystemVmAppliance)


def test_nested_failures_are_logged_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    inner = ExceptionGroup("inner", [ValueError("one"), ValueError("two")])
    log_failure(ExceptionGroup("outer", [inner, KeyError("three")]))
    assert caplog.messages == ["a part of the agent failed"] * 3
