# SPDX-License-Identifier: Apache-2.0
"""A status report as lines of text: what the status page shows, for terminals and for ``grep``.

Each line begins with what it is about. Texts of a report come from servers, files and the log, so
nothing in them may steer a terminal. Knows neither terminals nor where reports come from.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

Report = Mapping[str, Any]
"""The JSON document of :meth:`ssvm_agent.web.status_report.StatusReport.to_json`."""

_MARGIN: Final = 13
_MOST_ROWS: Final = 20
_NARROWEST: Final = 40
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_VERDICTS: Final = {
    "good": "all is well",
    "warning": "needs attention",
    "bad": "something is wrong",
}
_WORK: Final = ("downloads", "uploads", "transfers")


@dataclass(frozen=True, slots=True)
class Line:
    """One line; ``health`` is ``good``, ``warning`` or ``bad``, ``indent`` where it goes on."""

    health: str
    text: str
    indent: int = _MARGIN


class Rates:
    """Bytes per second of what is under way, measured from one report to the next."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, str, str], int] = {}
        self._at: datetime | None = None
        self._found: dict[tuple[str, str, str], float] = {}

    def take(self, report: Report) -> None:
        """Compare a report with the one before."""
        now, counts = _time(report["now"]), dict(_running(report))
        seconds = (now - self._at).total_seconds() if self._at is not None else 0.0
        self._found = {
            key: (done - self._before[key]) / seconds
            for key, done in counts.items()
            if seconds > 0 and done >= self._before.get(key, done + 1)
        }
        self._before, self._at = counts, now

    def of(self, kind: str, row: Mapping[str, Any]) -> float | None:
        """The rate of a row; ``None``: not known."""
        return self._found.get((kind, row["id"], row["what"]))


def is_working(report: Report) -> bool:
    """Whether there is anything that has a rate."""
    return any(True for _ in _running(report))


def lines(report: Report, rates: Rates) -> Iterator[Line]:
    """All of a report."""
    now = _time(report["now"])
    up = f"up {_span((now - _time(report['started'])).total_seconds())}"
    words = (report["host_name"], f"ssvm-agent {report['version']}", up)
    yield Line(report["health"], _clean("  ".join((*words, _VERDICTS[report["health"]]))), 4)
    for problem in report["problems"]:
        yield Line(report["health"], _clean(f"  ! {problem}"), 4)
    yield from _link(report["link"], now)
    yield from (_server(row) for row in report["servers"])
    yield from (_store(row) for row in report["stores"])
    yield from (_lane(row) for row in report["lanes"])
    for kind in _WORK:
        yield from _work(kind, report[kind], rates)
    yield from (_certificate(row) for row in report["certificates"])
    yield from _some(report["links"], lambda row: _published(row, now))
    yield from _some(report["warnings"], _warning)


def wrapped(rows: Iterable[Line], width: int) -> Iterator[Line]:
    """The lines, none of them wider than this."""
    width = max(width, _NARROWEST)
    for row in rows:
        for text in textwrap.wrap(
            row.text, width, subsequent_indent=" " * row.indent, break_on_hyphens=False
        ):
            yield Line(row.health, text, row.indent)


def _link(link: Mapping[str, Any] | None, now: datetime) -> Iterator[Line]:
    # Its last error is among the problems, as are those of stores.
    if link is None:
        return
    facts = [f"for {_span((now - _time(link['since'])).total_seconds())}"]
    if link["host_id"] is not None:
        facts.append(f"host id {link['host_id']}")
    if link["failures"]:
        facts.append(_count(link["failures"], "failed attempt"))
    if link["failing_step"]:
        facts.append(f"failing at {link['failing_step']}")
    yield _line(link["health"], "link", link["state"], link["server"], ", ".join(facts))


def _server(row: Mapping[str, Any]) -> Line:
    state = "in reserve"
    if row["is_connected"]:
        state = "connected"
    elif row["is_avoided"]:
        state = "to be avoided"
    return _line("good", "server", state, row["name"])


