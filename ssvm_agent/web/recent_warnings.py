# SPDX-License-Identifier: Apache-2.0
"""The last warnings of the log, for the status page."""

from __future__ import annotations

import logging
from collections import deque
from datetime import UTC, datetime
from typing import Final

from ssvm_agent.masking import mask_text
from ssvm_agent.web.status_report import WarningRow

_KEPT: Final = 50
_MAX_CHARS: Final = 500


class RecentWarnings(logging.Handler):
    """A log handler that remembers; add it to the root logger."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._rows: deque[WarningRow] = deque(maxlen=_KEPT)
        self.counts: dict[str, int] = {}
        """Records by level name since the start."""

    @property
    def rows(self) -> tuple[WarningRow, ...]:
        """Newest first."""
        return tuple(reversed(self._rows))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record; never fails, never blocks."""
        fields = getattr(record, "event_fields", ())
        tail = "".join(f" {name}={value}" for name, value in fields if value is not None)
        text = mask_text(record.getMessage() + tail)[:_MAX_CHARS]
        self.counts[record.levelname] = self.counts.get(record.levelname, 0) + 1
        self._rows.append(
            WarningRow(
                at=datetime.fromtimestamp(record.created, UTC), level=record.levelname, text=text
            )
        )
