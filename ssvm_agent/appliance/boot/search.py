# SPDX-License-Identifier: Apache-2.0
"""Find the boot text of this boot: ask the channels, wait a bounded time, tell old from new.

Theory of operation: most channels exist only while the machine runs, so what they say is of this
boot. The file the QEMU guest agent writes stays on the disk, and after a stop and start on the
same disk the *previous* text stands in it until the host writes again (boot-and-system.md 4.4). So
each search remembers which text was used in which boot. A lasting text is taken at once when the
file was written after this boot began, or when it was taken in this very boot before. Otherwise
the search goes on until the wait is over and then returns it marked as of an earlier boot: right
after a reboot from inside, where no host writes anything, and never mistaken for a new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ssvm_agent.appliance.boot.channels import Channel, ChannelError
from ssvm_agent.appliance.errors import ApplianceError
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.files import atomic_write
from ssvm_agent.host.pools import WorkPool

# Compat: boot-and-system.md 1.4, stock code waits up to 60 times one second.
DEFAULT_WAIT_S: Final = 60.0
_POLL_S: Final = 1.0


class NoBootTextError(ApplianceError):
    """No channel brought a boot text; the detail lists what was tried."""

    code = "boot-text"


@dataclass(frozen=True, slots=True, kw_only=True)
class BootText:
    """A boot text and where it came from.

    Attributes:
        text: As received.
        channel: Name of the channel.
        is_old: The text was written before this boot and may be out of date.
        tried: One sentence for each channel asked before.
    """

    text: str
    channel: str
    is_old: bool = False
    tried: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BootIdentity:
    """Which boot this is.

    Attributes:
        boot_id: The kernel's random id of this boot.
        started_at: When the kernel started, seconds since the epoch.
    """

    boot_id: str
    started_at: float

    @classmethod
    def read(cls, root: Path = Path("/")) -> BootIdentity:
        """From ``/proc``; an unknown boot has an empty id and started at 0."""
        try:
            boot_id = (root / "proc/sys/kernel/random/boot_id").read_text().strip()
            stat = (root / "proc/stat").read_text()
        except OSError:
            return cls(boot_id="", started_at=0.0)
        seconds = next(
            (line.split()[1] for line in stat.splitlines() if line.startswith("btime ")), "0"
        )
        return cls(boot_id=boot_id, started_at=float(seconds))


@dataclass(slots=True)
class BootMemory:
    """Remembers on disk which text was used in which boot; holds a digest, never the text.

    Attributes:
        path: The file.
        keeps: Whether anything is written; somebody who only looks leaves no trace.
    """

    path: Path
    keeps: bool = True

    def was_used_in(self, boot_id: str, text: str) -> bool:
        """Whether this very text was taken in this very boot."""
        return self.channel_in(boot_id, text) is not None

    def channel_in(self, boot_id: str, text: str) -> str | None:
        """The channel that brought this very text in this very boot; ``None`` if none did."""
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        is_this = (
            isinstance(record, dict)
            and bool(boot_id)
            and record.get("boot_id") == boot_id
            and record.get("sha256") == _digest(text)
        )
        return str(record.get("channel", "")) if is_this else None

    def remember(self, boot_id: str, text: str, channel: str) -> None:
        """Note that this text was taken in this boot."""
        if not self.keeps:
            return
        record = {"boot_id": boot_id, "channel": channel, "sha256": _digest(text)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(self.path, json.dumps(record).encode(), mode=0o600)


@dataclass(slots=True)
class Search:
    """One search for a boot text.

    Attributes:
        channels: In the order they are asked.
        memory: What earlier searches found.
        identity: Which boot this is.
        clock: For the wait.
        pool: For the local disk.
        wait_s: How long a text may take to come.
    """

    channels: Sequence[Channel]
    memory: BootMemory
    identity: BootIdentity
    clock: Clock
    pool: WorkPool
    wait_s: float = DEFAULT_WAIT_S
    _reasons: dict[str, str] = field(default_factory=dict, init=False)
    _previous: dict[str, str] = field(default_factory=dict, init=False)

    async def run(self) -> BootText:
        """The text of this boot, or the one of an earlier boot once the wait is over.

        Raises:
            NoBootTextError: Nothing came within the wait.
        """
        deadline = self.clock.monotonic() + self.wait_s
        while True:
            old: BootText | None = None
            for channel in self.channels:
                found = await self._ask(channel)
                if found is not None and not found.is_old:
                    # A full disk must not keep a text from being used.
                    with contextlib.suppress(OSError):
                        await self.pool.call(
                            self.memory.remember, self.identity.boot_id, found.text, found.channel
                        )
                    return found
                old = old or found
            if self.clock.monotonic() >= deadline:
                if old is not None:
                    return old
                raise NoBootTextError(
                    "No boot text came within "
                    f"{self.wait_s:.0f} s; start the VM from the management server or give a file.",
                    detail="; ".join(self._tried()),
                )
            await self.clock.sleep(_POLL_S)

    async def _ask(self, channel: Channel) -> BootText | None:
        try:
            text = await channel.read()
        except ChannelError as error:
            self._reasons[channel.name] = error.message
            return None
        if text is None:
            self._reasons[channel.name] = "nothing has come"
            return None
        if channel.may_be_old and self._previous.get(channel.name) != text:
            # Another program is writing this file; it is whole once it stands still for a poll.
            self._previous[channel.name] = text
            self._reasons[channel.name] = "a text is being written"
            return None
        is_old = channel.may_be_old and not await self.pool.call(
            self._is_of_this_boot, channel, text
        )
        if is_old:
            self._reasons[channel.name] = "only a text of an earlier boot"
        return BootText(text=text, channel=channel.name, is_old=is_old, tried=self._tried())

    def _is_of_this_boot(self, channel: Channel, text: str) -> bool:
        written = channel.written_at()
        if written is not None and written >= self.identity.started_at:
            return True
        return self.memory.was_used_in(self.identity.boot_id, text)

    def _tried(self) -> tuple[str, ...]:
        return tuple(f"{name}: {reason}" for name, reason in self._reasons.items())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
