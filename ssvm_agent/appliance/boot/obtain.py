# SPDX-License-Identifier: Apache-2.0
"""Get the boot text: from a file, from what this boot took already, or from the channels.

What the channels bring is written where everything on the machine looks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent.appliance.boot import platform
from ssvm_agent.appliance.boot.channels import channels_for, plain, read_bytes
from ssvm_agent.appliance.boot.search import (
    DEFAULT_WAIT_S,
    BootIdentity,
    BootMemory,
    BootText,
    Search,
)
from ssvm_agent.appliance.errors import ApplianceError
from ssvm_agent.appliance.plan.model import Hypervisor
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.files import atomic_write
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import Runner

# Compat: boot-and-system.md 2.9. The text carries secrets; root reads it, hosts copy it as root.
BOOT_TEXT: Final = Path("var/cache/cloud/cmdline")
BOOT_TEXT_MODE: Final = 0o600
MEMORY: Final = Path("var/lib/ssvm-agent/boot-text.json")
TAKEN_BEFORE: Final = "taken earlier in this boot"


class UnreadableTextError(ApplianceError):
    """The file with the boot text cannot be read, or is empty."""

    code = "boot-text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Obtained:
    """A boot text and the platform it is for.

    Attributes:
        found: The text and where it came from.
        hypervisor: As given, detected, or KVM when nothing tells.
        reason: Why this hypervisor.
        problem: Why the text could not be kept for others; empty when it could.
    """

    found: BootText
    hypervisor: Hypervisor
    reason: str
    problem: str = ""

    @property
    def oddities(self) -> tuple[str, ...]:
        """What an operator should know about the origin of the text."""
        old = f"the text of {self.found.channel} is from an earlier boot; no newer one came"
        return tuple(filter(None, (old if self.found.is_old else "", self.problem)))


@dataclass(slots=True, kw_only=True)
class Obtain:
    """Gets boot texts.

    Attributes:
        root: Files are looked for below it.
        runner: Starts programs of the channels.
        pool: For the local disk.
        clock: For the wait.
        hypervisor: As the operator says; ``None`` to find out.
        wait_s: How long a text may take to come.
    """

    root: Path
    runner: Runner
    pool: WorkPool
    clock: Clock
    hypervisor: Hypervisor | None = None
    wait_s: float = DEFAULT_WAIT_S

    async def platform(self) -> tuple[Hypervisor | None, str]:
        """The hypervisor and why it is taken for that; ``None`` when nothing tells."""
        if self.hypervisor is not None:
            return self.hypervisor, "as told"
        facts = await self.pool.call(platform.gather, self.root)
        detection = platform.detect(facts)
        return detection.hypervisor, detection.reason

    async def from_file(self, path: Path) -> Obtained:
        """The text of a file.

        Raises:
            UnreadableTextError: There is none, or nothing in it.
        """
        try:
            content = await self.pool.call(read_bytes, path)
        except OSError as error:
            raise UnreadableTextError(f"{path} cannot be read: {error.strerror}.") from error
        text = plain(content)
        if text is None:
            raise UnreadableTextError(f"{path} is empty.")
        hypervisor, reason = await self.platform()
        return Obtained(
            found=BootText(text=text, channel=f"file {path}"),
            hypervisor=hypervisor or Hypervisor.KVM,
            reason=reason if hypervisor else f"{reason}; KVM is assumed",
        )

    async def from_channels(self, *, keep: bool) -> Obtained:
        """The text of this boot.

        Args:
            keep: Write the text to where others look for it.

        Raises:
            NoBootTextError: Nothing came within the wait.
        """
        identity = await self.pool.call(BootIdentity.read, self.root)
        memory = BootMemory(self.root / MEMORY, keeps=keep)
        hypervisor, reason = await self.platform()
        found = await self.pool.call(self._taken_before, memory, identity)
        is_new = found is None
        if found is None:
            channels = channels_for(hypervisor, root=self.root, runner=self.runner, pool=self.pool)
            search = Search(channels, memory, identity, self.clock, self.pool, self.wait_s)
            found = await search.run()
        problem = ""
        if keep and is_new:
            problem = await self.pool.call(self._keep, memory, identity, found)
        return Obtained(
            found=found,
            hypervisor=hypervisor or Hypervisor.KVM,
            reason=reason if hypervisor else f"{reason}; KVM is assumed",
            problem=problem,
        )

    def _taken_before(self, memory: BootMemory, identity: BootIdentity) -> BootText | None:
        # Bytes of a serial port are gone once read, so later phases of a boot go by the file.
        try:
            text = plain(read_bytes(self.root / BOOT_TEXT))
        except OSError:
            return None
        channel = None if text is None else memory.channel_in(identity.boot_id, text)
        if text is None or channel is None:
            return None
        return BootText(text=text, channel=f"{channel} ({TAKEN_BEFORE})")

    def _keep(self, memory: BootMemory, identity: BootIdentity, found: BootText) -> str:
        """Write the text for others, and that it was taken; returns why that failed."""
        path, content = self.root / BOOT_TEXT, found.text.encode()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file() and path.read_bytes() == content:
                # Its time stamp tells when the host wrote it, and must stay.
                path.chmod(BOOT_TEXT_MODE)
            else:
                atomic_write(path, content, mode=BOOT_TEXT_MODE)
            # An old text waits out its time once a boot; later phases take it at once.
            memory.remember(identity.boot_id, found.text, found.channel)
        except OSError as error:
            return f"the text could not be kept in {path}: {error.strerror}"
        return ""
