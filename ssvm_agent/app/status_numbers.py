# SPDX-License-Identifier: Apache-2.0
"""What is counted of commands, mounts and downloads, as rows of the metrics.

The numbers live here and not on the HTTP side: they are kept whether anything is published or not.
Labels are bounded: names of our commands, codes of our errors.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import Final

from ssvm_agent.ingest.traffic import Traffic
from ssvm_agent.web.status_report import CounterRow, HistogramRow

# From a lookup in memory over a slow store to a copy of many gigabytes.
BOUNDS_S: Final = (0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 7200.0)


class Durations:
    """Durations of one kind, sorted into buckets as they come."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_s += seconds

    def row(self, name: str, help_text: str, label: tuple[str, str]) -> HistogramRow:
        """All so far."""
        return HistogramRow(
            name=name,
            help=help_text,
            bounds=BOUNDS_S,
            counts=tuple(self._counts),
            sum=round(self._sum_s, 6),
            labels=(label,),
        )


class WorkNumbers:
    """The observer of commands (:class:`ssvm_agent.dispatch.observer.Observer`) and mounts."""

    def __init__(self) -> None:
        self._commands: dict[str, Durations] = {}
        self._failures: Counter[tuple[str, str]] = Counter()
        self._mounts: dict[str, Durations] = {}

    def command_ran(self, command: str, seconds: float) -> None:
        """A command's handler ended."""
        self._commands.setdefault(command, Durations()).add(seconds)

    def command_failed(self, command: str, code: str) -> None:
        """A command failed."""
        self._failures[command, code] += 1

    def mounted(self, outcome: str, seconds: float) -> None:
        """A mount succeeded (``done``) or did not (``failed``)."""
        self._mounts.setdefault(outcome, Durations()).add(seconds)

    def counters(self) -> Iterator[CounterRow]:
        """The failures by command and code."""
        for (command, code), count in sorted(self._failures.items()):
            yield CounterRow(
                name="ssvm_agent_command_failures",
                help="Commands that failed",
                value=count,
                labels=(("command", command), ("code", code)),
            )

    def histograms(self) -> Iterator[HistogramRow]:
        """The durations of commands and mounts."""
        for command, durations in sorted(self._commands.items()):
            yield durations.row(
                "ssvm_agent_command_duration_seconds",
                "How long commands ran, the wait for their lane not included",
                ("command", command),
            )
        for outcome, durations in sorted(self._mounts.items()):
            yield durations.row(
                "ssvm_agent_mount_duration_seconds",
                "How long mounting a store took",
                ("outcome", outcome),
            )


def traffic_rows(traffic: Traffic) -> Iterator[CounterRow]:
    """What the downloads did together."""
    yield CounterRow(
        name="ssvm_agent_download_retries",
        help="Attempts of downloads after a failed one",
        value=traffic.retries,
    )
    yield CounterRow(
        name="ssvm_agent_downloaded_bytes",
        help="Bytes received from download sources",
        value=traffic.received_bytes,
    )
    for outcome, count in sorted(traffic.ended.items()):
        yield CounterRow(
            name="ssvm_agent_downloads",
            help="Downloads that ended",
            value=count,
            labels=(("outcome", outcome),),
        )


def log_rows(counts: dict[str, int]) -> Iterator[CounterRow]:
    """Warnings and errors of the log by level."""
    for level, count in sorted(counts.items()):
        yield CounterRow(
            name="ssvm_agent_log_records",
            help="Warnings and errors in the log",
            value=count,
            labels=(("level", level.lower()),),
        )
