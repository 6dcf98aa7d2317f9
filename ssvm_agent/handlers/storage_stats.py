# SPDX-License-Identifier: Apache-2.0
"""GetStorageStatsCommand: how full a store is (storage-commands.md 3.9)."""

from __future__ import annotations

from typing import Final

from ssvm_agent.dispatch.registry import Lane
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.handlers.mapping import store_ref
from ssvm_agent.messages.listing import GetStorageStatsAnswer, GetStorageStatsCommand
from ssvm_agent.storage.usage import capacity

# The server asks for each store about once a minute; a later answer is of no use.
_DEADLINE_S: Final = 55.0


@REGISTRY.command(
    GetStorageStatsCommand,
    GetStorageStatsAnswer,
    lane=Lane.CONTROL,
    deadline_s=_DEADLINE_S,
    changes=False,
)
async def handle(command: GetStorageStatsCommand, services: Services) -> GetStorageStatsAnswer:
    """The figures of the file system, or a failure: never 0 for unknown (requirements R22)."""
    ref = store_ref(command.store, nfs_version=command.nfs_version)
    found = await capacity(await services.stores.open(ref))
    return GetStorageStatsAnswer(
        used_bytes=found.used_bytes,
        capacity_bytes=found.total_bytes,
        # Compat: storage-commands.md 12: the names of 4.5.
        used=found.used_bytes,
        capacity=found.total_bytes,
    )
