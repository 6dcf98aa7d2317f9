# SPDX-License-Identifier: Apache-2.0
"""A status report as text: all of it, within 80 columns, and whatever is unknown."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ssvm_agent.cli.status_text import Rates, is_working, lines, wrapped
from ssvm_agent.web.status_report import (
    Health,
    LaneRow,
    ServerRow,
    StatusReport,
    WarningRow,
    WorkRow,
)
from tests.unit.web.reports import MIB, NOW, full_report, troubled_report

FULL = """\
s-1-VM  ssvm-agent 1.0  up 3 days  all is well
link         ready  10.1.1.20  for 5 h, host id 7
server       connected  10.1.1.20
server       in reserve  10.1.1.21
server       to be avoided  10.1.1.22
store        alive  nfs://10.1.1.5/export/secondary  1.3 TiB of 2.0 TiB used
             (63%), 1.7 ms, version 4.2
lane         control  0 running, 0 waiting
lane         normal  2 running, 3 waiting
download     in progress  template/tmpl/2/205  410 MiB of 1.0 GiB (40%), 25.0
             MiB/s, 25 s left
             retry 1/8 in 1 s: connection reset
download     not started  template/tmpl/2/207  0 B
upload       ERROR  TEMPLATE 206 in template/tmpl/2/206  12.0 MiB of 300 MiB
             (4%)
             file receive failed or connection closed prematurely.
transfer     sending to 198.51.100.4  ROOT-5.qcow2  700 MiB of 1.0 GiB (68%),
             10.0 MiB/s, 32 s left
certificate  71 days left  web  CN=*.example.com  until 2027-02-02, issued by
             CN=Example CA
published    expires in 6 days  0f1d/ROOT-5.qcow2  volumes/2/55/x.qcow2
warning      2026-11-23 12:00:00 UTC  download retried reason=connection reset
error        2026-11-23 11:00:00 UTC  no links and uploads: the HTTP side did
             not start reason=port 443 is taken
"""

TROUBLED = """\
s-1-VM  ssvm-agent 1.0  up 3 days  something is wrong
  ! No management server is in charge of this agent: 10.1.1.20 presented a
    certificate this agent does not trust.
  ! The secondary storage nfs://10.1.1.5/export/secondary does not respond
  ! The web certificate CN=*.example.com expires in 9 days.
link         waiting  10.1.1.20  for 5 h, host id 7, 4 failed attempts, failing
             at TLS
server       in reserve  10.1.1.20
server       in reserve  10.1.1.21
store        not responding  nfs://10.1.1.5/export/secondary  size unknown,
             version 4.2, 2 threads stuck
