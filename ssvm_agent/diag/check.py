# SPDX-License-Identifier: Apache-2.0
"""What a check is: a name, what it needs, how long it may take, and ``run``.

A check gathers in ``run`` and decides in a pure function of its module, so that every verdict can
be tested without a machine. It may wait for as long as it likes and may use a thread that never
comes back: the runner ends it (:mod:`ssvm_agent.diag.runner`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from typing import ClassVar

from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.verdict import Verdict


class Need(Enum):
    """What must be there for a check to make sense; the value says why it was skipped."""

    BOOT_TEXT = "There is no boot text on this machine."
    SYSTEM_VM = "This machine is no secondary storage VM."
    ROOT = "Only root can look at this."
    URL = "No URL was given (--url)."
    PROXY = "No proxy is set (download.proxy)."


class Check(ABC):
    """One thing to look at.

    Attributes:
        slug: Its name on the command line and in reports.
        title: What it looks at, a few words.
        needs: It is skipped when one of these is missing.
        deadline_s: It counts as stuck when it takes longer.
    """

    slug: ClassVar[str]
    title: ClassVar[str]
    needs: ClassVar[tuple[Need, ...]] = ()
    deadline_s: ClassVar[float] = 15.0

    @abstractmethod
    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """Look, and say what was found; at least one verdict."""


def missing(needs: Sequence[Need], facts: Facts) -> Need | None:
    """The first need that is not met."""
    met = {
        Need.BOOT_TEXT: bool(facts.boot.values),
        Need.SYSTEM_VM: facts.is_system_vm,
        Need.ROOT: facts.is_root,
        Need.URL: bool(facts.url),
        Need.PROXY: bool(facts.settings.download.proxy),
    }
    return next((need for need in needs if not met[need]), None)
