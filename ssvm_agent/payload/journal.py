# SPDX-License-Identifier: Apache-2.0
"""How far an installation came, on disk before it goes there, so that the next run can mend."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from ssvm_agent.payload.places import Places, replace_file

_FORMAT: Final = 1


class Stage(StrEnum):
    """How far it came; see docs/payload.md."""

    STAGED = "staged"
    SWITCHED = "switched"
    CONFIRMED = "confirmed"
    ROLLED_BACK = "rolled-back"
    UNDOING = "undoing"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One installation.

    Attributes:
        stage: How far it came.
        release: What was to be installed.
        before: The release that was current before; None for the machine's own service.
        previous: The one an undo would have led to before.
        started: When it began.
        changed: When it came to this stage.
        replaces: The invocation of the agent that ran when it began.
        reason: Why it was taken back; empty otherwise.
    """

    stage: Stage
    release: str
    before: str | None
    previous: str | None
    started: str
    changed: str
    replaces: str
    reason: str = ""

    def at(self, stage: Stage, now: datetime, reason: str = "") -> Self:
        """The same installation, further on."""
        return replace(self, stage=stage, changed=_text(now), reason=reason)


def begin(release: str, places: Places, now: datetime, replaces: str) -> Record:
    """The record of an installation that begins beside a running agent."""
    text = _text(now)
    return Record(
        stage=Stage.STAGED,
        release=release,
        before=places.release("current"),
        previous=places.release("previous"),
        started=text,
        changed=text,
        replaces=replaces,
    )


def write(path: Path, record: Record) -> None:
    """Note a stage; it is on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    document = {"format": _FORMAT, **asdict(record)}
    replace_file(path, json.dumps(document, indent=1).encode() + b"\n")


def read(path: Path) -> Record | None:
    """The last installation; None when there was none, or its record is not readable any more."""
    try:
        document = json.loads(path.read_bytes())
        return Record(
            stage=Stage(document["stage"]),
            release=str(document["release"]),
            before=document["before"],
            previous=document["previous"],
            started=str(document["started"]),
            changed=str(document["changed"]),
            replaces=str(document["replaces"]),
            reason=str(document["reason"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _text(now: datetime) -> str:
    return now.isoformat(timespec="seconds")
