# SPDX-License-Identifier: Apache-2.0
"""What a rotation has reached on each system VM, in a file that outlives it.

The file says which system VMs belong to the run and which are done; how far the others are is asked
of themselves, since a killed run may have got further than it could write down.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from ssvm_agent.delivery.errors import ConflictError, DeliveryError, UsageError
from ssvm_agent.delivery.targets import Target, parse_target
from ssvm_agent.host.files import atomic_write

_FORMAT: Final = 1


class Phase(StrEnum):
    """How far the exchange of keys is on one system VM; ``removing`` is said before it is tried."""

    WAITING = "waiting"
    ADDED = "added"
    VERIFIED = "verified"
    REMOVING = "removing"
    DONE = "done"


@dataclass(slots=True, kw_only=True)
class Record:
    """One system VM in the run."""

    target: Target
    phase: Phase = Phase.WAITING
    message: str = ""


@dataclass(slots=True, kw_only=True)
class RotationState:
    """One run.

    Attributes:
        path: The file; None keeps nothing, for dry runs.
        old: Fingerprint of the key that goes.
        new: Fingerprint of the key that comes.
        records: By the name of the target.
    """

    path: Path | None
    old: str
    new: str
    records: dict[str, Record] = field(default_factory=dict)

    def unfinished(self) -> bool:
        """Whether there is anything left to do."""
        return any(record.phase is not Phase.DONE for record in self.records.values())

    def save(self, now: datetime) -> None:
        """Write the file. Blocking.

        Raises:
            DeliveryError: It cannot be written.
        """
        if self.path is None:
            return
        targets = [
            {"target": one.target.line(), "phase": one.phase.value, "message": one.message}
            for one in self.records.values()
        ]
        content = {
            "format": _FORMAT,
            "old": self.old,
            "new": self.new,
            "written": now.isoformat(timespec="seconds"),
            "targets": targets,
        }
        try:
            atomic_write(self.path, (json.dumps(content, indent=2) + "\n").encode(), mode=0o600)
        except OSError as error:
            raise DeliveryError(f"{self.path} cannot be written: {error.strerror}") from error


def load(path: Path, *, old: str, new: str) -> RotationState:
    """The state of an interrupted run with these keys. Blocking.

    Raises:
        UsageError: There is none, or it is about other keys.
    """
    try:
        content: Any = json.loads(path.read_text("utf-8"))
        if content["format"] != _FORMAT:
            raise UsageError(f"{path} was written by another version")
        records = [
            Record(target=parse_target(one["target"]), phase=Phase(one["phase"]))
            for one in content["targets"]
        ]
        keys = (content["old"], content["new"])
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not the state of a rotation") from error
    if keys != (old, new):
        raise UsageError(f"{path} is about other keys", detail=f"old {keys[0]}, new {keys[1]}")
    return RotationState(
        path=path, old=old, new=new, records={one.target.name: one for one in records}
    )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other runs away from a state file. Blocking, but not for long.

    Raises:
        ConflictError: Another run uses it.
        DeliveryError: Its directory cannot be used.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock").open("a")
    except OSError as error:
        raise DeliveryError(f"{path} cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConflictError(f"Another run is at work with {path}") from error
        yield
