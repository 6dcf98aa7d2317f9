# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import io

from ssvm_agent.ingest.progress import Phase, Progress
from ssvm_agent.sysvmtemplate.console import Console, Interruption
from tests.fakes.manual_clock import ManualClock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def console(errors: io.StringIO, clock: ManualClock, **more: bool) -> Console:
    return Console(
        clock=clock, interruption=Interruption(), output=io.StringIO(), errors=errors,
        **more,
    )  # fmt: skip


async def pass_time(clock: ManualClock, seconds: int) -> None:
    for _ in range(seconds):
        for _ in range(5):
            await asyncio.sleep(0)
        clock.advance(1)
    for _ in range(5):
        await asyncio.sleep(0)


async def test_progress_is_a_line_for_every_tenth_outside_a_terminal() -> None:
    errors, clock = io.StringIO(), ManualClock()
    progress = Progress(phase=Phase.FETCH, bytes_expected=100 << 20)
    async with console(errors, clock).watch(progress):
        for _ in range(10):
            progress.bytes_received += 5 << 20
            progress.bytes_written += 10 << 20
            await pass_time(clock, 1)
        progress.note = "retry 1/8 in 2 s: closed"
        await pass_time(clock, 1)
    lines = errors.getvalue().splitlines()
    assert lines[0] == "  fetching: 10 MiB of 100 MiB (10 %), 20 MiB unpacked"
    assert len([line for line in lines if "fetching" in line]) == 5
    assert lines[-1] == "  retry 1/8 in 2 s: closed"


async def test_a_source_of_unknown_length_shows_life() -> None:
    errors, clock = io.StringIO(), ManualClock()
    async with console(errors, clock).watch(Progress(phase=Phase.FETCH, bytes_received=7 << 20)):
        await pass_time(clock, 16)
    assert "fetching: 7 MiB, 0 MiB unpacked" in errors.getvalue()


def test_a_terminal_gets_a_bar() -> None:
    errors, clock = Terminal(), ManualClock()
    one = console(errors, clock)
    asyncio.run(watch_a_while(one, clock))
    assert "fetching" in errors.getvalue()


async def watch_a_while(one: Console, clock: ManualClock) -> None:
    async with one.watch(Progress(phase=Phase.FETCH, bytes_expected=1 << 20)):
        await pass_time(clock, 2)


def test_secrets_in_texts_are_masked() -> None:
    errors = io.StringIO()
    one = console(errors, ManualClock())
    one.warn("fetching http://me:hidden@example.com/x")
    assert "hidden" not in errors.getvalue() + one.warnings[0]


def test_with_json_the_steps_go_to_standard_error() -> None:
    errors = io.StringIO()
    console(errors, ManualClock(), quiet_stdout=True).say("a step")
    assert errors.getvalue() == "a step\n"


def test_a_request_to_stop_counts_once_and_not_while_held() -> None:
    stops: list[int] = []
    interruption = Interruption()
    interruption.arrived(1)
    interruption.attach(lambda: stops.append(1))
    with interruption.held():
        interruption.arrived(15)
    assert stops == []
    interruption.arrived(2)
    interruption.arrived(15)
    assert (stops, interruption.signal) == ([1], 2)
