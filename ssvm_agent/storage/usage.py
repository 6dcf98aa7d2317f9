# SPDX-License-Identifier: Apache-2.0
"""How full a store is, and how much of it each account uses.

The capacity of a store comes from its file system, in time or not at all (requirements R22). Usage
per account would need a walk over the tree, so it is an index that is refreshed in the background
and never computed on request (requirements R23).
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Final

from ssvm_agent import log
from ssvm_agent.host.clock import Clock
from ssvm_agent.storage.errors import StorageError
from ssvm_agent.storage.layout import SNAPSHOTS, TEMPLATES, VOLUMES
from ssvm_agent.storage.stores import Store

_logger = logging.getLogger(__name__)

# Often enough for quotas, rarely enough for a server with millions of files.
REFRESH_EVERY_S: Final = 3600.0
_ACCOUNT_DEADLINE_S: Final = 900.0
# The unit of st_blocks, whatever the block size of the file system is.
_BLOCK_BYTES: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a file system says about itself.

    Attributes:
        total_bytes: All of it.
        used_bytes: What is taken; what is reserved for root counts as free.
    """

    total_bytes: int
    used_bytes: int


async def capacity(store: Store) -> Capacity:
    """The capacity of a store (storage-commands.md 1.5, 3.9).

    Raises:
        StoreUnavailableError: It did not answer in time.
    """
    found = await store.statvfs()
    total_bytes = found.f_blocks * found.f_frsize
    return Capacity(
        total_bytes=total_bytes, used_bytes=total_bytes - found.f_bfree * found.f_frsize
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreUsage:
    """What the accounts used of one store when it was last looked at.

    Attributes:
        measured: When the walk ended.
        bytes_by_account: Room on the store by account id.
    """

    measured: datetime
    bytes_by_account: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))


class UsageIndex:
    """Usage per account and store, as of the last refresh.

    Args:
        clock: For the time of measuring and the pauses.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_store: dict[str, StoreUsage] = {}

    def of(self, store: Store) -> StoreUsage | None:
        """The usage of a store; None as long as it was not measured. Never waits."""
        return self._by_store.get(store.directory_name)

    async def refresh(self, store: Store) -> StoreUsage:
        """Walk over a store, one account at a time.

        Raises:
            StorageError: It could not be read completely; the earlier figures stay.
        """
        totals: dict[int, int] = {}
        for top in (TEMPLATES, VOLUMES, SNAPSHOTS):
            names = await store.run(_accounts, store.root, top, what=f"list {top}")
            for name in names:
                used_bytes = await store.run(
                    _used, store.root / top / name, deadline_s=_ACCOUNT_DEADLINE_S,
                    what=f"measure {top / name}",
                )  # fmt: skip
                totals[int(name)] = totals.get(int(name), 0) + used_bytes
        usage = StoreUsage(measured=self._clock.now(), bytes_by_account=MappingProxyType(totals))
        self._by_store[store.directory_name] = usage
        return usage

    async def keep_fresh(self, stores: Callable[[], tuple[Store, ...]]) -> None:
        """Refresh all stores now and again, until cancelled; for a background task.

        Args:
            stores: Says which there are at the moment.
        """
        while True:
            for store in stores():
                try:
                    await self.refresh(store)
                except StorageError as error:
                    log.event(
                        _logger, logging.INFO, "usage not refreshed", store=store.ref.display,
                        reason=error.for_operators(),
                    )  # fmt: skip
            await self._clock.sleep(REFRESH_EVERY_S)


def _accounts(root: Path, top: PurePosixPath) -> list[str]:
    try:
        entries = list((root / top).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [entry.name for entry in entries if entry.name.isascii() and entry.name.isdigit()]


def _used(directory: Path) -> int:
    """The room a tree takes; what vanishes meanwhile takes none."""
    used_bytes = 0
    waiting = [directory]
    while waiting:
        try:
            entries = list(waiting.pop().iterdir())
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            try:
                found = entry.lstat()
            except FileNotFoundError:
                continue
            used_bytes += found.st_blocks * _BLOCK_BYTES
            if stat.S_ISDIR(found.st_mode):
                waiting.append(entry)
    return used_bytes
