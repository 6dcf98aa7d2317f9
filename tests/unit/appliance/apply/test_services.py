# SPDX-License-Identifier: Apache-2.0
"""Services are asked about first, and nothing waits for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssvm_agent.appliance.apply import services
from ssvm_agent.appliance.apply.report import Status
from ssvm_agent.appliance.plan.model import Hypervisor
from ssvm_agent.host.run import ProgramResult
from tests.fakes.machine import FakeRunner


def machine(**units: str) -> FakeRunner:
    """Units by name (``_`` for ``-``) as "load enabled active"; all others are not installed."""

    def react(call: list[str]) -> ProgramResult | None:
        if call[1] != "show":
            return None
        load, enabled, active = units.get(
            call[-1].partition(".")[0].replace("-", "_"), "not-found  inactive"
        ).split(" ")
        text = f"Id={call[-1]}\nLoadState={load}\nUnitFileState={enabled}\nActiveState={active}\n"
        return ProgramResult(returncode=0, stdout=text.encode(), stderr=b"")

    return FakeRunner(react=react)


def actions(runner: FakeRunner) -> list[str]:
    return [" ".join(call[1:]) for call in runner.calls if call[1] != "show"]


async def test_a_unit_is_enabled_and_started_when_it_is_not() -> None:
    runner = machine(apache2="loaded disabled inactive")
    (item,) = await services.bring_up(("apache2",), runner, dry_run=False)
    assert (item.status, item.reason) == (Status.CHANGED, "enable, start")
    assert actions(runner) == ["enable --no-block apache2.service",
                               "start --no-block apache2.service"]  # fmt: skip


@pytest.mark.parametrize("facts", ["loaded enabled active", "loaded static activating"])
async def test_a_unit_that_runs_is_left_alone(facts: str) -> None:
    runner = machine(cloud=facts)
    (item,) = await services.bring_up(("cloud",), runner, dry_run=False)
    assert item.status is Status.UNCHANGED
    assert actions(runner) == []


async def test_a_unit_is_stopped_and_disabled() -> None:
    runner = machine(haproxy="loaded enabled active", dnsmasq="loaded disabled inactive")
    items = await services.bring_down(("haproxy", "dnsmasq", "frr"), runner, dry_run=False)
    assert [item.status for item in items] == [Status.CHANGED, Status.UNCHANGED, Status.SKIPPED]
    assert actions(runner) == ["disable --no-block haproxy.service",
                               "stop --no-block haproxy.service"]  # fmt: skip


async def test_names_of_older_images_are_found() -> None:
    runner = machine(rpcbind="loaded enabled active", nfs_client="loaded enabled active")
    items = await services.bring_up(("portmap", "nfs-common"), runner, dry_run=False)
    assert {item.status for item in items} == {Status.UNCHANGED}


async def test_a_masked_unit_is_its_masters_business() -> None:
    (item,) = await services.bring_up(("cloud",), machine(cloud="masked masked inactive"),
                                      dry_run=False)  # fmt: skip
    assert (item.status, item.reason) == (Status.SKIPPED, "it is masked")


async def test_a_dry_run_only_asks() -> None:
    runner = machine(apache2="loaded disabled inactive")
    (item,) = await services.bring_up(("apache2",), runner, dry_run=True)
    assert item.status is Status.WOULD_CHANGE
    assert actions(runner) == []


async def test_no_service_manager_is_a_failure_with_its_reason() -> None:
    def refuse(_: list[str]) -> ProgramResult:
        return ProgramResult(returncode=1, stdout=b"", stderr=b"System has not been booted")

    (item,) = await services.bring_up(("cloud",), FakeRunner(react=refuse), dry_run=False)
    assert item.status is Status.FAILED
    assert "has not been booted" in item.reason
    assert (await services.restart("ssh", FakeRunner(react=refuse))).status is Status.FAILED


def test_each_platform_gets_its_guest_tools(tmp_path: Path) -> None:
    """boot-and-system.md 2.1 step 1; a unit whose device is not offered would wait for it."""
    assert services.guest_tools(Hypervisor.KVM, tmp_path) == ()
    port = tmp_path / "dev/virtio-ports/org.qemu.guest_agent.0"
    port.parent.mkdir(parents=True)
    port.touch()
    assert services.guest_tools(Hypervisor.KVM, tmp_path) == ("qemu-guest-agent",)
    assert services.guest_tools(Hypervisor.VMWARE, tmp_path) == ("open-vm-tools",)
    assert services.guest_tools(Hypervisor.OVM3, tmp_path) == ()
