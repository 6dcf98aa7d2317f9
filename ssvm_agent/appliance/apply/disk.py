# SPDX-License-Identifier: Apache-2.0
"""The root file system takes the whole disk (``systemvm.root.disk.size``).

# Compat: boot-and-system.md 2.1 step 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent.appliance.apply.report import Item, Status
from ssvm_agent.host.errors import HostError, ProgramMissingError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import Runner

_ITEM: Final = "size of the root file system"
_DEADLINE_S: Final = 120.0
_EXTENDED: Final = "2"
# growpart(1): there is no room to grow into.
_NO_CHANGE: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RootPartition:
    """Where ``/`` is: partition, its disk and number."""

    device: str
    disk: str
    number: str


def find_root(root: Path = Path("/")) -> RootPartition | None:
    """The ext4 partition ``/`` is on (blocking); ``None`` when it is something else."""
    try:
        lines = (root / "proc/self/mountinfo").read_text().splitlines()
        fields = [line.split() for line in lines]
        mount = next(words for words in reversed(fields) if words[4] == "/")
        if mount[mount.index("-") + 1] != "ext4":
            return None
        place = (root / "sys/dev/block" / mount[2]).resolve()
        number = (place / "partition").read_text().strip()
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    return RootPartition(
        device=f"/dev/{place.name}", disk=f"/dev/{place.parent.name}", number=number
    )


async def grow_root(runner: Runner, pool: WorkPool) -> Item:
    """Grow the partition (and the extended one around it), then the file system."""
    partition = await pool.call(find_root)
    if partition is None:
        return Item(name=_ITEM, status=Status.SKIPPED, reason="/ is no ext4 partition")
    grown = False
    try:
        # Partition 6 lies inside partition 2 on the disks of system VMs.
        numbers = (
            (_EXTENDED, partition.number) if int(partition.number) > 4 else (partition.number,)
        )
        for number in numbers:
            result = await runner.run(
                ["growpart", partition.disk, number], deadline_s=_DEADLINE_S, check=False
            )
            grown = grown or result.returncode == 0
            if result.returncode > _NO_CHANGE:
                reason = f"growpart failed: {result.stderr.decode('utf-8', 'replace')[-200:]}"
                return Item(name=_ITEM, status=Status.FAILED, reason=reason)
        if not grown:
            return Item(name=_ITEM, status=Status.UNCHANGED)
        await runner.run(["resize2fs", partition.device], deadline_s=_DEADLINE_S)
    except ProgramMissingError as error:
        return Item(name=_ITEM, status=Status.SKIPPED, reason=error.message)
    except HostError as error:
        return Item(name=_ITEM, status=Status.FAILED, reason=error.message)
    return Item(name=_ITEM, status=Status.CHANGED)
