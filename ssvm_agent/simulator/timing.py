# SPDX-License-Identifier: Apache-2.0
"""How long a management server waits, and the same squeezed for tests.

The numbers are the defaults of a real server (agent-lifecycle.md 3.1, storage-commands.md 4.4, 5).
Everything that waits in the simulator takes its time from here, so a test can make a minute last
half a second without touching any rule.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Deadlines and intervals in seconds."""

    handshake_s: float = 30.0
    connect_lock_s: float = 60.0
    ping_interval_s: float = 60.0
    ping_timeout_s: float = 150.0
    ready_wait_s: float = 60.0
    command_wait_s: float = 1800.0
    download_poll_s: float = 10.0
    download_quiet_s: float = 30.0
    """So long without an accepted answer: one more question."""
    download_timeout_s: float = 50.0
    """So long without an accepted answer: the download has failed."""
    purge_delay_s: float = 0.1
    upload_poll_s: float = 60.0
    upload_timeout_s: float = 3600.0
    """So long an upload is signed for, and awaited."""

    def scaled(self, factor: float) -> Self:
        """All of it multiplied; the order of what runs out first stays the same."""
        return type(self)(**{one.name: getattr(self, one.name) * factor for one in fields(self)})

    @property
    def ping_interval_on_wire_s(self) -> int:
        """The interval as StartupAnswer tells it: whole seconds, at least one."""
        return max(1, round(self.ping_interval_s))
