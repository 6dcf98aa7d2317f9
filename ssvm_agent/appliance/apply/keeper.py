# SPDX-License-Identifier: Apache-2.0
"""Keeps the record of an apply up to date while it runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ssvm_agent.appliance.apply import record
from ssvm_agent.appliance.apply.changes import Owned
from ssvm_agent.appliance.apply.record import Record
from ssvm_agent.appliance.apply.report import Items, Status
from ssvm_agent.host.pools import WorkPool

_ITEM = "record"


class Keeper:
    """The record on disk; a dry run writes nothing.

    Attributes:
        last: What the apply before this one left.
        owned: What is ours on the running network by now.
        owned_at_start: What was.
    """

    def __init__(
        self, *, path: Path, pool: WorkPool, items: Items, last: Record, current: Record,
        dry_run: bool,
    ) -> None:  # fmt: skip
        self._path = path
        self._pool = pool
        self._items = items
        self._dry_run = dry_run
        self._current = current
        self.last = last
        self.owned_at_start = last.owned_in(current.boot_id)
        self.owned = self.owned_at_start

    async def own(self, owned: Owned) -> None:
        """Note what is ours, before it is made."""
        if owned != self.owned:
            self.owned = owned
            await self.note()

    async def note(self, **values: object) -> None:
        """Write the record with these values."""
        self._current = replace(
            self._current,
            addresses=record.addresses_of(self.owned),
            routes=record.routes_of(self.owned),
            **values,  # type: ignore[arg-type]  # names and types are those of Record
        )
        if self._dry_run:
            return
        try:
            await self._pool.call(record.write, self._path, self._current)
        except OSError as error:
            self._items.add(_ITEM, Status.FAILED, f"{self._path}: {error.strerror}")
