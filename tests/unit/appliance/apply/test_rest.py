# SPDX-License-Identifier: Apache-2.0
"""The disk, ifupdown's list, and what the installed sshd knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ssvm_agent.appliance.apply import disk
from ssvm_agent.appliance.apply.disk import RootPartition, find_root, grow_root
from ssvm_agent.appliance.apply.ifupdown import settle, tell_ifupdown
from ssvm_agent.appliance.apply.report import Status
from ssvm_agent.appliance.apply.sshd import knows_old_keys
from ssvm_agent.appliance.plan.build import build_plan
from ssvm_agent.appliance.plan.model import Hypervisor, MachinePlan
from ssvm_agent.bootargs import parse
from ssvm_agent.host.errors import ProgramMissingError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import ProgramResult
from tests.fakes.machine import FakeRunner

MOUNTS = """\
21 26 0:19 / /sys rw - sysfs sysfs rw
26 1 8:6 / / rw,relatime shared:1 - {kind} /dev/sda6 rw
"""


@pytest.fixture(name="pool")
def _pool() -> Iterator[WorkPool]:
    pool = WorkPool("test", threads=1)
    yield pool
    pool.close()


def machine(root: Path, kind: str = "ext4") -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(MOUNTS.format(kind=kind))
    place = root / "sys/devices/pci/sda/sda6"
    place.mkdir(parents=True)
    (place / "partition").write_text("6\n")
    (root / "sys/dev/block").mkdir(parents=True)
    (root / "sys/dev/block/8:6").symlink_to(place)
    return root


def test_the_root_partition_is_found(tmp_path: Path) -> None:
    found = find_root(machine(tmp_path))
    assert found == RootPartition(device="/dev/sda6", disk="/dev/sda", number="6")


def test_other_roots_are_left_alone(tmp_path: Path) -> None:
    assert find_root(machine(tmp_path, "overlay")) is None
    assert find_root(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("codes", "status", "programs"),
    [
        ([1, 1], Status.UNCHANGED, ["growpart", "growpart"]),
        ([0, 0], Status.CHANGED, ["growpart", "growpart", "resize2fs"]),
        ([0, 2], Status.FAILED, ["growpart", "growpart"]),
    ],
)
async def test_the_root_grows_with_its_disk(
    monkeypatch: pytest.MonkeyPatch, pool: WorkPool, codes: list[int], status: Status,
    programs: list[str],
) -> None:  # fmt: skip
    """boot-and-system.md 2.1 step 2."""
    partition = RootPartition(device="/dev/sda6", disk="/dev/sda", number="6")
    monkeypatch.setattr(disk, "find_root", lambda: partition)
    left = iter(codes)

    def react(call: list[str]) -> ProgramResult | None:
        code = next(left) if call[0] == "growpart" else 0
        return ProgramResult(returncode=code, stdout=b"", stderr=b"no")

    runner = FakeRunner(react=react)
    assert (await grow_root(runner, pool)).status is status
    assert [call[0] for call in runner.calls] == programs


async def test_without_growpart_the_root_stays(
    monkeypatch: pytest.MonkeyPatch, pool: WorkPool
) -> None:
    partition = RootPartition(device="/dev/sda1", disk="/dev/sda", number="1")
    monkeypatch.setattr(disk, "find_root", lambda: partition)

    def missing(call: list[str]) -> None:
        raise ProgramMissingError(call[0])

    assert (await grow_root(FakeRunner(react=missing), pool)).status is Status.SKIPPED


def plan_of(more: str = "") -> MachinePlan:
    text = f"type=secstorage eth0ip=169.254.1.2 eth0mask=255.255.0.0 {more}"
    return build_plan(parse(text), Hypervisor.KVM)


def test_ifupdown_learns_what_is_up(tmp_path: Path) -> None:
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin/ifup").touch()
    (tmp_path / "run/network").mkdir(parents=True)
    (tmp_path / "run/network/ifstate").write_text("lo=lo\n")
    assert [item.status for item in tell_ifupdown(plan_of(), tmp_path)] == [Status.CHANGED]
    assert (tmp_path / "run/network/ifstate").read_text() == "lo=lo\neth0=eth0\n"
    assert [item.status for item in tell_ifupdown(plan_of(), tmp_path)] == [Status.UNCHANGED]


def test_without_ifupdown_nobody_is_told(tmp_path: Path) -> None:
    assert tell_ifupdown(plan_of(), tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


async def test_dhcp_is_asked_where_the_text_says_so(
    monkeypatch: pytest.MonkeyPatch, pool: WorkPool
) -> None:
    place = "ssvm_agent.appliance.apply.ifupdown"
    monkeypatch.setattr(f"{place}.interface", lambda name: None if name == "eth1" else name)
    monkeypatch.setattr(f"{place}.tell_ifupdown", lambda _: ())
    runner = FakeRunner()
    items = await settle(plan_of("bootproto=dhcp"), runner, pool)
    assert runner.calls == [["ifup", "--force", "eth1"]]
    assert [item.status for item in items] == [Status.CHANGED, Status.UNCHANGED]


@pytest.mark.parametrize(
    ("said", "knows"),
    [
        (b"sshd: no hostkeys available -- exiting.", True),
        (b"command-line: line 0: Bad configuration option: pubkeyacceptedalgorithms", False),
    ],
)
async def test_sshd_is_asked_whether_it_knows_the_word(said: bytes, *, knows: bool) -> None:
    result = ProgramResult(returncode=1, stdout=b"", stderr=said)
    assert await knows_old_keys(FakeRunner(react=lambda _: result)) is knows
