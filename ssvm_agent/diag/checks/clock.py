# SPDX-License-Identifier: Apache-2.0
"""Is the clock kept by NTP? Wrong time breaks TLS and upload signatures (5.3.7, 5.3.12)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ssvm_agent.diag.check import Check
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.verdict import Verdict, error, ok, warning

_HOW: Final = "adjtimex; timedatectl"
# No agent of this make existed before; a clock that says so was never set.
_EARLIEST: Final = datetime(2025, 1, 1, tzinfo=UTC)
# linux/timex.h
_STA_UNSYNC: Final = 0x0040
_STATUS_OFFSET: Final = 40  # of "status" in struct timex on 64-bit Linux
_TIMEX_BYTES: Final = 256  # a little more than the struct has


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockFacts:
    """What is judged.

    Attributes:
        now: What the clock says.
        is_synchronised: What the kernel says; ``None`` when it does not say.
    """

    now: datetime
    is_synchronised: bool | None


class ClockCheck(Check):
    """The machine's clock."""

    slug = "clock"
    title = "the clock is right and kept by NTP"

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        return judge(ClockFacts(now=facts.clock.now(), is_synchronised=kernel_is_synchronised()))


def judge(facts: ClockFacts) -> list[Verdict]:
    """The verdicts."""
    shown = f"{facts.now:%Y-%m-%d %H:%M:%S} UTC"
    if facts.now < _EARLIEST:
        return [
            error(
                f"The clock says {shown}: it was never set.",
                "date -u",
                "Set it (date -u -s …) and let NTP keep it: the global setting ntp.server.list.",
            )
        ]
    if facts.is_synchronised is False:
        return [
            warning(
                f"Nothing keeps the clock right ({shown} now).",
                _HOW,
                "Check that the NTP service runs (systemctl status ntp ntpsec systemd-timesyncd)"
                " and reaches its servers; they come from the global setting ntp.server.list. On"
                " VMware and Xen the host may keep the clock instead.",
            )
        ]
    return [ok(f"{shown}.", _HOW)]


def kernel_is_synchronised() -> bool | None:
    """Whether the kernel's clock is disciplined; ``None`` when it cannot be asked."""
    if os.uname().machine not in {"x86_64", "aarch64"}:
        return None
    state = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        # Modes 0 changes nothing and needs no rights.
        result = ctypes.CDLL(None).adjtimex(state)
    except (OSError, AttributeError):
        return None
    if result < 0:
        return None
    status = int.from_bytes(state.raw[_STATUS_OFFSET : _STATUS_OFFSET + 4], "little")
    return not status & _STA_UNSYNC
