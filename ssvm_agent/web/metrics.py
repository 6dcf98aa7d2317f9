# SPDX-License-Identifier: Apache-2.0
"""A status report as Prometheus metrics: collected anew for each scrape, nothing kept in between.

docs/http.md lists the names; they are an interface and stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from ssvm_agent.web.status_report import (
    CounterRow,
    Health,
    HistogramRow,
    StatusReport,
    WorkRow,
)

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_HEALTH: Final = {Health.GOOD: 2, Health.WARNING: 1, Health.BAD: 0}


class _Collector:
    def __init__(self, report: StatusReport) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        report = self._report
        yield from _overview(report)
        yield from _stores(report)
        yield from _work(report)
        yield from _certificates(report)
        yield from _counters(report.counters)
        yield from _histograms(report.histograms)


def render(report: StatusReport) -> bytes:
    """The text of ``/metrics``."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(report))
    return generate_latest(registry)


def _overview(report: StatusReport) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

    yield InfoMetricFamily(
        "ssvm_agent", "The running agent", {"version": report.version, "host": report.host_name}
    )
    yield GaugeMetricFamily(
        "ssvm_agent_start_time_seconds", "When the agent started", report.started.timestamp()
    )
    yield GaugeMetricFamily("ssvm_agent_health", "2 good, 1 warning, 0 bad", _HEALTH[report.health])
    if report.link is not None:
        yield GaugeMetricFamily(
            "ssvm_agent_link_up",
            "Whether a management server is in charge",
            int(report.link.health is Health.GOOD),
        )
        yield GaugeMetricFamily(
            "ssvm_agent_link_failures",
            "Failed connection attempts since the link was up last",
            report.link.failures,
        )
    lanes = GaugeMetricFamily(
        "ssvm_agent_commands", "Commands by lane and state", labels=["lane", "state"]
    )
    for lane in report.lanes:
        lanes.add_metric([lane.name, "running"], lane.running)
        lanes.add_metric([lane.name, "waiting"], lane.waiting)
    yield lanes


def _stores(report: StatusReport) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    up = GaugeMetricFamily("ssvm_agent_store_up", "Whether a store answers", labels=["store"])
    size = GaugeMetricFamily("ssvm_agent_store_bytes", "Size of a store", labels=["store"])
    used = GaugeMetricFamily("ssvm_agent_store_used_bytes", "Used space", labels=["store"])
    latency = GaugeMetricFamily(
        "ssvm_agent_store_latency_seconds", "Duration of a sign of life", labels=["store"]
    )
    stuck = GaugeMetricFamily(
        "ssvm_agent_store_stuck_threads", "Threads hanging in a store", labels=["store"]
    )
    for store in report.stores:
        name = [store.name]
        up.add_metric(name, int(store.health is not Health.BAD))
        stuck.add_metric(name, store.stuck_threads)
        if store.total_bytes is not None:
            size.add_metric(name, store.total_bytes)
        if store.used_bytes is not None:
            used.add_metric(name, store.used_bytes)
        if store.latency_ms is not None:
            latency.add_metric(name, store.latency_ms / 1000)
    yield from (up, size, used, latency, stuck)


def _work(report: StatusReport) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    running = GaugeMetricFamily("ssvm_agent_running", "What is under way", labels=["kind"])
    done = GaugeMetricFamily(
        "ssvm_agent_running_bytes", "Bytes done of what is under way", labels=["kind"]
    )
    kinds = {
        "download": report.downloads,
        "upload": report.uploads,
        "transfer": report.transfers,
    }
    for kind, rows in kinds.items():
        busy: list[WorkRow] = [row for row in rows if row.is_running]
        running.add_metric([kind], len(busy))
        done.add_metric([kind], sum(row.done_bytes for row in busy))
    yield from (running, done)
    waiting = GaugeMetricFamily("ssvm_agent_waiting", "What waits for its turn", labels=["kind"])
    waiting.add_metric(["download"], sum(row.is_waiting for row in report.downloads))
    yield waiting
    yield GaugeMetricFamily("ssvm_agent_links", "Files published for download", len(report.links))


def _certificates(report: StatusReport) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    days = GaugeMetricFamily(
        "ssvm_agent_certificate_days", "Days until a certificate expires", labels=["use"]
    )
    for certificate in report.certificates:
        days.add_metric([certificate.use], certificate.days_left)
    yield days


def _counters(rows: Iterable[CounterRow]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily

    families: dict[str, CounterMetricFamily] = {}
    for row in rows:
        family = families.get(row.name)
        if family is None:
            family = CounterMetricFamily(row.name, row.help, labels=[key for key, _ in row.labels])
            families[row.name] = family
        family.add_metric([value for _, value in row.labels], row.value)
    yield from families.values()


def _histograms(rows: Iterable[HistogramRow]) -> Iterator[Metric]:
    from prometheus_client.core import HistogramMetricFamily

    families: dict[str, HistogramMetricFamily] = {}
    for row in rows:
        family = families.get(row.name)
        if family is None:
            labels = [key for key, _ in row.labels]
            family = HistogramMetricFamily(row.name, row.help, labels=labels)
            families[row.name] = family
        bounds = [*(f"{bound:g}" for bound in row.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(row.counts), strict=True))
        family.add_metric([value for _, value in row.labels], buckets, row.sum)
    yield from families.values()
