# SPDX-License-Identifier: Apache-2.0
"""A whole apply on a pretended machine: what is done, what is taken back, what is told."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ssvm_agent.appliance.apply.changes import (
    Change,
    LinkState,
    NetworkState,
    SetAddress,
    SetRoute,
)
from ssvm_agent.appliance.apply.machine import LOCK_PATH, RECORD_PATH, Apply
from ssvm_agent.appliance.apply.reach import Server
from ssvm_agent.appliance.apply.record import lock
from ssvm_agent.appliance.apply.report import ApplyReport
from ssvm_agent.appliance.apply.request import Phase, Request, Tools
from ssvm_agent.appliance.boot.search import BootIdentity
from ssvm_agent.appliance.plan.build import build_plan
from ssvm_agent.appliance.plan.model import Hypervisor
from ssvm_agent.bootargs import parse
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import ProgramResult
from tests.fakes.kernel import FakeKernel
from tests.fakes.machine import FakeClock, FakeRunner, beside_the_loop

TEXT = (
    "type=secstorage host=10.1.32.5 name=s-1-VM eth0ip=169.254.1.2 eth0mask=255.255.0.0 "
    "eth1ip=10.1.34.20 eth1mask=255.255.255.0 eth2ip=203.0.113.21 eth2mask=255.255.255.0 "
    "gateway=203.0.113.1 localgw=10.1.34.1 mgmtcidr=10.1.32.0/24 dns1=8.8.8.8"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeMachine(Tools):
    """Below another root, and yet the running machine."""

    @property
    def is_whole_machine(self) -> bool:
        return True


@dataclass
class Rig:
    """A pretended machine.

    The management server can be reached while the kernel's network says so.
    """

    root: Path
    pool: WorkPool
    kernel: FakeKernel = field(
        default_factory=lambda: FakeKernel(
            NetworkState(links={name: LinkState(name=name) for name in ("eth0", "eth1", "eth2")})
        )
    )
    runner: FakeRunner = field(default_factory=FakeRunner)
    is_reachable: Callable[[FakeKernel], bool] = lambda _: False
    kind: type[Tools] = Tools
    boot_id: str = "this"

    def __post_init__(self) -> None:
        self.proc = self.root.parent / f"{self.root.name}-proc"
        self.forwarding = self.proc / "sys/net/ipv4/ip_forward"
        self.forwarding.parent.mkdir(parents=True)
        self.forwarding.write_text("1\n")
        self.runner.react = self._react
        self.has_filter = False

    def _react(self, call: list[str]) -> ProgramResult | None:
        if call[0].endswith("-restore"):
            self.has_filter = any(b":INPUT DROP" in (one or b"") for one in self.runner.inputs[-1:])
        if call[0].endswith("-save"):
            policy = "DROP" if self.has_filter else "ACCEPT"
            text = (
                f":INPUT {policy} [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:HTTP - [0:0]\n"
            )
            return ProgramResult(returncode=0, stdout=text.encode(), stderr=b"")
        if call[:2] == ["systemctl", "show"]:
            text = f"Id={call[-1]}\nLoadState=loaded\nUnitFileState=enabled\nActiveState=active\n"
            return ProgramResult(returncode=0, stdout=text.encode(), stderr=b"")
        return None

    async def probe(self, servers: Sequence[Server]) -> frozenset[Server]:
        return frozenset(servers) if self.is_reachable(self.kernel) else frozenset()

    async def apply(
        self, more: str = "", *, phase: Phase = Phase.ALL, dry_run: bool = False, live: bool = True
    ) -> ApplyReport:
        boot = parse(f"{TEXT} {more}")
        request = Request(
            boot=boot, plan=build_plan(boot, Hypervisor.KVM), phase=phase, dry_run=dry_run
        )
        tools = self.kind(
            root=self.root, runner=self.runner, pool=self.pool, clock=FakeClock(),
            identity=BootIdentity(boot_id=self.boot_id, started_at=1.0),
            network=self.kernel if live else None, probe=self.probe, proc=self.proc,
        )  # fmt: skip
        return await Apply(request, tools).run()

    def read(self, path: str) -> str:
        return beside_the_loop((self.root / path).read_text)

    @property
    def record(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.read(str(RECORD_PATH)))
        return found


@pytest.fixture(name="rig")
def _rig(tmp_path: Path) -> Iterator[Rig]:
    pool = WorkPool("test", threads=2)
    yield Rig(root=tmp_path, pool=pool)
    pool.close()


def statuses(report: ApplyReport) -> dict[str, str]:
    return {item.name: item.status.value for item in report.items}


def has_route_to_server(kernel: FakeKernel) -> bool:
    return any(
        route.gateway == "10.1.34.1" and str(route.destination) == "10.1.32.0/24"
        for route in kernel.state.routes
    )


async def test_a_first_boot_is_not_taken_back_for_a_server_that_is_away(rig: Rig) -> None:
    report = await rig.apply()
    assert report.is_as_wanted
    assert "not reachable yet" in report.management
    assert rig.record["result"] == "applied"
    assert rig.record["addresses"] == [
        ["eth0", "169.254.1.2/16"], ["eth1", "10.1.34.20/24"], ["eth2", "203.0.113.21/24"],
    ]  # fmt: skip


async def test_the_machine_forwards_nothing(rig: Rig) -> None:
    """boot-and-system.md 2.7."""
    await rig.apply(dry_run=True)
    assert beside_the_loop(rig.forwarding.read_text) == "1\n"
    report = await rig.apply()
    assert beside_the_loop(rig.forwarding.read_text) == "0"
    assert statuses(report)["kernel net.ipv4.ip_forward"] == "changed"


async def test_twice_changes_nothing(rig: Rig) -> None:
    rig.is_reachable = has_route_to_server
    await rig.apply()
    made = len(rig.kernel.made)
    report = await rig.apply()
    assert (report.changed, len(rig.kernel.made)) == (0, made)
    assert set(statuses(report).values()) <= {"unchanged", "skipped"}


async def test_losing_the_server_takes_network_files_and_filter_back(rig: Rig) -> None:
    rig.is_reachable = has_route_to_server
    await rig.apply()
    before, interfaces = rig.kernel.state, rig.read("etc/network/interfaces")
    rig.has_filter = False
    report = await rig.apply("localgw=10.1.34.9 eth2ip=203.0.113.22")
    assert "no management server" in report.rolled_back
    assert "reachable again" in report.management
    assert rig.kernel.state.links == before.links
    assert set(rig.kernel.state.routes) == set(before.routes)
    assert rig.read("etc/network/interfaces") == interfaces
    assert statuses(report)["packet filter IPv4"] == "restored"
    assert not rig.has_filter
    assert rig.record["result"] == "rolled back"
    assert not report.is_as_wanted


async def test_a_server_that_takes_a_while_to_come_back_is_waited_for(rig: Rig) -> None:
    asked: list[None] = []

    def after_a_while(_: FakeKernel) -> bool:
        asked.append(None)
        return len(asked) == 1 or len(asked) > 8

    rig.is_reachable = after_a_while
    report = await rig.apply()
    assert report.rolled_back == ""
    assert "reachable" in report.management


async def test_a_refusal_with_a_working_network_takes_everything_back(rig: Rig) -> None:
    rig.is_reachable = lambda _: True
    before = rig.kernel.state
    rig.kernel.refuse = lambda change: change.item == "route default"
    report = await rig.apply()
    assert report.rolled_back.startswith("route default")
    assert rig.kernel.state == before
    assert not beside_the_loop((rig.root / "etc/network/interfaces").exists)
    assert statuses(report)["route default"] == "failed"
    assert rig.record["addresses"] == []


@pytest.mark.parametrize(
    ("refused", "lost"),
    [
        (lambda one: one.item == "route default", {"route default"}),
        (
            lambda one: isinstance(one, SetAddress) and one.device == "eth2",
            {"interface eth2", "route default"},
        ),
        (lambda one: isinstance(one, SetRoute), {"route"}),
    ],
)
async def test_a_refusal_at_boot_costs_only_what_needs_it(
    rig: Rig, refused: Callable[[Change], bool], lost: set[str]
) -> None:
    """Never half: whatever is not refused is there."""
    rig.kernel.refuse = refused
    report = await rig.apply()
    assert report.rolled_back == ""
    for name, status in statuses(report).items():
        if name.startswith(("interface", "route")):
            is_lost = name in lost or name.split()[0] in lost
            assert status == ("failed" if is_lost else "changed"), name


async def test_something_that_fights_back_is_told(rig: Rig) -> None:
    """Another program resets the MTU each time."""
    make = rig.kernel.make

    def reset(changes: Sequence[Change]) -> None:
        make(changes)
        links = dict(rig.kernel.state.links)
        links["eth2"] = replace(links["eth2"], mtu=1500)
        rig.kernel.state = replace(rig.kernel.state, links=links)

    rig.kernel.make = reset  # type: ignore[method-assign]
    report = await rig.apply("publicMtu=9000")
    reasons = {item.name: item.reason for item in report.items}
    assert "changes it back" in reasons["interface eth2"]


async def test_a_broken_filter_does_not_keep_the_network_from_coming_up(rig: Rig) -> None:
    react = rig.runner.react
    assert react is not None

    def refuse(call: list[str]) -> ProgramResult | None:
        if call[0].endswith("-restore"):
            return ProgramResult(returncode=1, stdout=b"", stderr=b"no table")
        return react(call)

    rig.runner.react = refuse
    report = await rig.apply()
    assert statuses(report)["packet filter IPv4"] == "failed"
    assert statuses(report)["interface eth1"] == "changed"


async def test_a_text_of_another_kind_changes_nothing(rig: Rig) -> None:
    report = await rig.apply("type=consoleproxy")
    assert not report.is_as_wanted
    assert "'consoleproxy'" in report.items[0].reason
    assert rig.kernel.made == []
    assert beside_the_loop(lambda: list(rig.root.iterdir())) == []


async def test_two_applies_do_not_run_at_once(rig: Rig) -> None:
    held = lock(rig.root / LOCK_PATH)
    beside_the_loop(held.__enter__)
    report = await rig.apply()
    held.__exit__(None, None, None)
    assert "Another apply" in report.items[0].reason
    assert rig.kernel.made == []


async def test_below_another_root_the_running_machine_is_left_alone(rig: Rig) -> None:
    report = await rig.apply(live=False)
    assert report.is_as_wanted
    assert rig.kernel.made == []
    assert rig.runner.calls == []
    assert "10.1.34.20" in rig.read("etc/network/interfaces")


async def test_a_dry_run_leaves_no_trace(rig: Rig) -> None:
    report = await rig.apply(dry_run=True)
    assert statuses(report)["interface eth1"] == "would change"
    assert rig.kernel.made == []
    assert beside_the_loop(lambda: list(rig.root.iterdir())) == []


async def test_each_phase_does_its_part(rig: Rig) -> None:
    early = statuses(await rig.apply(phase=Phase.EARLY))
    config = statuses(await rig.apply(phase=Phase.CONFIG))
    assert "interface eth1" in early
    assert "file /var/cache/cloud/enabled_svcs" not in early
    assert "interface eth1" not in config
    assert "file /var/cache/cloud/enabled_svcs" in config


async def test_a_full_disk_is_told_and_the_network_comes_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ssvm_agent.appliance.apply.files.atomic_write", full)
    monkeypatch.setattr("ssvm_agent.appliance.apply.record.atomic_write", full)
    report = await rig.apply()
    assert statuses(report)["record"] == "failed"
    assert statuses(report)["file /etc/hosts"] == "failed"
    assert statuses(report)["interface eth1"] == "changed"


async def test_user_data_is_carried_out_once_a_boot(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boot-and-system.md 7."""
    monkeypatch.setattr("socket.sethostname", lambda _: None)
    rig.kind = WholeMachine
    packed = base64.b64encode(gzip.compress(b"#!/bin/sh\n")).decode()
    for boot_id in ("this", "this", "next"):
        rig.boot_id = boot_id
        await rig.apply(f"userdata={packed}", phase=Phase.CONFIG)
        await rig.apply(f"userdata={packed}", phase=Phase.POST)
    stages = [call[1:] for call in rig.runner.calls if call[0] == "cloud-init"]
    assert stages == [["init", "--local"], ["init"], ["modules", "--mode=config"],
                      ["modules", "--mode=final"]] * 2  # fmt: skip
    assert rig.read("var/lib/cloud/seed/nocloud/user-data") == "#!/bin/sh\n"
    assert "UTC" in rig.read("var/cache/cloud/boot_up_done")


async def test_bad_user_data_does_not_run(rig: Rig) -> None:
    rig.kind = WholeMachine
    report = await rig.apply("userdata=x", phase=Phase.CONFIG)
    assert statuses(report)["file /var/lib/cloud/seed/nocloud/user-data"] == "failed"


async def test_sshd_is_restarted_when_its_file_changed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.sethostname", lambda _: None)
    rig.kind = WholeMachine
    place = rig.root / "etc/ssh/sshd_config"
    beside_the_loop(place.parent.mkdir, parents=True)
    beside_the_loop(place.write_text, "ListenAddress 10.1.1.1\n")
    restart = ["systemctl", "try-restart", "--no-block", "ssh.service"]
    await rig.apply(phase=Phase.EARLY)
    assert rig.runner.calls.count(restart) == 1
    await rig.apply(phase=Phase.EARLY)
    assert rig.runner.calls.count(restart) == 1
