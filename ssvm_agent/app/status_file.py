# SPDX-License-Identifier: Apache-2.0
"""The state of the link as a small JSON file and as the service manager's status line (R1).

``ssvm-check`` and people without access to the status page read the file. Changes come faster than
a disk writes: only the latest is written.
"""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Final

from ssvm_agent import log
from ssvm_agent.errors import AgentError
from ssvm_agent.host.files import atomic_write
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.systemd import invocation, notify
from ssvm_agent.link.status import LinkStatus

_LOGGER: Final = logging.getLogger(__name__)
_DEADLINE_S: Final = 10.0


class StatusFile:
    """Publishes each change of the link.

    Args:
        path: The file.
        pool: Threads for the local disk.
    """

    def __init__(self, path: Path, pool: WorkPool) -> None:
        self._path = path
        self._pool = pool
        self._latest: LinkStatus | None = None
        self._changed = asyncio.Event()

    def update(self, status: LinkStatus) -> None:
        """Take a new status; returns at once."""
        self._latest = status
        self._changed.set()
        notify(f"STATUS={sentence(status)}")

    async def run(self) -> None:
        """Write whenever something changed, for ever; a disk that fails is reported once."""
        failed = False
        while True:
            await self._changed.wait()
            self._changed.clear()
            assert self._latest is not None
            try:
                data = as_json(self._latest)
                await self._pool.call(_write, self._path, data, deadline_s=_DEADLINE_S)
                failed = False
            except (OSError, AgentError) as error:
                level = logging.DEBUG if failed else logging.WARNING
                log.event(_LOGGER, level, "status file not written", path=self._path, reason=error)
                failed = True


def sentence(status: LinkStatus) -> str:
    """The status in one line for people."""
    where = f" ({status.server})" if status.server else ""
    if status.last_error and not status.is_ready:
        return f"{status.state.value}{where}; last error: {status.last_error}"
    return f"{status.state.value}{where}"


def as_json(status: LinkStatus) -> bytes:
    """The status for programs."""
    fields = {
        "schema": 1,
        "state": status.state.value,
        "since": status.since.isoformat(),
        "server": status.server,
        "failing_step": status.failing_step.value if status.failing_step else None,
        "last_error": status.last_error,
        "failures": status.failures,
        "trust": status.trust,
        "host_id": status.host_id,
        "servers": list(status.servers),
        "avoid": list(status.avoid),
        # Tells the word of this process from that of the one before, whatever the clock does.
        "invocation": invocation(),
    }
    return json.dumps(fields, indent=1).encode() + b"\n"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, data)
