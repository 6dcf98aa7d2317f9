# SPDX-License-Identifier: Apache-2.0
"""Pauses between attempts and their end."""

from __future__ import annotations

import pytest

from ssvm_agent.ingest.errors import SourceFailedError
from ssvm_agent.ingest.limits import MIB, TransferLimits
from ssvm_agent.ingest.progress import Progress
from ssvm_agent.ingest.retry import RetryBudget, random_jitter
from ssvm_agent.ingest.traffic import Traffic
from tests.fakes.machine import FakeClock

DROPPED = SourceFailedError("host closed the connection", retryable=True)


class NotingClock(FakeClock):
    """Notes what a user would read during each pause."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress
        self.notes: list[str] = []

    async def sleep(self, seconds: float) -> None:
        self.notes.append(self.progress.note)
        await super().sleep(seconds)


async def test_pauses_double_up_to_a_cap_and_the_progress_tells_them() -> None:
    """requirements R7."""
    progress = Progress()
    clock = NotingClock(progress)
    budget = RetryBudget(TransferLimits(), clock, lambda: 1.0)
    budget.answered()
    for _ in range(8):
        await budget.pause(DROPPED, progress)
    assert clock.notes[2] == "retry 3/8 in 40 s: host closed the connection"
    assert [int(note.split(" in ")[1].split()[0]) for note in clock.notes] == [
        1, 20, 40, 80, 120, 120, 120, 120,
    ]  # fmt: skip
    assert not progress.note
    with pytest.raises(SourceFailedError, match="gave up after 9 failed attempts") as caught:
        await budget.pause(DROPPED, progress)
    assert not caught.value.retryable


async def test_progress_begins_the_count_anew_but_not_without_end() -> None:
    limits = TransferLimits(retries=2, max_drops=50)
    budget = RetryBudget(limits, FakeClock(), lambda: 1.0)
    progress = Progress()
    for _ in range(50):
        budget.received(MIB)
        await budget.pause(DROPPED, progress)
    budget.received(MIB)
    with pytest.raises(SourceFailedError, match="gave up"):
        await budget.pause(DROPPED, progress)


async def test_a_few_bytes_are_no_progress() -> None:
    budget = RetryBudget(TransferLimits(retries=2), FakeClock(), lambda: 1.0)
    for _ in range(2):
        budget.received(1000)
        await budget.pause(DROPPED, Progress())
    with pytest.raises(SourceFailedError, match="gave up"):
        await budget.pause(DROPPED, Progress())


async def test_a_source_that_never_answered_is_given_up_sooner() -> None:
    budget = RetryBudget(TransferLimits(), FakeClock(), lambda: 1.0)
    for _ in range(3):
        await budget.pause(DROPPED, Progress())
    with pytest.raises(SourceFailedError, match="gave up after 4"):
        await budget.pause(DROPPED, Progress())


async def test_what_cannot_get_better_is_not_retried() -> None:
    error = SourceFailedError("404")
    with pytest.raises(SourceFailedError) as caught:
        await RetryBudget(TransferLimits(), FakeClock()).pause(error, Progress())
    assert caught.value is error


def test_jitter_stays_near_one() -> None:
    values = {random_jitter() for _ in range(200)}
    assert 0.75 <= min(values) < max(values) <= 1.25


async def test_retries_and_bytes_of_all_transfers_are_summed_up() -> None:
    """Giving up is no retry."""
    traffic, limits = Traffic(), TransferLimits(retries=1)
    for _ in range(2):
        budget = RetryBudget(limits, FakeClock(), lambda: 1.0, traffic=traffic)
        budget.received(1000)
        await budget.pause(DROPPED, Progress())
        with pytest.raises(SourceFailedError, match="gave up"):
            await budget.pause(DROPPED, Progress())
    assert (traffic.retries, traffic.received_bytes) == (2, 2000)
