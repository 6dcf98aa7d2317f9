# SPDX-License-Identifier: Apache-2.0
"""The text comes from a file, from earlier in this boot, or from the channels, and is kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssvm_agent.appliance.boot.obtain import BOOT_TEXT, MEMORY, Obtain, UnreadableTextError
from ssvm_agent.appliance.boot.search import NoBootTextError
from ssvm_agent.appliance.plan.model import Hypervisor
from ssvm_agent.host.errors import ProgramMissingError
from ssvm_agent.host.pools import WorkPool
from tests.fakes.machine import FakeClock, FakeRunner, beside_the_loop

BOOTED_AT = 1_000_000


def missing(call: list[str]) -> None:
    raise ProgramMissingError(call[0])


@pytest.fixture(name="machine")
def _machine(tmp_path: Path) -> Iterator[Obtain]:
    (tmp_path / "proc/sys/kernel/random").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/random/boot_id").write_text("this\n")
    (tmp_path / "proc/stat").write_text(f"cpu 1\nbtime {BOOTED_AT}\n")
    (tmp_path / "proc/cmdline").write_text("root=/dev/vda6 ro\n")
    pool = WorkPool("test", threads=1)
    yield Obtain(
        root=tmp_path, runner=FakeRunner(react=missing), pool=pool, clock=FakeClock(), wait_s=5
    )
    pool.close()


def write(machine: Obtain, text: str, *, at: int = BOOTED_AT + 9) -> Path:
    def work() -> Path:
        path = machine.root / BOOT_TEXT
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (at, at))
        return path

    return beside_the_loop(work)


async def test_a_file_is_taken_as_it_is(machine: Obtain, tmp_path: Path) -> None:
    path = tmp_path / "text"
    beside_the_loop(path.write_text, " type=secstorage\n")
    obtained = await machine.from_file(path)
    assert obtained.found.text == " type=secstorage\n"
    assert obtained.hypervisor is Hypervisor.KVM
    assert obtained.reason.endswith("KVM is assumed")


@pytest.mark.parametrize("content", [None, "", " \n\0"])
async def test_a_file_without_a_text_is_an_error(
    machine: Obtain, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "text"
    if content is not None:
        beside_the_loop(path.write_text, content)
    with pytest.raises(UnreadableTextError, match="text"):
        await machine.from_file(path)


async def test_the_operator_knows_the_platform_best(machine: Obtain) -> None:
    machine.hypervisor = Hypervisor.VMWARE
    assert await machine.platform() == (Hypervisor.VMWARE, "as told")


async def test_a_text_of_the_channels_is_kept_for_others(machine: Obtain) -> None:
    """boot-and-system.md 2.9; only root may read it, and its time stays the host's."""
    path = write(machine, "type=secstorage")
    obtained = await machine.from_channels(keep=True)
    assert obtained.oddities == ()
    state = beside_the_loop(path.stat)
    assert (state.st_mode & 0o777, int(state.st_mtime)) == (0o600, BOOTED_AT + 9)


async def test_a_text_of_the_kernel_is_written_to_the_file(machine: Obtain) -> None:
    text = "root=/dev/xvda6%template=domP%type=secstorage%"
    beside_the_loop((machine.root / "proc/cmdline").write_text, text)
    obtained = await machine.from_channels(keep=True)
    assert obtained.found.channel == "kernel command line"
    assert beside_the_loop((machine.root / BOOT_TEXT).read_text) == text


async def test_later_phases_take_the_text_of_the_first(machine: Obtain) -> None:
    """Some channels tell it only once."""
    path = machine.root / "proc/cmdline"
    beside_the_loop(path.write_text, "template=domP type=secstorage")
    await machine.from_channels(keep=True)
    beside_the_loop(path.write_text, "root=/dev/vda6")
    again = await machine.from_channels(keep=True)
    assert again.found.channel == "kernel command line (taken earlier in this boot)"
    assert machine.clock.monotonic() == 1000.0, "nothing was waited for"


async def test_an_old_text_waits_out_its_time_once(machine: Obtain) -> None:
    write(machine, "type=secstorage", at=BOOTED_AT - 100)
    first = await machine.from_channels(keep=True)
    assert "earlier boot" in first.oddities[0]
    waited = machine.clock.monotonic()
    await machine.from_channels(keep=True)
    assert machine.clock.monotonic() == waited > 1004


async def test_looking_leaves_no_trace(machine: Obtain) -> None:
    write(machine, "type=secstorage")
    await machine.from_channels(keep=False)
    assert not beside_the_loop((machine.root / MEMORY).exists)


async def test_a_full_disk_does_not_keep_the_text_from_being_used(
    machine: Obtain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("obtain", "search"):
        monkeypatch.setattr(f"ssvm_agent.appliance.boot.{name}.atomic_write", full)
    write(machine, "type=secstorage")
    obtained = await machine.from_channels(keep=True)
    assert obtained.found.text == "type=secstorage"
    assert "No space left" in obtained.oddities[0]


async def test_no_text_is_an_error_that_says_what_was_tried(machine: Obtain) -> None:
    with pytest.raises(NoBootTextError) as caught:
        await machine.from_channels(keep=True)
    assert "kernel command line: nothing has come" in caught.value.detail
    assert "dmidecode is not installed" in caught.value.detail
