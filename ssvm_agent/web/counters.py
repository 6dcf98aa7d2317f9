# SPDX-License-Identifier: Apache-2.0
"""Numbers the HTTP side counts about itself."""

from __future__ import annotations

from collections import Counter

from ssvm_agent.web.status_report import CounterRow


class WebCounters:
    """Requests, and bytes both ways."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._transfers: Counter[tuple[str, str]] = Counter()
        self._sent: Counter[str] = Counter()
        self._uploads: Counter[str] = Counter()
        self._received_bytes = 0

    def request(self, entrance: str, status: int) -> None:
        """A request was answered."""
        self._requests[entrance, status] += 1

    def transfer(self, area: str, outcome: str) -> None:
        """A file was sent, or a part of it."""
        self._transfers[area, outcome] += 1

    def sent(self, area: str, size_bytes: int) -> None:
        """A piece of a file was sent."""
        self._sent[area] += size_bytes

    def upload(self, outcome: str) -> None:
        """An upload ended."""
        self._uploads[outcome] += 1

    def received(self, size_bytes: int) -> None:
        """A piece of an upload arrived."""
        self._received_bytes += size_bytes

    def rows(self) -> tuple[CounterRow, ...]:
        """All of them."""
        rows = [
            CounterRow(
                name="ssvm_agent_http_requests",
                help="Answered requests",
                value=count,
                labels=(("entrance", entrance), ("status", str(status))),
            )
            for (entrance, status), count in sorted(self._requests.items())
        ]
        rows += [
            CounterRow(
                name="ssvm_agent_transfers",
                help="Files sent to clients",
                value=count,
                labels=(("area", area), ("outcome", outcome)),
            )
            for (area, outcome), count in sorted(self._transfers.items())
        ]
        rows += [
            CounterRow(
                name="ssvm_agent_sent_bytes",
                help="Bytes sent to clients",
                value=count,
                labels=(("area", area),),
            )
            for area, count in sorted(self._sent.items())
        ]
        rows += [
            CounterRow(
                name="ssvm_agent_uploads",
                help="Uploads that ended",
                value=count,
                labels=(("outcome", outcome),),
            )
            for outcome, count in sorted(self._uploads.items())
        ]
        rows.append(
            CounterRow(
                name="ssvm_agent_received_bytes",
                help="Bytes of upload bodies",
                value=self._received_bytes,
            )
        )
        return tuple(rows)
