# SPDX-License-Identifier: Apache-2.0
"""What a check says: a status, what is so, how it was found, and what to do about it. Pure.

A problem without a way to reproduce the finding and without a remedy cannot be built here (R28).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Status(StrEnum):
    """How something is, best first."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    ERROR = "error"


_RANK: Final = {status: rank for rank, status in enumerate(Status)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One finding.

    Attributes:
        status: How it is.
        what: What is so, one sentence.
        how: How it was found: the file, program or connection an operator can look at himself.
        remedy: What to do; empty unless something is wrong.
    """

    status: Status
    what: str
    how: str = ""
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """The verdict for programs."""
        return {
            "status": self.status.value,
            "what": self.what,
            "how": self.how,
            "remedy": self.remedy,
        }


def ok(what: str, how: str) -> Verdict:
    """All is well."""
    return Verdict(status=Status.OK, what=what, how=how)


def skipped(what: str) -> Verdict:
    """It could not, or need not, be looked at; ``what`` says why."""
    return Verdict(status=Status.SKIPPED, what=what)


def warning(what: str, how: str, remedy: str) -> Verdict:
    """Something works, and will not for long or not for everybody."""
    return Verdict(status=Status.WARNING, what=what, how=how, remedy=remedy)


def error(what: str, how: str, remedy: str) -> Verdict:
    """Something does not work."""
    return Verdict(status=Status.ERROR, what=what, how=how, remedy=remedy)


def worst(statuses: Sequence[Status]) -> Status:
    """The worst of several; what was skipped hides nothing that was looked at."""
    looked_at = [status for status in statuses if status is not Status.SKIPPED]
    return max(looked_at, key=_RANK.__getitem__, default=Status.SKIPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check found, as a whole.

    Attributes:
        name: The check's name on the command line.
        title: What it looks at.
        verdicts: Its findings, at least one.
        elapsed_s: How long it took.
    """

    name: str
    title: str
    verdicts: tuple[Verdict, ...]
    elapsed_s: float = 0.0

    @property
    def status(self) -> Status:
        """The worst of its findings."""
        return worst([verdict.status for verdict in self.verdicts])

    @property
    def leading(self) -> tuple[Verdict, ...]:
        """The findings that decide the status."""
        return tuple(verdict for verdict in self.verdicts if verdict.status is self.status)

    def to_json(self) -> dict[str, Any]:
        """The result for programs: its leading findings as texts, and every finding as a part."""
        return {
            "name": self.name,
            "title": self.title,
            "status": self.status.value,
            "what": _joined([verdict.what for verdict in self.leading]),
            "how": _joined([verdict.how for verdict in self.leading]),
            "remedy": _joined([verdict.remedy for verdict in self.leading]),
            "elapsed_s": round(self.elapsed_s, 3),
            "parts": [verdict.to_json() for verdict in self.verdicts],
        }


def _joined(texts: Sequence[str]) -> str:
    """Different sentences, one after the other."""
    return " ".join(dict.fromkeys(text for text in texts if text))
