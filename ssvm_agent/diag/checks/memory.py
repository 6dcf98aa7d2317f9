# SPDX-License-Identifier: Apache-2.0
"""Is there memory left, and did the kernel have to kill for it (5.3.12)?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ssvm_agent.diag.check import Check
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.verdict import Verdict, ok, skipped, warning

# What a new download and the kernel's own needs take.
_LOW_KIB: Final = 48 * 1024
_ENLARGE: Final = (
    "Give system VMs more memory: a larger service offering by the global setting"
    " secstorage.service.offering, then destroy the system VM."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFacts:
    """What is judged.

    Attributes:
        total_kib: Of the machine; ``None`` when it cannot be read.
        available_kib: What can be had without swapping.
        kills: Processes killed for want of memory since the machine started.
    """

    total_kib: int | None
    available_kib: int | None
    kills: int = 0


class MemoryCheck(Check):
    """Memory and the kernel's out-of-memory kills."""

    slug = "memory"
    title = "there is memory left"

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        info, counters = await facts.text("proc/meminfo"), await facts.text("proc/vmstat")
        return judge(
            MemoryFacts(
                total_kib=number(r"MemTotal:\s+", info),
                available_kib=number(r"MemAvailable:\s+", info),
                kills=number(r"oom_kill ", counters) or 0,
            )
        )


def judge(facts: MemoryFacts) -> list[Verdict]:
    """The verdicts."""
    if facts.total_kib is None or facts.available_kib is None:
        return [skipped("The kernel does not say how much memory there is.")]
    found = []
    if facts.kills:
        found.append(
            warning(
                f"The kernel killed {facts.kills} processes for want of memory since the start.",
                "grep oom_kill /proc/vmstat; dmesg | grep -i 'out of memory'",
                _ENLARGE,
            )
        )
    if facts.available_kib < _LOW_KIB:
        found.append(
            warning(
                f"Only {facts.available_kib // 1024} of {facts.total_kib // 1024} MiB of memory"
                " are available.",
                "free -m",
                _ENLARGE,
            )
        )
    shown = f"{facts.available_kib // 1024} of {facts.total_kib // 1024} MiB available"
    return found or [ok(f"{shown}.", "free -m")]


def number(label: str, text: str) -> int | None:
    """The number behind a label at the beginning of a line."""
    found = re.search(rf"^{label}(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else None
