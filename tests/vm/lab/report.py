# SPDX-License-Identifier: Apache-2.0
"""What a scenario leaves behind: a JSON file with a timeline, and a row of the table at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Scenario:
    """One scenario while it runs.

    Attributes:
        heal_s: From the end of the disturbance until all worked again; None where nothing broke.
        measured: Numbers worth keeping, by name.
    """

    name: str
    started: float = field(default_factory=time.monotonic)
    timeline: list[tuple[float, str]] = field(default_factory=list)
    result: str = "running"
    heal_s: float | None = None
    measured: dict[str, float | str] = field(default_factory=dict)

    def note(self, text: str) -> None:
        """Write an event into the timeline, with the seconds since the beginning."""
        self.timeline.append((round(time.monotonic() - self.started, 2), text))

    @contextmanager
    def healing(self, what: str) -> Iterator[None]:
        """Time the way back to normal; the slowest one counts."""
        self.note(f"healing: {what}")
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        self.heal_s = max(self.heal_s or 0.0, took)
        self.note(f"healed after {took:.1f} s: {what}")

    def end(self, result: str) -> None:
        """The last event."""
        self.result = result
        self.note(result)

    def as_json(self) -> dict[str, Any]:
        """What is written down."""
        return {
            "scenario": self.name,
            "result": self.result,
            "seconds": self.timeline[-1][0] if self.timeline else 0.0,
            "seconds_to_heal": None if self.heal_s is None else round(self.heal_s, 1),
            "measured": self.measured,
            "timeline": [{"at_s": at_s, "event": text} for at_s, text in self.timeline],
        }

    def write(self, folder: Path) -> Path:
        """Write the JSON file."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        path.write_text(json.dumps(self.as_json(), indent=2) + "\n")
        return path


def table(scenarios: list[Scenario]) -> list[str]:
    """The rows ``make vm`` ends with."""
    width = max((len(one.name) for one in scenarios), default=0)
    lines = [f"{'scenario':{width}}  {'result':8}  {'seconds':>7}  {'to heal':>7}  measured"]
    for one in scenarios:
        seconds = one.timeline[-1][0] if one.timeline else 0.0
        heal = "-" if one.heal_s is None else f"{one.heal_s:.1f}"
        measured = ", ".join(f"{name} {value}" for name, value in one.measured.items())
        lines.append(f"{one.name:{width}}  {one.result:8}  {seconds:7.1f}  {heal:>7}  {measured}")
    return [line.rstrip() for line in lines]
