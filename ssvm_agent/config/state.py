# SPDX-License-Identifier: Apache-2.0
"""What the agent remembers across restarts, in the ``agent.properties`` it shares with others.

The certificate scripts and the boot code read and write the same file, so every change rereads it,
touches only our keys and replaces the file atomically (agent-lifecycle.md 1.1). Methods that write
are blocking: call them through a pool. This module knows no commands and no connection.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ssvm_agent import javaproperties
from ssvm_agent.config.settings import Persisted
from ssvm_agent.errors import ConfigError
from ssvm_agent.masking import Secret

PASSPHRASE_KEY: Final = "keystore.passphrase"  # noqa: S105 - the name of the entry
# Compat: agent-lifecycle.md 4.1, the passphrase of a keystore made before one was ever stored.
DEFAULT_PASSPHRASE: Final = "vmops.com"  # noqa: S105 - a published default, not a secret
_SERVER_LIST_KEY: Final = "host"
_ENCODING: Final = "latin-1"


class AgentState:
    """Host identity, server list and keystore passphrase, kept in agent.properties.

    Thread-safe. A file that does not exist yet is made at the first write.
    """

    def __init__(self, path: Path, resource_class: str) -> None:
        """Start from what the file says now (blocking).

        Args:
            path: agent.properties.
            resource_class: Simple class name that prefixes the id, uuid and name keys.
        """
        self._path = path
        self._prefix = resource_class
        self._lock = threading.Lock()
        self._entries = read_properties(path)

    @property
    def host_id(self) -> int | None:
        """Database id of this host, ``None`` before the first Ready; never 0."""
        return read_host_id(self._entries, self._prefix)

    @property
    def host_uuid(self) -> str | None:
        """UUID of this host."""
        return self._entries.get(f"{self._prefix}.uuid") or None

    @property
    def host_name(self) -> str | None:
        """Name of this host in the database."""
        return self._entries.get(f"{self._prefix}.name") or None

    @property
    def server_list(self) -> str | None:
        """The ``host`` entry with its ``@algorithm``: what Startup reports as ``msHostList``."""
        return self._entries.get(_SERVER_LIST_KEY) or None

    def passphrase(self) -> Secret:
        """Passphrase of cloud.jks; the published default when none was stored."""
        return Secret(self._entries.get(PASSPHRASE_KEY) or DEFAULT_PASSPHRASE)

    def persisted(self) -> Persisted:
        """All of it as one value."""
        return read_persisted(self._entries, self._prefix)

    def refresh(self) -> None:
        """Reread the file: a certificate script may have changed it (blocking)."""
        with self._lock:
            self._entries = read_properties(self._path)

    def save_host(self, host_id: int, uuid: str, name: str) -> None:
        """Keep the identity the server gave us: one write, none when nothing changed (blocking).

        Id 0 is what a StartupAnswer carries before the host row is known; it is never stored
        (agent-lifecycle.md 0, fact 3).
        """
        if host_id <= 0:
            return
        values = {"id": str(host_id), "uuid": uuid, "name": name}
        self._write({f"{self._prefix}.{key}": value for key, value in values.items() if value})

    def save_servers(self, servers: Sequence[str], algorithm: str) -> None:
        """Keep ``host=<csv>@<algorithm>`` (agent-lifecycle.md 3.7; blocking)."""
        self._write({_SERVER_LIST_KEY: f"{','.join(servers)}@{algorithm}"})

    def blank_placement(self) -> None:
        """Forget zone, pod and cluster: the server removed this host (3.5; blocking)."""
        self._write(dict.fromkeys(("zone", "pod", "cluster"), ""), only_present=True)

    def keep_passphrase(self, offered: Secret) -> Secret:
        """Store an offered passphrase unless there is one already; returns the one in force.

        An existing passphrase always wins (agent-lifecycle.md 4.1; blocking).
        """
        self.refresh()
        present = self._entries.get(PASSPHRASE_KEY)
        if present:
            return Secret(present)
        self._write({PASSPHRASE_KEY: offered.reveal()})
        return offered

    def _write(self, changes: Mapping[str, str], *, only_present: bool = False) -> None:
        with self._lock:
            text = _read_text(self._path)
            entries = javaproperties.parse(text)
            pending = {
                key: value
                for key, value in changes.items()
                if entries.get(key) != value and (key in entries or not only_present)
            }
            if pending:
                text = javaproperties.update(text, pending)
                _replace(self._path, text.encode(_ENCODING))
            self._entries = entries | pending


def read_properties(path: Path) -> dict[str, str]:
    """Entries of a properties file; empty when there is none (blocking).

    Raises:
        ConfigError: The file exists but cannot be read.
    """
    return javaproperties.parse(_read_text(path))


def read_persisted(entries: Mapping[str, str], resource_class: str) -> Persisted:
    """The agent's own entries out of those of agent.properties."""
    return Persisted(
        host_id=read_host_id(entries, resource_class),
        host_uuid=entries.get(f"{resource_class}.uuid") or None,
        host_name=entries.get(f"{resource_class}.name") or None,
        server_list=entries.get(_SERVER_LIST_KEY) or None,
    )


def read_host_id(entries: Mapping[str, str], resource_class: str) -> int | None:
    """The stored host id; a stored 0 or anything unreadable counts as none."""
    text = entries.get(f"{resource_class}.id", "")
    return int(text) or None if text.isascii() and text.isdigit() and len(text) < 19 else None


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode(_ENCODING)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _replace(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp made it 0600, which is what a file with a passphrase needs (4.1).
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
