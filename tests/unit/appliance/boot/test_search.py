# SPDX-License-Identifier: Apache-2.0
"""A text of this boot is found, a late one waited for, and an old one never taken for a new one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ssvm_agent.appliance.boot.channels import Channel, ChannelError, FileChannel, plain
from ssvm_agent.appliance.boot.search import (
    BootIdentity,
    BootMemory,
    BootText,
    NoBootTextError,
    Search,
)
from ssvm_agent.host.pools import WorkPool

POOL = WorkPool("test", threads=1)
BOOTED_AT = 1_800_000_000.0
THIS_BOOT = BootIdentity(boot_id="this-boot", started_at=BOOTED_AT)


@dataclass
class PollClock:
    """Time passes only while somebody sleeps; something may happen at a moment."""

    seconds: float = 0.0
    at: dict[float, Callable[[], None]] = field(default_factory=dict)

    def now(self) -> datetime:
        return datetime.fromtimestamp(BOOTED_AT + self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        for moment in [moment for moment in self.at if moment <= self.seconds]:
            await POOL.call(self.at.pop(moment))


@dataclass
class Broken:
    """A channel that never works."""

    name: str = "broken"
    may_be_old: bool = False

    async def read(self) -> str | None:
        raise ChannelError("It is broken.")

    def written_at(self) -> float | None:
        return None


def write(path: Path, text: str, written_at: float) -> None:
    path.write_text(text)
    os.utime(path, (written_at, written_at))


async def search(tmp_path: Path, clock: PollClock, *channels: Channel) -> BootText:
    lasting = FileChannel("file", tmp_path / "cmdline", plain, POOL, may_be_old=True)
    memory = BootMemory(tmp_path / "state/boot.json")
    return await Search(channels or (lasting,), memory, THIS_BOOT, clock, POOL).run()


async def test_a_text_written_in_this_boot_is_taken(tmp_path: Path) -> None:
    write(tmp_path / "cmdline", "type=secstorage", BOOTED_AT + 5)
    found = await search(tmp_path, PollClock())
    assert (found.text, found.is_old) == ("type=secstorage", False)


async def test_a_late_text_is_waited_for(tmp_path: Path) -> None:
    clock = PollClock()
    clock.at[30.0] = lambda: write(tmp_path / "cmdline", "late=1", BOOTED_AT + 30)
    assert (await search(tmp_path, clock)).text == "late=1"
    assert 30 <= clock.seconds < 35


async def test_a_new_text_is_preferred_to_the_one_of_the_last_boot(tmp_path: Path) -> None:
    """boot-and-system.md 4.4: the previous text stands in the file when the wait begins."""
    write(tmp_path / "cmdline", "old=1", BOOTED_AT - 1000)
    clock = PollClock()
    clock.at[10.0] = lambda: write(tmp_path / "cmdline", "new=1", BOOTED_AT + 10)
    found = await search(tmp_path, clock)
    assert (found.text, found.is_old) == ("new=1", False)


async def test_an_old_text_is_returned_as_old_after_the_wait(tmp_path: Path) -> None:
    """After a reboot from inside no host writes the file again."""
    write(tmp_path / "cmdline", "old=1", BOOTED_AT - 1000)
    clock = PollClock()
    found = await search(tmp_path, clock)
    assert (found.text, found.is_old) == ("old=1", True)
    assert clock.seconds >= 60


async def test_a_text_taken_in_this_boot_is_taken_again(tmp_path: Path) -> None:
    """A clock set back must not make our own text old."""
    write(tmp_path / "cmdline", "mine=1", BOOTED_AT + 5)
    await search(tmp_path, PollClock())
    write(tmp_path / "cmdline", "mine=1", BOOTED_AT - 5)
    clock = PollClock()
    assert not (await search(tmp_path, clock)).is_old
    assert clock.seconds < 5


async def test_a_text_that_is_still_growing_is_not_taken(tmp_path: Path) -> None:
    write(tmp_path / "cmdline", "type=sec", BOOTED_AT + 1)
    clock = PollClock()
    clock.at[1.0] = lambda: write(tmp_path / "cmdline", "type=secstorage", BOOTED_AT + 1)
    assert (await search(tmp_path, clock)).text == "type=secstorage"


async def test_a_broken_channel_does_not_hide_the_next(tmp_path: Path) -> None:
    write(tmp_path / "cmdline", "a=1", BOOTED_AT + 1)
    channel = FileChannel("file", tmp_path / "cmdline", plain, POOL)
    found = await search(tmp_path, PollClock(), Broken(), channel)
    assert found.text == "a=1"
    assert found.tried == ("broken: It is broken.",)


async def test_without_any_text_the_report_lists_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(NoBootTextError) as caught:
        await search(tmp_path, PollClock(), Broken())
    assert "broken: It is broken." in caught.value.detail
    assert "60 s" in caught.value.message


def test_the_memory_holds_no_text(tmp_path: Path) -> None:
    """A boot text holds secrets."""
    memory = BootMemory(tmp_path / "boot.json")
    memory.remember("b", "vmpassword=geheim", "file")
    assert "geheim" not in (tmp_path / "boot.json").read_text()
    assert memory.was_used_in("b", "vmpassword=geheim")
    assert not memory.was_used_in("other", "vmpassword=geheim")


def test_a_damaged_memory_remembers_nothing(tmp_path: Path) -> None:
    (tmp_path / "boot.json").write_text("{")
    assert not BootMemory(tmp_path / "boot.json").was_used_in("b", "x")


def test_the_identity_of_a_boot_comes_from_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/kernel/random").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/random/boot_id").write_text("abc\n")
    (tmp_path / "proc/stat").write_text("cpu 1 2\nbtime 1700000000\n")
    assert BootIdentity.read(tmp_path) == BootIdentity(boot_id="abc", started_at=1.7e9)
    assert BootIdentity.read(tmp_path / "nothing").boot_id == ""
