# SPDX-License-Identifier: Apache-2.0
"""A machine that only pretends: programs that are written down instead of run, time that is
told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ParamSpec, TypeVar

from ssvm_agent.host.errors import ProgramFailedError
from ssvm_agent.host.run import ProgramResult, ResourceLimits

P = ParamSpec("P")
T = TypeVar("T")

Reaction = Callable[[list[str]], ProgramResult | None]


@dataclass
class FakeRunner:
    """Writes down what would run; ``react`` may do something and say how it ended."""

    react: Reaction | None = None
    calls: list[list[str]] = field(default_factory=list)
    inputs: list[bytes | None] = field(default_factory=list)

    async def run(
        self,
        argv: Sequence[str | Path],
        *,
        deadline_s: float,
        input: bytes | None = None,  # noqa: A002
        check: bool = True,
        env: Mapping[str, str] | None = None,
        max_output_bytes: int = 1 << 20,
        limits: ResourceLimits | None = None,
    ) -> ProgramResult:
        call = [str(argument) for argument in argv]
        self.calls.append(call)
        self.inputs.append(input)
        # In a thread, as what a program does never blocks the loop that waits for it.
        result = await asyncio.to_thread(self.react, call) if self.react else None
        result = result or ProgramResult(returncode=0, stdout=b"", stderr=b"")
        if check and result.returncode:
            raise ProgramFailedError(call[0], result.returncode, result.stderr.decode())
        return result


@dataclass
class FakeClock:
    """Time stands still until it is told to pass."""

    wall: datetime = datetime(2026, 11, 23, 3, 11, 0, tzinfo=UTC)
    passed_s: float = 0.0

    def now(self) -> datetime:
        return self.wall + timedelta(seconds=self.passed_s)

    def monotonic(self) -> float:
        return 1000.0 + self.passed_s

    async def sleep(self, seconds: float) -> None:
        self.passed_s += seconds
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self.passed_s += seconds


def beside_the_loop(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Blocking preparation of a test, done in a thread so that it does not count as blocking."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(fn, *args, **kwargs).result()


async def until(condition: Callable[[], object], deadline_s: float = 20) -> None:
    """Wait for a condition that other threads or processes bring about."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - no event crosses the process border
            await asyncio.sleep(0.002)
