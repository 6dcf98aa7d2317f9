# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import UTC

from ssvm_agent.host.clock import SystemClock


def test_the_wall_clock_is_aware_and_in_utc() -> None:
    assert SystemClock().now().tzinfo is UTC


async def test_monotonic_time_does_not_go_back_over_a_sleep() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0)
    assert clock.monotonic() >= before
