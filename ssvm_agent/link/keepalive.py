# SPDX-License-Identifier: Apache-2.0
"""Pings at a fixed rate, and noticing that nobody answers them (agent-lifecycle.md 2.7 and 6).

It decides when a ping is due and when a link is dead; what a ping looks like is the session's
business. The only notion of time is the clock it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ssvm_agent.host.clock import Clock
from ssvm_agent.link.errors import LinkLostError

# A StartupAnswer without an interval, or with a senseless one, gets the server's own default.
DEFAULT_INTERVAL_S: Final = 60
_SHORTEST_INTERVAL_S: Final = 1

# Pings get no answer while the server has not attached the host yet, which takes it a minute
# (agent-lifecycle.md 2.5, step b), or longer when all its agents return together. Ten intervals
# without any word mean that it has forgotten this link.
_EARLY_LIMIT: Final = 10


class Keepalive:
    """The one ping schedule of a link.

    Args:
        clock: Time.
        interval_s: From the StartupAnswer; changed by a second one.
        missing_limit: Unanswered pings in a row after which the link is dead.
        send: Sends one ping.
    """

    def __init__(
        self, clock: Clock, *, interval_s: int, missing_limit: int, send: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._missing_limit = missing_limit
        self._send = send
        self._unanswered = 0
        self._is_counting = False
        self.interval_s = 0
        self.set_interval(interval_s)

    @property
    def unanswered(self) -> int:
        """Pings sent since something was last heard."""
        return self._unanswered

    def set_interval(self, interval_s: int) -> None:
        """Takes the interval of a StartupAnswer; the next pause is the first to follow it."""
        self.interval_s = interval_s if interval_s >= _SHORTEST_INTERVAL_S else DEFAULT_INTERVAL_S

    def heard(self) -> None:
        """Something came from the server, so it lives."""
        self._unanswered = 0

    def start_counting(self) -> None:
        """A Ready or a first PingAnswer came: from now on every ping should be answered.

        Earlier ones get no answer while the server still sets the host up.
        """
        if not self._is_counting:
            self._is_counting = True
            self._unanswered = 0

    async def run(self) -> None:
        """Pings until the link is dead; the first ping is one interval away.

        Raises:
            LinkLostError: Too many pings in a row were not answered.
        """
        due = self._clock.monotonic()
        while True:
            due += self.interval_s
            await self._clock.sleep(max(0.0, due - self._clock.monotonic()))
            # After a pause of the whole machine, pings missed meanwhile are not made up for.
            due = max(due, self._clock.monotonic())
            limit = self._missing_limit if self._is_counting else _EARLY_LIMIT
            if self._unanswered >= limit:
                raise LinkLostError(
                    f"The management server did not answer the last {self._unanswered} pings."
                )
            self._unanswered += 1
            self._send()
