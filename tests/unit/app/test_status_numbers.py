# SPDX-License-Identifier: Apache-2.0
"""What is counted of commands, mounts and downloads, and how it reads on /metrics."""

from __future__ import annotations

from dataclasses import replace

from ssvm_agent.app.status_numbers import BOUNDS_S, WorkNumbers, log_rows, traffic_rows
from ssvm_agent.ingest.traffic import Traffic
from ssvm_agent.web.metrics import render
from tests.unit.web.reports import full_report


def metrics(numbers: WorkNumbers, traffic: Traffic | None = None) -> list[str]:
    """The lines of /metrics."""
    counters = (*numbers.counters(), *traffic_rows(traffic or Traffic()), *log_rows({"ERROR": 2}))
    report = replace(
        full_report(), counters=counters, histograms=tuple(numbers.histograms()), downloads=()
    )
    return render(report).decode().splitlines()


def test_durations_of_a_command_are_a_histogram() -> None:
    numbers = WorkNumbers()
    for seconds in (0.001, 0.01, 0.02, 20.0, 10_000.0):
        numbers.command_ran("CopyCommand", seconds)
    text = metrics(numbers)
    name = "ssvm_agent_command_duration_seconds"
    assert [line for line in text if line.startswith(name + "_bucket")] == [
        f'{name}_bucket{{command="CopyCommand",le="{bound}"}} {count}.0'
        for bound, count in zip(
            [*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"],
            [2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 5],
            strict=True,
        )
    ]
    assert f'{name}_count{{command="CopyCommand"}} 5.0' in text
    assert f'{name}_sum{{command="CopyCommand"}} 10020.031' in text


def test_failures_are_told_by_command_and_code() -> None:
    numbers = WorkNumbers()
    numbers.command_failed("CopyCommand", "store-unavailable")
    numbers.command_failed("CopyCommand", "store-unavailable")
    numbers.command_failed("unknown", "unsupported")
    failures = [line for line in metrics(numbers) if line.startswith("ssvm_agent_command_failures")]
    assert failures == [
        'ssvm_agent_command_failures_total{code="store-unavailable",command="CopyCommand"} 2.0',
        'ssvm_agent_command_failures_total{code="unsupported",command="unknown"} 1.0',
    ]


def test_mounts_are_told_by_their_outcome() -> None:
    numbers = WorkNumbers()
    numbers.mounted("done", 0.2)
    numbers.mounted("failed", 90.0)
    text = metrics(numbers)
    assert 'ssvm_agent_mount_duration_seconds_bucket{le="0.25",outcome="done"} 1.0' in text
    assert 'ssvm_agent_mount_duration_seconds_bucket{le="60",outcome="failed"} 0.0' in text
    assert 'ssvm_agent_mount_duration_seconds_sum{outcome="failed"} 90.0' in text


def test_downloads_are_summed_up_and_there_from_the_start() -> None:
    assert "ssvm_agent_download_retries_total 0.0" in metrics(WorkNumbers())
    traffic = Traffic(received_bytes=7, retries=2)
    traffic.ended["checksum-mismatch"] += 1
    text = metrics(WorkNumbers(), traffic)
    assert "ssvm_agent_download_retries_total 2.0" in text
    assert "ssvm_agent_downloaded_bytes_total 7.0" in text
    assert 'ssvm_agent_downloads_total{outcome="checksum-mismatch"} 1.0' in text
    assert 'ssvm_agent_log_records_total{level="error"} 2.0' in text
    assert 'ssvm_agent_waiting{kind="download"} 0.0' in text


def test_each_metric_is_announced_once() -> None:
    numbers = WorkNumbers()
    for command in ("CopyCommand", "DeleteCommand"):
        numbers.command_ran(command, 1.0)
        numbers.command_failed(command, "internal")
    helps = [line.split()[2] for line in metrics(numbers) if line.startswith("# HELP")]
    assert len(helps) == len(set(helps))
