# SPDX-License-Identifier: Apache-2.0
"""How often and after which pause a failing source is asked again (requirements R7).

Pure but for the injected clock and jitter. A stretch that made progress starts the count anew, so a
long transfer over a bad line ends; a source that never answered is given up soon.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from ssvm_agent.host.clock import Clock
from ssvm_agent.ingest.errors import SourceFailedError
from ssvm_agent.ingest.limits import BLOCK_SIZE_BYTES, TransferLimits
from ssvm_agent.ingest.progress import Progress
from ssvm_agent.ingest.traffic import Traffic

# After a productive stretch the other side is most likely well again.
_FIRST_PAUSE_S = 1.0


def random_jitter() -> float:
    """A factor between 0.75 and 1.25, so that many transfers do not come back at once."""
    return 0.75 + secrets.randbelow(501) / 1000


class RetryBudget:
    """Counts the failures of one transfer and makes the pauses between its attempts.

    Args:
        limits: How often is enough.
        clock: Makes the pauses.
        jitter: Spreads them.
        traffic: The sums over all transfers.
    """

    def __init__(
        self,
        limits: TransferLimits,
        clock: Clock,
        jitter: Callable[[], float] = random_jitter,
        *,
        traffic: Traffic | None = None,
    ) -> None:
        self._limits = limits
        self._traffic = traffic or Traffic()
        self._clock = clock
        self._jitter = jitter
        self._in_a_row = 0
        self._drops = 0
        self._answered = False
        self._productive_bytes = 0

    def received(self, size_bytes: int) -> None:
        """Bytes arrived; enough of them make the next failure a first one."""
        self._answered = True
        self._productive_bytes += size_bytes
        self._traffic.received_bytes += size_bytes

    def answered(self) -> None:
        """The source gave a proper response, so its URL is right."""
        self._answered = True

    async def pause(self, error: SourceFailedError, progress: Progress) -> None:
        """Wait before the next attempt, or give up.

        Raises:
            SourceFailedError: The given one, when it cannot be retried; or one that says how often
                we tried.
        """
        if not error.retryable:
            raise error
        if self._productive_bytes >= BLOCK_SIZE_BYTES:
            self._in_a_row = 0
        self._productive_bytes = 0
        self._in_a_row += 1
        self._drops += 1
        allowed = self._limits.retries if self._answered else self._limits.first_contact_retries
        if self._in_a_row > allowed or self._drops > self._limits.max_drops:
            raise SourceFailedError(
                f"{error.message} (gave up after {self._drops} failed attempts)",
                detail=error.detail,
            ) from error
        self._traffic.retries += 1
        pause_s = self._pause_s()
        progress.note = (
            f"retry {self._in_a_row}/{allowed} in {max(1, round(pause_s))} s: {error.message}"
        )
        await self._clock.sleep(pause_s)
        progress.note = ""

    def _pause_s(self) -> float:
        if self._in_a_row == 1:
            return _FIRST_PAUSE_S * self._jitter()
        doubled = self._limits.retry_base_s * 2.0 ** (self._in_a_row - 1)
        return min(doubled, self._limits.retry_cap_s) * self._jitter()
