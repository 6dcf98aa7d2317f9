# SPDX-License-Identifier: Apache-2.0
"""A small JSON document on local disk that outlives the process.

Holds what the web side must remember over a restart: published links and the ends of uploads. The
last state wins: saves that come while one is being written are merged into the next. A document
that cannot be read is put aside and reported, never a reason not to start.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ssvm_agent.host.files import atomic_write
from ssvm_agent.host.pools import WorkPool

_logger = logging.getLogger(__name__)

_DEADLINE_S: Final = 30.0
# Thousands of entries, hundreds with the largest OVF; more than that was not written by us.
_MAX_BYTES: Final = 256 << 20


class StateFile:
    """One document.

    Args:
        path: Its directory is made when it is first saved.
        pool: Threads for the local disk.
    """

    def __init__(self, path: Path, pool: WorkPool) -> None:
        self._path = path
        self._pool = pool
        self._lock = threading.Lock()
        self._latest = 0
        self._written = 0

    async def load(self) -> dict[str, Any]:
        """The document; empty when there is none or it is unusable."""
        return await self._pool.call(_read, self._path, deadline_s=_DEADLINE_S)

    async def save(self, document: Mapping[str, object]) -> None:
        """Write the document; returns when it, or a later one, is on disk.

        Raises:
            OSError: It could not be written.
        """
        self._latest += 1
        data = json.dumps(document, separators=(",", ":")).encode()
        await self._pool.call(self._write, data, self._latest, deadline_s=_DEADLINE_S)

    def _write(self, data: bytes, number: int) -> None:
        """Blocking; a write whose caller has gone may come late, but never over a later one."""
        with self._lock:
            if number <= self._written:
                return
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            atomic_write(self._path, data, mode=0o600)
            self._written = number


def _read(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        document = json.loads(data[:_MAX_BYTES])
    except (ValueError, RecursionError) as error:
        return _put_aside(path, str(error))
    if not isinstance(document, dict):
        return _put_aside(path, "it is not an object")
    return document


def _put_aside(path: Path, reason: str) -> dict[str, Any]:
    aside = path.with_name(path.name + ".unreadable")
    path.replace(aside)
    _logger.warning("state file unreadable file=%s kept=%s reason=%s", path, aside, reason)
    return {}
