# SPDX-License-Identifier: Apache-2.0
"""Has the machine's own disk room, and can it be written (5.3.12)?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent.diag.check import Check
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.verdict import Verdict, error, ok, warning

_MIB: Final = 1 << 20
_LOW_SHARE: Final = 0.10
_FULL_SHARE: Final = 0.03
# The root disk has about 4 GB in all (boot-and-system.md 7).
_MUCH_LOG_BYTES: Final = 512 * _MIB
_MUCH_DELETED_BYTES: Final = 256 * _MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFacts:
    """What is judged.

    Attributes:
        is_read_only: Whether the kernel refuses writes to the root file system.
        free_inodes: 0 of 0 where a file system counts none.
        log_bytes: Everything below /var/log.
        deleted_bytes: Files that are deleted and still open; their space comes back later.
    """

    is_read_only: bool = False
    total_bytes: int = 0
    free_bytes: int = 0
    total_inodes: int = 0
    free_inodes: int = 0
    log_bytes: int = 0
    deleted_bytes: int = 0


class DiskCheck(Check):
    """The root file system."""

    slug = "disk"
    title = "the machine's own disk has room"

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        return judge(await facts.local.call(_look, facts))


def judge(facts: DiskFacts) -> list[Verdict]:
    """The verdicts."""
    found = []
    if facts.is_read_only:
        found.append(
            error(
                "The root file system is read-only.",
                "grep ' / ' /proc/mounts",
                "The kernel does that after an error of the disk: see dmesg and the primary"
                " storage, then stop and start the system VM.",
            )
        )
    found += _room("space", facts.free_bytes, facts.total_bytes, "df /")
    found += _room("inodes", facts.free_inodes, facts.total_inodes, "df -i /")
    if facts.log_bytes > _MUCH_LOG_BYTES:
        found.append(
            warning(
                f"Logs take {facts.log_bytes // _MIB} MiB.",
                "du -sh /var/log/*",
                "See which log grows and why; journalctl --vacuum-size=40M and logrotate -f"
                " /etc/logrotate.conf make room.",
            )
        )
    if facts.deleted_bytes > _MUCH_DELETED_BYTES:
        found.append(
            warning(
                f"{facts.deleted_bytes // _MIB} MiB belong to files that are deleted and open.",
                "find /proc/[0-9]*/fd -lname '*(deleted)'",
                "Restart the service that holds them; their space comes back then.",
            )
        )
    free = f"{facts.free_bytes // _MIB} of {facts.total_bytes // _MIB} MiB free"
    return found or [ok(f"{free}.", "df /")]


def _room(what: str, free: int, total: int, how: str) -> list[Verdict]:
    if not total or free / total >= _LOW_SHARE:
        return []
    make = error if free / total < _FULL_SHARE else warning
    return [
        make(
            f"The root file system has {100 * free / total:.0f} % of its {what} left.",
            how,
            "See du -xh / --max-depth=3 | sort -h for what is large; logs and /tmp are the usual"
            " places.",
        )
    ]


def _look(facts: Facts) -> DiskFacts:
    space = os.statvfs(facts.path("/"))
    return DiskFacts(
        is_read_only=bool(space.f_flag & os.ST_RDONLY),
        total_bytes=space.f_blocks * space.f_frsize,
        free_bytes=space.f_bavail * space.f_frsize,
        total_inodes=space.f_files,
        free_inodes=space.f_favail,
        log_bytes=_tree_bytes(facts.path("var/log")),
        deleted_bytes=_deleted_bytes(facts.path("proc")),
    )


def _tree_bytes(directory: Path) -> int:
    total = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            try:
                total += Path(folder, name).lstat().st_blocks * 512
            except OSError:
                continue
    return total


def _deleted_bytes(proc: Path) -> int:
    """Of regular files on local disks; asking an open descriptor touches no path of a store."""
    found: dict[tuple[int, int], int] = {}
    for descriptor in proc.glob("[0-9]*/fd/*"):
        try:
            target = str(descriptor.readlink())
            if not target.startswith("/") or not target.endswith(" (deleted)"):
                continue
            if target.startswith(("/mnt/", "/memfd:", "/dev/")):
                continue
            status = descriptor.stat()
        except OSError:
            continue
        found[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(found.values())
