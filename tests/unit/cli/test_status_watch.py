# SPDX-License-Identifier: Apache-2.0
"""``ssvm-agent status --watch`` through answers and silences."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live

from ssvm_agent.cli.status import NoAnswerError
from ssvm_agent.cli.status_text import Line, Report
from ssvm_agent.cli.status_watch import LiveScreen, PlainScreen, watch
from tests.unit.web.reports import MIB, NOW, full_report

SILENCE = NoAnswerError("No agent answers.")
LOST = "no answer since 14:05:09, trying again"


class Script:
    """Answers in order; the operator presses Ctrl-C when it is over."""

    def __init__(self, *answers: Report | NoAnswerError) -> None:
        self._answers: Iterator[Any] = iter(answers)
        self.pauses = 0

    def ask(self) -> Report:
        answer = next(self._answers, None)
        if answer is None:
            raise KeyboardInterrupt
        if isinstance(answer, Exception):
            raise answer
        report: Report = answer
        return report

    def pause(self) -> None:
        self.pauses += 1


class Notes:
    """A screen that writes down."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def show(self, rows: Sequence[Line]) -> None:
        self.seen.append("\n".join(row.text for row in rows))

    def lose(self, text: str) -> None:
        self.seen.append(text)


def run(script: Script, screen: Any) -> None:
    at = datetime(2026, 11, 23, 14, 5, 9, tzinfo=UTC)
    watch(script.ask, screen, pause=script.pause, now=lambda: at)


def test_each_silence_is_told_once_and_survived() -> None:
    report, notes = full_report().to_json(), Notes()
    script = Script(SILENCE, SILENCE, report, SILENCE, SILENCE, SILENCE, report)
    run(script, notes)
    assert [seen.split("  ")[0] for seen in notes.seen] == [LOST, "s-1-VM", LOST, "s-1-VM"]
    assert script.pauses == 7


def test_ctrl_c_during_a_pause_is_an_end_as_well() -> None:
    def pause() -> None:
        raise KeyboardInterrupt

    watch(lambda: full_report().to_json(), Notes(), pause=pause)


def test_rates_are_those_since_the_report_before() -> None:
    early, notes = full_report(NOW), Notes()
    (download,) = early.downloads
    late = replace(
        full_report(NOW + timedelta(seconds=2)),
        downloads=(replace(download, done_bytes=download.done_bytes + 24 * MIB),),
    )
    run(Script(early.to_json(), late.to_json()), notes)
    assert "MiB/s" not in notes.seen[0]
    assert "12.0 MiB/s, 49 s left" in notes.seen[1]


def test_without_a_terminal_reports_follow_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    report = full_report().to_json()
    run(Script(report, SILENCE, report), PlainScreen())
    first, lost, second, rest = capsys.readouterr().out.split("\n\n")
    assert first == second
    assert first.startswith("s-1-VM")
    assert (lost, rest) == (LOST, "")


def test_a_terminal_keeps_the_last_report_below_the_notice() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, height=40, force_terminal=True, _environ={})
    with Live(console=console, auto_refresh=False) as live:
        run(Script(full_report().to_json(), SILENCE), LiveScreen(live))
    painted = out.getvalue().rpartition(LOST)[2]
    assert "s-1-VM  ssvm-agent 1.0" in painted
    assert "\x1b[2m" in painted
