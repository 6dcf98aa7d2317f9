# SPDX-License-Identifier: Apache-2.0
"""Results as text for people and as JSON for programs. Pure.

Problems come first, each with how it was found and what to do; what is well takes one line.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ssvm_agent import __version__
from ssvm_agent.diag.verdict import CheckResult, Status, Verdict

# Changes when a field changes its meaning or goes away.
SCHEMA: Final = 1

_WIDTH: Final = 100
_STATUS_WIDTH: Final = 9
_COLOURS: Final = {
    Status.OK: "32",
    Status.SKIPPED: "2",
    Status.WARNING: "33",
    Status.ERROR: "31;1",
}
_WORDS: Final = {
    Status.OK: "ok",
    Status.SKIPPED: "skipped",
    Status.WARNING: "WARNING",
    Status.ERROR: "ERROR",
}


def exit_code(results: Sequence[CheckResult]) -> int:
    """1 when a check failed; warnings do not count."""
    return int(any(result.status is Status.ERROR for result in results))


def as_json(results: Sequence[CheckResult], *, machine: str, now: datetime) -> dict[str, Any]:
    """The document of ``ssvm-check --json``."""
    return {
        "schema": SCHEMA,
        "version": __version__,
        "machine": machine,
        "time": now.isoformat(),
        "status": _overall(results).value,
        "counts": {status.value: count for status, count in _counts(results).items()},
        "checks": [result.to_json() for result in results],
    }


def as_text(
    results: Sequence[CheckResult], *, machine: str, now: datetime, colours: bool = False
) -> str:
    """What ``ssvm-check`` prints."""
    width = max((len(result.name) for result in results), default=0) + 2
    lines = [f"ssvm-check {__version__}  {machine}  {now:%Y-%m-%d %H:%M:%S} UTC", ""]
    for status in (Status.ERROR, Status.WARNING):
        for result in results:
            for verdict in result.verdicts:
                if verdict.status is status:
                    lines += [*_problem(result.name, verdict, width, colours), ""]
    calm = [one for one in results if one.status in {Status.OK, Status.SKIPPED}]
    lines += [line for result in calm for line in _calm(result, width, colours)]
    if calm:
        lines.append("")
    lines.append(_summary(_counts(results)))
    return "\n".join(lines) + "\n"


def _problem(name: str, verdict: Verdict, width: int, colours: bool) -> Iterator[str]:
    indent = " " * (_STATUS_WIDTH + width)
    head = f"{_word(verdict.status, colours)}{name:{width}}"
    shown = textwrap.wrap(verdict.what, _WIDTH - len(indent), break_long_words=False) or [""]
    yield f"{head}{shown[0]}"
    for line in shown[1:]:
        yield f"{indent}{line}"
    for label, text in (("found by  ", verdict.how), ("what to do", verdict.remedy)):
        yield from textwrap.wrap(
            text,
            _WIDTH,
            initial_indent=f"{indent}{label}  ",
            subsequent_indent=f"{indent}{' ' * len(label)}  ",
            break_long_words=False,
            break_on_hyphens=False,
        )


def _calm(result: CheckResult, width: int, colours: bool) -> Iterator[str]:
    indent = " " * (_STATUS_WIDTH + width)
    lines = [
        line
        for verdict in result.leading
        for line in textwrap.wrap(verdict.what, _WIDTH - len(indent), break_long_words=False)
    ]
    yield f"{_word(result.status, colours)}{result.name:{width}}{lines[0]}"
    for line in lines[1:]:
        yield f"{indent}{line}"


def _word(status: Status, colours: bool) -> str:
    word = f"{_WORDS[status]:{_STATUS_WIDTH}}"
    return f"\x1b[{_COLOURS[status]}m{word}\x1b[0m" if colours else word


def _overall(results: Sequence[CheckResult]) -> Status:
    counts = _counts(results)
    return next((one for one in (Status.ERROR, Status.WARNING) if counts[one]), Status.OK)


def _counts(results: Sequence[CheckResult]) -> Mapping[Status, int]:
    found = Counter(result.status for result in results)
    return {status: found[status] for status in Status}


def _summary(counts: Mapping[Status, int]) -> str:
    parts = [
        _count(counts[Status.ERROR], "error"),
        _count(counts[Status.WARNING], "warning"),
        f"{counts[Status.OK]} ok",
        f"{counts[Status.SKIPPED]} skipped",
    ]
    return f"{', '.join(parts)}."


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
