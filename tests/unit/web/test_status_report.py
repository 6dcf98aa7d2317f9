# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import pytest

from ssvm_agent.web.metrics import render
from ssvm_agent.web.status_report import Health, StatusReport, certificate_health
from tests.unit.web.reports import NOW, full_report, troubled_report


def test_all_is_well_without_problems() -> None:
    report = full_report()
    assert report.health is Health.GOOD
    assert report.problems == ()


def test_each_trouble_is_one_sentence() -> None:
    report = troubled_report()
    assert report.health is Health.BAD
    assert len(report.problems) == 3
    assert "certificate this agent does not trust" in report.problems[0]


@pytest.mark.parametrize(
    ("days", "words"),
    [(9, "expires in 9 days."), (1, "expires in 1 day."), (-3, "expired 3 days ago.")],
)
def test_a_certificate_near_or_over_its_end_is_a_problem(days: int, words: str) -> None:
    report = full_report()
    row = replace(report.certificates[0], health=certificate_health(days), days_left=days)
    (problem,) = replace(report, certificates=(row,)).problems
    assert problem == f"The web certificate CN=*.example.com {words}"


def test_a_report_is_json_all_the_way_down() -> None:
    document = json.loads(json.dumps(troubled_report().to_json()))
    assert document["health"] == "bad"
    assert document["schema"] == 1
    assert document["now"] == NOW.isoformat()
    assert document["stores"][0]["total_bytes"] is None
    assert document["downloads"][0]["state"] == "in progress"


def test_an_agent_that_knows_nothing_yet_is_not_ill() -> None:
    report = StatusReport(version="1", host_name="s", now=NOW, started=NOW)
    assert report.health is Health.GOOD
    assert b"ssvm_agent_health 2.0" in render(report)


def test_metrics_have_their_names_and_labels() -> None:
    text = render(full_report()).decode()
    for line in (
        'ssvm_agent_info{host="s-1-VM",version="1.0"} 1.0',
        "ssvm_agent_link_up 1.0",
        'ssvm_agent_commands{lane="normal",state="running"} 2.0',
        'ssvm_agent_store_latency_seconds{store="665d3814-9fdc-3bca-8727-7c2d56b42bd1"} 0.0017',
        'ssvm_agent_running{kind="download"} 1.0',
        'ssvm_agent_running{kind="upload"} 0.0',
        'ssvm_agent_certificate_days{use="web"} 71.0',
        'ssvm_agent_sent_bytes_total{area="extract"} 5.0',
        "ssvm_agent_links 1.0",
    ):
        assert line in text.splitlines(), line


def test_what_is_unknown_has_no_sample() -> None:
    """Requirement R22: never 0 for unknown."""
    text = render(troubled_report()).decode()
    assert "ssvm_agent_store_up{" in text
    assert "ssvm_agent_store_used_bytes{" not in text
    assert "ssvm_agent_store_latency_seconds{" not in text


def test_certificates_turn_yellow_two_weeks_before_their_end() -> None:
    assert [certificate_health(days) for days in (14, 13, 0, -1)] == [
        Health.GOOD,
        Health.WARNING,
        Health.WARNING,
        Health.BAD,
    ]
