# SPDX-License-Identifier: Apache-2.0
"""A clock whose sleepers wake when the test lets time pass, and not before."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta


class ManualClock:
    """Time that stands still until :meth:`advance`."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._changed = asyncio.Event()

    def now(self) -> datetime:
        return datetime(2026, 11, 23, 12, tzinfo=UTC) + timedelta(seconds=self.passed_s)

    def monotonic(self) -> float:
        return self.passed_s

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sleeper = (self.passed_s + seconds, future)
        self._sleepers.append(sleeper)
        self._changed.set()
        try:
            await future
        finally:
            self._sleepers.remove(sleeper)

    @property
    def sleeps(self) -> list[float]:
        """How much longer each sleeper has to wait."""
        return sorted(due - self.passed_s for due, future in self._sleepers if not future.done())

    async def sleeper(self, at_least_s: float = 0, at_most_s: float = 1e9) -> float:
        """Waits until somebody sleeps for about this long; returns for how long."""
        async with asyncio.timeout(10):
            while True:
                for seconds in self.sleeps:
                    if at_least_s <= seconds <= at_most_s:
                        return seconds
                self._changed.clear()
                await self._changed.wait()

    def advance(self, seconds: float) -> None:
        """Lets time pass and wakes whoever is due."""
        self.passed_s += seconds
        for due, future in list(self._sleepers):
            if due <= self.passed_s + 1e-9 and not future.done():
                future.set_result(None)
