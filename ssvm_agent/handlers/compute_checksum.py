# SPDX-License-Identifier: Apache-2.0
"""ComputeChecksumCommand: the digest of a file on a store (storage-commands.md 3.10)."""

from __future__ import annotations

from ssvm_agent.dispatch.registry import Lane
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.handlers.mapping import required, store_ref
from ssvm_agent.messages.base import Answer
from ssvm_agent.messages.files import ComputeChecksumCommand
from ssvm_agent.messages.stores import NfsTO
from ssvm_agent.storage.checksums import compute_checksum
from ssvm_agent.storage.errors import UnsupportedStoreError

_DEFAULT_ALGORITHM = "MD5"


@REGISTRY.command(
    ComputeChecksumCommand, Answer, lane=Lane.LONG, honours_wait=True, changes=False
)  # fmt: skip
async def handle(command: ComputeChecksumCommand, services: Services) -> Answer:
    """``{<algorithm as given>}<hex>``, which the server takes as the checksum word for word."""
    if not isinstance(command.store, NfsTO):
        # Compat: storage-commands.md 3.10
        raise UnsupportedStoreError("can't handle non nfs data store")
    path = required(command.template_path, "templatePath")
    algorithm = command.algorithm or _DEFAULT_ALGORITHM
    store = await services.stores.open(store_ref(command.store, nfs_version=command.nfs_version))
    digest = await compute_checksum(store, path, algorithm)
    return Answer(details=f"{{{algorithm}}}{digest}")
