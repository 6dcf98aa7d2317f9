# SPDX-License-Identifier: Apache-2.0
"""What came of an apply: one item for each thing that was compared. Pure data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Status(StrEnum):
    """What happened to an item."""

    UNCHANGED = "unchanged"
    """It was as wanted."""
    CHANGED = "changed"
    """It was made as wanted."""
    WOULD_CHANGE = "would change"
    """It differs, and this was a dry run."""
    SKIPPED = "skipped"
    """It does not apply here; the reason says why."""
    RESTORED = "restored"
    """It was changed, and taken back."""
    FAILED = "failed"
    """It is not as wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing of the machine, and what happened to it.

    Attributes:
        name: Such as ``file /etc/hosts``, ``interface eth1``, ``route default``.
        status: What happened.
        reason: What differed, or why it failed; never a secret.
    """

    name: str
    status: Status
    reason: str = ""


class Items:
    """The items of one apply, in the order they were looked at; a name stands once."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}

    def add(self, name: str, status: Status, reason: str = "") -> None:
        """Note an item; one of the same name is replaced where it stands."""
        self._items[name] = Item(name=name, status=status, reason=reason)

    def add_all(self, items: Iterable[Item]) -> None:
        """Note several."""
        for item in items:
            self._items[item.name] = item

    def take_back(self, names: Iterable[str], reason: str) -> None:
        """What was changed among these was restored."""
        for name in names:
            item = self._items.get(name)
            if item is not None and item.status is Status.CHANGED:
                self._items[name] = replace(item, status=Status.RESTORED, reason=reason)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyReport:
    """The result of an apply.

    Attributes:
        phase: Which part of the boot was carried out.
        plan_sha256: Which plan.
        dry_run: Nothing was changed.
        items: Everything that was looked at.
        rolled_back: Why the network was taken back; empty when it was not.
        management: What was found about the management servers, as a sentence; may be empty.
        oddities: What the boot text asks and cannot be followed.
    """

    phase: str
    plan_sha256: str
    dry_run: bool
    items: tuple[Item, ...]
    rolled_back: str = ""
    management: str = ""
    oddities: tuple[str, ...] = field(default=())

    @property
    def is_as_wanted(self) -> bool:
        """Whether the machine is what the plan says (or would be, for a dry run)."""
        return not self.rolled_back and not any(
            item.status in {Status.FAILED, Status.RESTORED} for item in self.items
        )

    @property
    def changed(self) -> int:
        """How many items were changed, or would be."""
        return sum(item.status in {Status.CHANGED, Status.WOULD_CHANGE} for item in self.items)

    def listing(self) -> dict[str, object]:
        """The report in the shape ``boot apply --json`` prints."""
        return {
            "phase": self.phase,
            "plan_sha256": self.plan_sha256,
            "dry_run": self.dry_run,
            "as_wanted": self.is_as_wanted,
            "changed": self.changed,
            "rolled_back": self.rolled_back,
            "management": self.management,
            "items": [
                {"name": item.name, "status": item.status.value, "reason": item.reason}
                for item in self.items
            ],
            "oddities": list(self.oddities),
        }
