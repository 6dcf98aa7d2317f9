# SPDX-License-Identifier: Apache-2.0
"""How full a store is, and how much of it each account uses.

The capacity of a store comes from its file system, in time or not at all (requirements R22). Usage
per account would need a walk over the tree, so it is an index that is refreshed in the background
and never computed on request (requirements R23).
"""

from __future__ import annotations

from dataclasses import dataclass

from ssvm_agent.storage.stores import Store


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
