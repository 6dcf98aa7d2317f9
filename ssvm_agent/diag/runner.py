# SPDX-License-Identifier: Apache-2.0
"""Runs checks side by side, each with a deadline, and turns whatever happens into a verdict.

Nothing a check does can keep the others, or the end, from coming: blocking work runs in daemon
threads that are left behind, programs are killed, and a check that is stuck is itself a finding.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from ssvm_agent.diag.check import Check, missing
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.verdict import CheckResult, Verdict, error, skipped
from ssvm_agent.errors import AgentError

_logger: Final = logging.getLogger(__name__)

# Checks mostly wait; this many at once keep a machine with one processor responsive.
_SIDE_BY_SIDE: Final = 6


async def run_checks(
    checks: Sequence[Check], facts: Facts, *, deadline_s: float | None = None
) -> tuple[CheckResult, ...]:
    """Run checks and return their results in the same order.

    Args:
        checks: What to look at.
        facts: What all of them start from.
        deadline_s: For each check; ``None``: what each asks for.
    """
    gate = asyncio.Semaphore(_SIDE_BY_SIDE)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_gated(gate, check, facts, deadline_s)) for check in checks]
    return tuple(task.result() for task in tasks)


async def run_check(check: Check, facts: Facts, *, deadline_s: float | None = None) -> CheckResult:
    """Run one check; never raises but on cancellation."""
    began_s = facts.clock.monotonic()
    need = missing(check.needs, facts)
    if need is not None:
        verdicts: Sequence[Verdict] = [skipped(need.value)]
    else:
        verdicts = await _bounded(check, facts, deadline_s or check.deadline_s)
    return CheckResult(
        name=check.slug,
        title=check.title,
        verdicts=tuple(verdicts),
        elapsed_s=facts.clock.monotonic() - began_s,
    )


async def _gated(
    gate: asyncio.Semaphore, check: Check, facts: Facts, deadline_s: float | None
) -> CheckResult:
    async with gate:
        return await run_check(check, facts, deadline_s=deadline_s)


async def _bounded(check: Check, facts: Facts, deadline_s: float) -> Sequence[Verdict]:
    how = f"ssvm-check {check.slug}"
    try:
        async with asyncio.timeout(deadline_s):
            return await check.run(facts)
    except TimeoutError:
        return [
            error(
                f"The check did not finish within {deadline_s:g} s: something it asked hangs.",
                how,
                f"Run it alone with more time: {how} --timeout 120; look at what it looks at"
                " (docs/ssvm-check.md).",
            )
        ]
    except AgentError as problem:
        # What a check has no better words for, such as a pool whose threads hang.
        return [
            error(
                f"The check could not look: {problem.for_operators()}.",
                how,
                "Remove the reason, then run the check again.",
            )
        ]
    except Exception as problem:
        # The boundary of one check: a broken one costs no other.
        _logger.debug("check failed name=%s", check.slug, exc_info=True)
        return [
            error(
                f"The check itself failed: {type(problem).__name__}.",
                how,
                "This is a defect of ssvm-check: report it with the output of ssvm-check --debug.",
            )
        ]
