# SPDX-License-Identifier: Apache-2.0
"""Host keys pinned in a file of our own. Blocking.

A line is ``NAME TYPE BASE64``, as in OpenSSH; NAME is ``[host]:port`` (port 22: ``host``), with
``@`` and the jump host added for what is reached through one, because link-local addresses repeat
from host to host.
Nothing is believed at first sight unless the operator says so: by the fingerprint, or by allowing
new keys. A key other than the recorded one needs its fingerprint in so many words.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssvm_agent.delivery.errors import HostKeyError
from ssvm_agent.delivery.keyfile import fingerprint_of
from ssvm_agent.host.files import atomic_write

if TYPE_CHECKING:
    from paramiko import PKey

_CHECK_IT: Final = "compare it on the console: ssh-keygen -lf /etc/ssh/ssh_host_ecdsa_key.pub"


class KnownHosts:
    """The file.

    Args:
        path: Made, with its directory, when the first key is recorded.
        trust_new: Whether keys of hosts without an entry are believed and recorded.
        record: False writes nothing, for dry runs.
    """

    def __init__(self, path: Path, *, trust_new: bool = False, record: bool = True) -> None:
        self.path = path
        self._trust_new = trust_new
        self._record = record
        self._lock = threading.Lock()

    def kinds(self, name: str) -> frozenset[str]:
        """Types of the keys on record for a host; ask it for one of these."""
        with self._lock:
            return frozenset(kind for kind, _ in _entries(self._read(), name))

    def verify(self, name: str, key: PKey, *, expected: str | None) -> None:
        """Hold a server's key against the operator's word, or else the record.

        Args:
            name: The server.
            key: What it shows.
            expected: The fingerprint the operator gave, or None.

        Raises:
            HostKeyError: It is not the one.
        """
        kind, blob = key.get_name(), key.asbytes()
        shown = fingerprint_of(blob)
        with self._locked() as text:
            recorded = _entries(text, name)
            if expected is not None and expected != shown:
                raise HostKeyError(
                    f"{name} does not show the host key that was given: it shows {shown},"
                    f" given was {expected}"
                )
            if (kind, blob) in recorded:
                return
            if expected is None and recorded:
                known = ", ".join(fingerprint_of(old) for _, old in recorded)
                raise HostKeyError(
                    f"The host key of {name} has changed: it shows {shown}, recorded is {known}."
                    " If the system VM was made anew, run again with --host-key and the"
                    " fingerprint it shows; otherwise somebody is in between",
                    detail=f"record in {self.path}; {_CHECK_IT}",
                )
            if expected is None and not self._trust_new:
                raise HostKeyError(
                    f"The host key of {name} is not known yet: it shows {shown}. Run again with"
                    f" --host-key {shown}, or --trust-new-host-key to record what is shown",
                    detail=_CHECK_IT,
                )
            if self._record:
                self._write(text, name, f"{name} {kind} {base64.b64encode(blob).decode()}\n")

    def _write(self, text: str, name: str, line: str) -> None:
        kept = [old for old in text.splitlines(keepends=True) if old.split(" ", 1)[0] != name]
        if kept and not kept[-1].endswith("\n"):
            kept[-1] += "\n"
        try:
            atomic_write(self.path, "".join([*kept, line]).encode(), mode=0o600)
        except OSError as error:
            raise HostKeyError(f"{self.path} cannot be written: {error.strerror}") from error

    def _read(self) -> str:
        try:
            return self.path.read_text("utf-8", "replace")
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise HostKeyError(f"{self.path} cannot be read: {error.strerror}") from error

    @contextmanager
    def _locked(self) -> Iterator[str]:
        """The text of the file, while neither a thread nor another process changes it."""
        with self._lock:
            if not self._record:
                yield self._read()
                return
            try:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock = self.path.with_name(f".{self.path.name}.lock").open("a")
            except OSError as error:
                raise HostKeyError(f"{self.path} cannot be written: {error.strerror}") from error
            with lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield self._read()


def _entries(text: str, name: str) -> list[tuple[str, bytes]]:
    """Type and key of each line for a host."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 3 or words[0] != name:
            continue
        try:
            found.append((words[1], base64.b64decode(words[2], validate=True)))
        except binascii.Error:
            continue
    return found
