# SPDX-License-Identifier: Apache-2.0
"""What the status page, ``/status.json``, the metrics and ``ssvm-agent status`` show.

Plain data, filled by whoever knows (:class:`StatusSource`, implemented where everything is put
together). Nothing in it is a secret; texts are for operators. Sizes in bytes, times aware UTC.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol

# Changes when a field changes its meaning or goes away.
SCHEMA: Final = 1


class Health(StrEnum):
    """How something is doing."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRow:
    """The connection to the management servers."""

    health: Health
    state: str
    server: str
    since: datetime
    host_id: int | None = None
    failing_step: str = ""
    last_error: str = ""
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRow:
    """One management server."""

    name: str
    is_connected: bool
    is_avoided: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRow:
    """One secondary store. Unknown figures are ``None``, never 0 (R22)."""

    health: Health
    name: str
    url: str
    state: str
    total_bytes: int | None = None
    used_bytes: int | None = None
    latency_ms: float | None = None
    version: str = ""
    stuck_threads: int = 0
    message: str = ""
    """What is wrong, one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkRow:
    """Something under way, or that just ended: a download, an upload, a transfer to a client.

    ``is_running`` holds for what waits for its turn as well; ``is_waiting`` only for that.
    """

    health: Health
    id: str
    what: str
    state: str
    done_bytes: int
    total_bytes: int | None = None
    percent: int | None = None
    message: str = ""
    started: datetime | None = None
    is_running: bool = True
    is_waiting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One extract link."""

    key: str
    path: str
    created: datetime
    expires: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRow:
    """One certificate in use."""

    health: Health
    use: str
    subject: str
    issuer: str
    not_after: datetime
    days_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneRow:
    """One lane of commands."""

    name: str
    running: int
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningRow:
    """A recent warning or error of the log."""

    at: datetime
    level: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterRow:
    """A number that only grows; ``name`` and labels are those of the metric."""

    name: str
    help: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramRow:
    """Durations in seconds, sorted by size; ``name`` and labels are those of the metric.

    Attributes:
        bounds: Upper bounds of all buckets but the last, which has none.
        counts: How many fell into each bucket; one more than bounds.
        sum: All durations together.
    """

    name: str
    help: str
    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """Everything at one moment."""

    version: str
    host_name: str
    now: datetime
    started: datetime
    link: LinkRow | None = None
    servers: tuple[ServerRow, ...] = ()
    stores: tuple[StoreRow, ...] = ()
    downloads: tuple[WorkRow, ...] = ()
    uploads: tuple[WorkRow, ...] = ()
    transfers: tuple[WorkRow, ...] = ()
    links: tuple[PublishedRow, ...] = ()
    certificates: tuple[CertificateRow, ...] = ()
    lanes: tuple[LaneRow, ...] = ()
    warnings: tuple[WarningRow, ...] = ()
    counters: tuple[CounterRow, ...] = ()
    histograms: tuple[HistogramRow, ...] = ()
    schema: int = field(default=SCHEMA)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong now, one sentence each; empty when all is well."""
        found = []
        if self.link is not None and self.link.health is not Health.GOOD:
            reason = self.link.last_error or self.link.state
            found.append(f"No management server is in charge of this agent: {reason}")
        found.extend(
            store.message or f"The secondary storage {store.url} is {store.state}."
            for store in self.stores
            if store.health is Health.BAD
        )
        found.extend(
            f"The {one.use} certificate {one.subject} {_expiry(one.days_left)}."
            for one in self.certificates
            if one.health is not Health.GOOD
        )
        return tuple(found)

    @property
    def health(self) -> Health:
        """The worst of all parts."""
        found = {store.health for store in self.stores}
        found |= {certificate.health for certificate in self.certificates}
        if self.link is not None:
            found.add(self.link.health)
        for health in (Health.BAD, Health.WARNING):
            if health in found:
                return health
        return Health.GOOD

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; times in ISO 8601."""
        document = _plain(asdict(self))
        assert isinstance(document, dict)
        return {"health": self.health.value, "problems": list(self.problems), **document}


class StatusSource(Protocol):
    """Whoever can make a report; never waits for anything slow."""

    async def report(self) -> StatusReport:
        """The state now."""
        ...


def certificate_health(days_left: int) -> Health:
    """Red for what has expired, yellow for what soon will."""
    if days_left < 0:
        return Health.BAD
    return Health.WARNING if days_left < 14 else Health.GOOD


def _expiry(days_left: int) -> str:
    days = "1 day" if abs(days_left) == 1 else f"{abs(days_left)} days"
    return f"expired {days} ago" if days_left < 0 else f"expires in {days}"


def _plain(value: object) -> object:
    match value:
        case datetime():
            return value.isoformat()
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
