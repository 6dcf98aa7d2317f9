# SPDX-License-Identifier: Apache-2.0
"""QuerySnapshotZoneCopyCommand: what another zone has to fetch (storage-commands.md 3.19)."""

from __future__ import annotations

from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.handlers.mapping import required, store_ref
from ssvm_agent.messages.files import QuerySnapshotZoneCopyAnswer, QuerySnapshotZoneCopyCommand
from ssvm_agent.messages.names import HypervisorType
from ssvm_agent.storage.snapshots import snapshot_files


@REGISTRY.command(QuerySnapshotZoneCopyCommand, QuerySnapshotZoneCopyAnswer, changes=False)
async def handle(
    command: QuerySnapshotZoneCopyCommand, services: Services
) -> QuerySnapshotZoneCopyAnswer:
    """The paths of all files of a snapshot.

    Differs: storage-commands.md 3.19: files that could not be listed are a failure; half a snapshot
    must not be copied to another zone.
    """
    snapshot = required(command.snapshot, "snapshot")
    path = required(snapshot.path, "snapshot.path")
    store = await services.stores.open(store_ref(snapshot.data_store))
    is_one_file = snapshot.hypervisor_type == HypervisorType.KVM
    return QuerySnapshotZoneCopyAnswer(
        files=await snapshot_files(store, path, is_one_file=is_one_file)
    )
