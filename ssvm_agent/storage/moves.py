# SPDX-License-Identifier: Apache-2.0
"""Moving a volume to another account of the same store (storage-commands.md 3.19)."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from ssvm_agent.host.files import fsync_directory
from ssvm_agent.storage.errors import ConflictError, NotFoundError
from ssvm_agent.storage.layout import VOLUMES, check_depth, check_relative
from ssvm_agent.storage.paths import is_plain_directory, make_directories, resolve_inside
from ssvm_agent.storage.stores import Store


async def move_volume(store: Store, source_path: str, target_path: str) -> None:
    """Rename the directory of a volume; nothing is overwritten.

    Args:
        store: Where it is.
        source_path: ``volumes/<account>/<id>``.
        target_path: The same below another account.

    Raises:
        PathEscapeError: A path is malformed or names more than one volume.
        NotFoundError: There is no such volume.
        ConflictError: There is something at the target.
        StorageError: It could not be renamed.
    """
    source = check_relative(source_path, strip_slash=True)
    target = check_relative(target_path, strip_slash=True)
    check_depth(source, VOLUMES, 2)
    check_depth(target, VOLUMES, 2)
    if source == target:
        raise ConflictError(f"{target} exists already")
    # In one order for everybody, so that two moves in opposite directions cannot block each other.
    first, second = sorted((str(source), str(target)))
    async with store.locks.hold(first), store.locks.hold(second):
        await store.run(_move, store.root, source, target, what=f"move {source} to {target}")


def _move(root: Path, source: PurePosixPath, target: PurePosixPath) -> None:
    origin = resolve_inside(root, source)
    if not is_plain_directory(origin):
        raise NotFoundError(f"The volume directory {source} does not exist")
    destination = resolve_inside(root, target)
    if os.path.lexists(destination):
        raise ConflictError(f"{target} exists already")
    make_directories(root, target.parent)
    origin.rename(destination)
    fsync_directory(destination.parent)
    fsync_directory(origin.parent)
