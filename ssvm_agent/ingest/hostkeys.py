# SPDX-License-Identifier: Apache-2.0
"""Host keys of scp sources: a known_hosts file, and first use recorded in so many words.

A host seen for the first time is trusted and written down with a log line that names its
fingerprint; from then on any other key of that host is refused. An operator may write the keys into
the file beforehand. Blocking.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ssvm_agent import log
from ssvm_agent.host.files import atomic_write
from ssvm_agent.ingest.errors import SourceFailedError

if TYPE_CHECKING:
    from paramiko import HostKeys as KeyTable
    from paramiko import PKey

_logger = logging.getLogger(__name__)


class HostKeys:
    """The known_hosts file.

    Args:
        path: The file; made when the first host is recorded.
        trust_first_use: Whether a host without an entry is trusted and recorded.
    """

    def __init__(self, path: Path, *, trust_first_use: bool = True) -> None:
        self._path = path
        self._trust_first_use = trust_first_use
        self._lock = threading.Lock()

    def known_types(self, host: str, port: int) -> tuple[str, ...]:
        """Key types on record for a host; ask the server for one of these."""
        with self._lock:
            entry = self._load().lookup(_name(host, port))
            return tuple(entry.keys()) if entry else ()

    def verify(self, host: str, port: int, key: PKey) -> None:
        """Hold a server's key against the record.

        Raises:
            SourceFailedError: Another key is on record, or none and first use is not trusted.
        """
        name = _name(host, port)
        fingerprint = _fingerprint(key)
        with self._lock:
            table = self._load()
            entry = table.lookup(name)
            if entry is not None and entry.get(key.get_name()) == key:
                return
            if entry:
                raise SourceFailedError(
                    f"The SSH host key of {host} is not the recorded one",
                    detail=f"shown {fingerprint}; record in {self._path}",
                )
            if not self._trust_first_use:
                raise SourceFailedError(
                    f"The SSH host key of {host} is unknown",
                    detail=f"shown {fingerprint}; add it to {self._path}",
                )
            self._record(name, key)
        log.event(
            _logger, logging.WARNING, "ssh host key trusted on first use", host=name,
            fingerprint=fingerprint, file=self._path,
        )  # fmt: skip

    def _load(self) -> KeyTable:
        from paramiko import HostKeys as KeyTable

        table = KeyTable()
        if self._path.exists():
            table.load(os.fspath(self._path))
        return table

    def _record(self, name: str, key: PKey) -> None:
        present = self._path.read_bytes() if self._path.exists() else b""
        if present and not present.endswith(b"\n"):
            present += b"\n"
        line = f"{name} {key.get_name()} {key.get_base64()}\n"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(self._path, present + line.encode(), mode=0o600)


def _name(host: str, port: int) -> str:
    return host if port == 22 else f"[{host}]:{port}"


def _fingerprint(key: PKey) -> str:
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"{key.get_name()} SHA256:{digest}"
