# SPDX-License-Identifier: Apache-2.0
"""Laying the members of an OVA beside it, as VMware deployments expect (storage-commands.md 7).

Blocking. The archive is kept; its members are copied inside the store without passing through this
process where the file system can do that.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Collection
from dataclasses import dataclass, field

from ssvm_agent.images.archive import unpack
from ssvm_agent.images.ovf import OvfFacts
from ssvm_agent.images.ovf_disks import DataDisk, data_disks
from ssvm_agent.ingest.errors import AbortedError
from ssvm_agent.ingest.install import Reservation


@dataclass(slots=True)
class Unpacking:
    """One archive being unpacked; :meth:`stop` ends a :meth:`run` that nobody waits for any more.

    Attributes:
        names: The files that lie there after a successful run.
    """

    reservation: Reservation
    facts: OvfFacts
    names: tuple[str, ...] = ()
    _stopped: threading.Event = field(default_factory=threading.Event)

    def run(self, protected: Collection[str]) -> tuple[DataDisk, ...]:
        """Unpack, and hold the disks the descriptor names against what came out.

        Args:
            protected: Names no member may have.

        Raises:
            ImageError: A member or a disk is not acceptable; nothing is left.
            AbortedError: It was stopped; nothing is left.
            OSError: The store failed; nothing is left.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        archive = os.open(self.reservation.temporary, flags)
        directory = os.open(self.reservation.directory, flags | os.O_DIRECTORY)
        try:
            members = unpack(
                archive,
                directory,
                temporary_prefix=f"{self.reservation.temporary.name}.",
                protected={self.reservation.temporary.name, *protected},
                on_progress=self._look,
            )
        finally:
            os.close(directory)
            os.close(archive)
        self.names = tuple(member.name for member in members)
        try:
            # Names are set before this look, so whoever stops us finds them or we find the stop.
            self._look(0)
            return data_disks(self.facts, {m.name: m.size_bytes for m in members})
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Take the members away again."""
        for name in self.names:
            with contextlib.suppress(FileNotFoundError):
                (self.reservation.directory / name).unlink()
        self.names = ()

    def stop(self) -> None:
        """Let a run end soon; callable from any thread."""
        self._stopped.set()

    def _look(self, _copied: int) -> None:
        if self._stopped.is_set():
            raise AbortedError("Unpacking was stopped")
