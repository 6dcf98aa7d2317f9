# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from ssvm_agent.diag.check import Check, Need
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.registry import CHECKS, UnknownCheckError, select
from ssvm_agent.diag.runner import run_check, run_checks
from ssvm_agent.diag.verdict import Status, Verdict, ok
from ssvm_agent.host.errors import ProgramMissingError
from ssvm_agent.host.pools import WorkPool
from tests.fakes.checked_machine import machine


class Fine(Check):
    slug = "fine"
    title = "is fine"

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        return [ok("Fine.", "looked")]


class Hanging(Check):
    slug = "hanging"
    title = "waits for ever"
    deadline_s = 0.05

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        await asyncio.Event().wait()
        return []


class StuckThread(Check):
    slug = "stuck"
    title = "has a thread that does not come back"
    deadline_s = 0.05

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        await WorkPool("dead").call(self.gate.wait, deadline_s=None)
        return []


class Broken(Check):
    slug = "broken"
    title = "is broken"

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        raise KeyError("secret detail")


class Unable(Check):
    slug = "unable"
    title = "lacks a program"

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        raise ProgramMissingError("ip")


class Needy(Fine):
    slug = "needy"
    needs = (Need.URL, Need.ROOT)


async def test_results_come_in_the_order_of_the_checks(tmp_path: Path) -> None:
    results = await run_checks([Hanging(), Fine()], machine(tmp_path))
    assert [(one.name, one.status) for one in results] == [
        ("hanging", Status.ERROR),
        ("fine", Status.OK),
    ]


async def test_a_check_that_hangs_is_a_finding(tmp_path: Path) -> None:
    found = await run_check(Hanging(), machine(tmp_path))
    assert "did not finish within 0.05 s" in found.verdicts[0].what
    assert "ssvm-check hanging --timeout" in found.verdicts[0].remedy


async def test_a_thread_that_never_comes_back_holds_nobody(tmp_path: Path) -> None:
    """requirements R12: a dead mount never blocks the rest."""
    gate = threading.Event()
    try:
        results = await run_checks([StuckThread(gate), Fine()], machine(tmp_path))
        assert [one.status for one in results] == [Status.ERROR, Status.OK]
    finally:
        gate.set()


async def test_the_given_deadline_replaces_the_checks_own(tmp_path: Path) -> None:
    class Slow(Hanging):
        deadline_s = 3600.0

    found = await run_check(Slow(), machine(tmp_path), deadline_s=0.05)
    assert "within 0.05 s" in found.verdicts[0].what


async def test_a_broken_check_costs_no_other_and_shows_no_values(tmp_path: Path) -> None:
    results = await run_checks([Broken(), Fine()], machine(tmp_path))
    assert results[0].status is Status.ERROR
    assert "KeyError" in results[0].verdicts[0].what
    assert "secret detail" not in str(results[0])
    assert results[1].status is Status.OK


async def test_a_missing_program_is_named(tmp_path: Path) -> None:
    found = await run_check(Unable(), machine(tmp_path))
    assert "The program ip is not installed" in found.verdicts[0].what


async def test_a_check_without_what_it_needs_is_skipped_with_the_reason(tmp_path: Path) -> None:
    found = await run_check(Needy(), machine(tmp_path))
    assert (found.status, found.verdicts[0].what) == (Status.SKIPPED, "No URL was given (--url).")
    found = await run_check(Needy(), machine(tmp_path, url="http://x/", is_root=False))
    assert found.verdicts[0].what == "Only root can look at this."
    assert (await run_check(Needy(), machine(tmp_path, url="http://x/"))).status is Status.OK


def test_checks_have_names_of_their_own_and_say_what_they_look_at() -> None:
    assert len({check.slug for check in CHECKS}) == len(CHECKS)
    assert all(check.title and 0 < check.deadline_s <= 60 for check in CHECKS)


def test_checks_are_selected_by_name_in_their_usual_order() -> None:
    assert [check.slug for check in select(["storage", "dns"])] == ["dns", "storage"]
    assert select([]) == CHECKS
    with pytest.raises(UnknownCheckError, match=r"no check 'dnss'.*dns"):
        select(["dnss"])