lane         normal  2 running, 0 waiting
"""


def busy_report(now: Any = NOW, more_bytes: int = 0) -> StatusReport:
    """Something in every part, and each of its variants."""
    report = full_report(now)
    download, transfer = report.downloads[0], report.transfers[0]
    later = download.done_bytes - 50 * MIB + more_bytes
    sent = transfer.done_bytes - 20 * MIB + more_bytes // 5 * 2
    waiting = WorkRow(
        health=Health.GOOD, id="9", what="template/tmpl/2/207", state="not started",
        done_bytes=0, is_waiting=True,
    )  # fmt: skip
    at = NOW - timedelta(hours=1)
    failure = "no links and uploads: the HTTP side did not start reason=port 443 is taken"
    return replace(
        report,
        servers=(*report.servers, ServerRow(name="10.1.1.22", is_connected=False, is_avoided=True)),
        lanes=(
            LaneRow(name="control", running=0, waiting=0),
            LaneRow(name="normal", running=2, waiting=3),
        ),
        downloads=(
            replace(download, done_bytes=later, message="retry 1/8 in 1 s: connection reset"),
            waiting,
        ),
        transfers=(replace(transfer, done_bytes=sent),),
        warnings=(*report.warnings, WarningRow(at=at, level="ERROR", text=failure)),
        started=NOW - timedelta(days=3, hours=2),
    )  # fmt: skip


def text(report: StatusReport, rates: Rates | None = None, *, width: int = 80) -> str:
    rows = wrapped(lines(report.to_json(), rates or Rates()), width)
    return "".join(f"{row.text}\n" for row in rows)


def measured() -> Rates:
    """The rates of the busy report, two seconds after it was half as far."""
    rates = Rates()
    rates.take(busy_report(NOW - timedelta(seconds=2)).to_json())
    rates.take(busy_report(more_bytes=50 * MIB).to_json())
    return rates


def test_a_full_report_at_80_columns() -> None:
    assert text(busy_report(more_bytes=50 * MIB), measured()) == FULL


def test_a_report_of_troubles_at_80_columns() -> None:
    report = troubled_report()
    message = "The secondary storage nfs://10.1.1.5/export/secondary does not respond"
    report = replace(report, stores=(replace(report.stores[0], message=message),))
    assert text(report)[: len(TROUBLED)] == TROUBLED


@pytest.mark.parametrize("width", [1, 40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long = "x" * 300
    report = replace(busy_report(), warnings=(WarningRow(at=NOW, level="ERROR", text=long),))
    assert max(len(line) for line in text(report, width=width).splitlines()) <= max(width, 40)


def test_without_a_width_each_row_is_one_line() -> None:
    rows = [row.text for row in lines(busy_report().to_json(), Rates())]
    assert len([row for row in rows if row.startswith("download ")]) == 2
    assert len([row for row in rows if row.startswith("store ")]) == 1


def test_unknown_space_is_not_zero() -> None:
    """Requirement R22."""
    report = full_report()
    report = replace(report, stores=(replace(report.stores[0], used_bytes=None),))
    assert "2.0 TiB, used space unknown, 1.7 ms" in text(report, width=200)


def test_a_certificate_over_its_end_is_said_to_be() -> None:
    report = full_report()
    row = replace(report.certificates[0], days_left=-1, health=Health.BAD)
    assert "certificate  expired 1 day ago  web" in text(replace(report, certificates=(row,)))


def test_a_text_of_others_does_not_steer_the_terminal() -> None:
    row = WarningRow(at=NOW, level="WARNING", text="a\x1b[2Jb\nc\u202ed")
    assert "UTC  a?[2Jb?c?d\n" in text(replace(full_report(), warnings=(row,)))


def test_many_rows_are_cut_and_what_runs_comes_first() -> None:
    report = full_report()
    (row,) = report.downloads
    ended = tuple(replace(row, id=str(n), is_running=False, state="finished") for n in range(30))
    out = text(replace(report, downloads=(*ended, row)))
    assert out.index("in progress") < out.index("finished")
    assert out.count("finished") == 19
    assert "and 11 more: see --json or the status page" in out


def test_an_agent_that_knows_nothing_yet_has_one_line() -> None:
    report = StatusReport(version="1", host_name="s-1-VM", now=NOW, started=NOW)
    assert text(report) == "s-1-VM  ssvm-agent 1  up 0 s  all is well\n"
    assert not is_working(report.to_json())


def test_a_rate_needs_two_reports_of_the_same_work() -> None:
    rates, early, late = Rates(), busy_report(NOW - timedelta(seconds=2)), busy_report()
    row = late.downloads[0]
    key = {"id": row.id, "what": row.what}
    rates.take(early.to_json())
    assert rates.of("downloads", key) is None
    rates.take(late.to_json())
    assert rates.of("downloads", key) == 0
    assert rates.of("uploads", key) is None
    rates.take(replace(late, downloads=()).to_json())
    assert rates.of("downloads", key) is None
    restarted = replace(
        late, downloads=(replace(row, done_bytes=1),), now=NOW + timedelta(seconds=2)
    )
    rates.take(late.to_json())
    rates.take(restarted.to_json())
    assert rates.of("downloads", key) is None
