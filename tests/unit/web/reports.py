# SPDX-License-Identifier: Apache-2.0
"""A status report with something in every part."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ssvm_agent.web.status_report import (
    CertificateRow,
    CounterRow,
    Health,
    LaneRow,
    LinkRow,
    PublishedRow,
    ServerRow,
    StatusReport,
    StoreRow,
    WarningRow,
    WorkRow,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MIB = 1 << 20


def full_report(now: datetime = NOW) -> StatusReport:
    """Everything is well and busy."""
    return StatusReport(
        version="1.0",
        host_name="s-1-VM",
        now=now,
        started=now - timedelta(days=3, hours=2),
        link=LinkRow(
            health=Health.GOOD,
            state="ready",
            server="10.1.1.20",
            since=now - timedelta(hours=5),
            host_id=7,
        ),
        servers=(
            ServerRow(name="10.1.1.20", is_connected=True),
            ServerRow(name="10.1.1.21", is_connected=False),
        ),
        stores=(
            StoreRow(
                health=Health.GOOD,
                name="665d3814-9fdc-3bca-8727-7c2d56b42bd1",
                url="nfs://10.1.1.5/export/secondary",
                state="alive",
                total_bytes=2 << 40,
                used_bytes=1_300 << 30,
                latency_ms=1.7,
                version="4.2",
            ),
        ),
        downloads=(
            WorkRow(
                health=Health.GOOD,
                id="5d0c4f9e",
                what="template/tmpl/2/205",
                state="in progress",
                done_bytes=410 * MIB,
                total_bytes=1024 * MIB,
                percent=40,
                started=now - timedelta(seconds=40),
            ),
        ),
        uploads=(
            WorkRow(
                health=Health.BAD,
                id="1111-2222",
                what="TEMPLATE 206 in template/tmpl/2/206",
                state="ERROR",
                done_bytes=12 * MIB,
                total_bytes=300 * MIB,
                message="file receive failed or connection closed prematurely.",
                started=now - timedelta(minutes=9),
                is_running=False,
            ),
        ),
        transfers=(
            WorkRow(
                health=Health.GOOD,
                id="extract 198.51.100.4",
                what="ROOT-5.qcow2",
                state="sending to 198.51.100.4",
                done_bytes=700 * MIB,
                total_bytes=1024 * MIB,
                percent=68,
                started=now,
            ),
        ),
        links=(
            PublishedRow(
                key="0f1d/ROOT-5.qcow2",
                path="volumes/2/55/x.qcow2",
                created=now,
                expires=now + timedelta(days=6),
            ),
        ),
        certificates=(
            CertificateRow(
                health=Health.GOOD,
                use="web",
                subject="CN=*.example.com",
                issuer="CN=Example CA",
                not_after=now + timedelta(days=71),
                days_left=71,
            ),
        ),
        lanes=(LaneRow(name="normal", running=2, waiting=0),),
        warnings=(
            WarningRow(at=now, level="WARNING", text="download retried reason=connection reset"),
        ),
        counters=(
            CounterRow(
                name="ssvm_agent_sent_bytes",
                help="Bytes sent to clients",
                value=5.0,
                labels=(("area", "extract"),),
            ),
        ),
    )


def troubled_report(now: datetime = NOW) -> StatusReport:
    """The link is down, a store hangs, a certificate is about to expire."""
    report = full_report(now)
    assert report.link is not None
    return replace(
        report,
        link=replace(
            report.link,
            health=Health.BAD,
            state="waiting",
            failing_step="TLS",
            failures=4,
            last_error="10.1.1.20 presented a certificate this agent does not trust.",
        ),
        servers=tuple(replace(server, is_connected=False) for server in report.servers),
        stores=(
            replace(
                report.stores[0],
                health=Health.BAD,
                state="not responding",
                total_bytes=None,
                used_bytes=None,
                latency_ms=None,
                stuck_threads=2,
            ),
        ),
        certificates=(replace(report.certificates[0], health=Health.WARNING, days_left=9),),
    )