def _store(row: Mapping[str, Any]) -> Line:
    facts = [_space(row)]
    if row["latency_ms"] is not None:
        facts.append(f"{row['latency_ms']:.1f} ms")
    if row["version"]:
        facts.append(f"version {row['version']}")
    if row["stuck_threads"]:
        facts.append(f"{_count(row['stuck_threads'], 'thread')} stuck")
    return _line(row["health"], "store", row["state"], row["url"], ", ".join(facts))


def _lane(row: Mapping[str, Any]) -> Line:
    load = f"{row['running']} running, {row['waiting']} waiting"
    return _line("good", "lane", row["name"], load)


def _work(kind: str, rows: Sequence[Mapping[str, Any]], rates: Rates) -> Iterator[Line]:
    """Rows of one kind, what is under way first."""
    first = sorted(rows, key=lambda row: not row["is_running"])
    for row in first[:_MOST_ROWS]:
        facts = [_done(row)]
        if row["is_running"] and (rate := rates.of(kind, row)):
            facts.append(f"{_size(rate)}/s")
            if row["total_bytes"] is not None:
                left_s = (row["total_bytes"] - row["done_bytes"]) / rate
                facts.append(f"{_span(left_s)} left")
        yield _line(row["health"], kind[:-1], row["state"], row["what"], ", ".join(facts))
        if row["message"]:
            yield _line(row["health"], "", row["message"])
    yield from _more(len(rows))


def _certificate(row: Mapping[str, Any]) -> Line:
    days = row["days_left"]
    left = f"expired {_count(-days, 'day')} ago" if days < 0 else f"{_count(days, 'day')} left"
    facts = f"until {_time(row['not_after']):%Y-%m-%d}, issued by {row['issuer']}"
    return _line(row["health"], "certificate", left, row["use"], row["subject"], facts)


def _published(row: Mapping[str, Any], now: datetime) -> Line:
    left_s = (_time(row["expires"]) - now).total_seconds()
    return _line("good", "published", f"expires in {_span(left_s)}", row["key"], row["path"])


def _warning(row: Mapping[str, Any]) -> Line:
    warns = row["level"] == "WARNING"
    at = f"{_time(row['at']):%Y-%m-%d %H:%M:%S} UTC"
    return _line("warning" if warns else "bad", "warning" if warns else "error", at, row["text"])


def _some(
    rows: Sequence[Mapping[str, Any]], make: Callable[[Mapping[str, Any]], Line]
) -> Iterator[Line]:
    yield from (make(row) for row in rows[:_MOST_ROWS])
    yield from _more(len(rows))


def _more(count: int) -> Iterator[Line]:
    if count > _MOST_ROWS:
        yield _line("good", "", f"and {count - _MOST_ROWS} more: see --json or the status page")


def _line(health: str, about: str, *words: str) -> Line:
    text = "  ".join(word for word in words if word)
    return Line(health, _clean(f"{about:{_MARGIN}}{text}"))


def _clean(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _running(report: Report) -> Iterator[tuple[tuple[str, str, str], int]]:
    for kind in _WORK:
        for row in report[kind]:
            if row["is_running"]:
                yield (kind, row["id"], row["what"]), row["done_bytes"]


def _space(store: Mapping[str, Any]) -> str:
    total, used = store["total_bytes"], store["used_bytes"]
    if total is None:
        return "size unknown"
    if used is None:
        return f"{_size(total)}, used space unknown"
    return f"{_size(used)} of {_size(total)} used ({100 * used // max(1, total)}%)"


def _done(row: Mapping[str, Any]) -> str:
    if row["total_bytes"] is None:
        return _size(row["done_bytes"])
    share = 100 * row["done_bytes"] // max(1, row["total_bytes"])
    return f"{_size(row['done_bytes'])} of {_size(row['total_bytes'])} ({share}%)"


def _size(count: float) -> str:
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.{int(unit > 0 and count < 100)}f} {_UNITS[unit]}"


def _span(seconds: float) -> str:
    """As the status page words it."""
    seconds = max(0, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    if seconds < 172_800:
        return f"{round(seconds / 3600)} h"
    return f"{round(seconds / 86_400)} days"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
