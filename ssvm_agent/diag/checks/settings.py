# SPDX-License-Identifier: Apache-2.0
"""Can the settings be loaded, and did anything in CloudStack's texts have to be corrected?"""

from __future__ import annotations

from collections.abc import Sequence

from ssvm_agent.diag.check import Check
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.verdict import Verdict, error, ok, warning

_HOW = "ssvm-agent config show"


class SettingsCheck(Check):
    """The settings from all their sources."""

    slug = "settings"
    title = "settings can be loaded"

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        return judge(facts.settings_problem, facts.settings.oddities)


def judge(problem: str, oddities: Sequence[str]) -> list[Verdict]:
    """The verdicts.

    Args:
        problem: Why the settings cannot be used; empty when they can.
        oddities: What was corrected on the way.
    """
    if problem:
        return [
            error(
                f"The agent cannot start: {problem}.",
                _HOW,
                "Correct the value named; every setting is described in docs/configuration.md.",
            )
        ]
    if oddities:
        return [
            warning(
                f"{oddity}.",
                _HOW,
                "The agent works around it. Correct it where it comes from: the boot text is made"
                " from CloudStack's global settings, agent.properties lies in conf_dir.",
            )
            for oddity in oddities
        ]
    return [ok("Every setting has a usable value.", _HOW)]
