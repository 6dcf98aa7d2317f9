# SPDX-License-Identifier: Apache-2.0
"""Which files a snapshot consists of (storage-commands.md 3.19, QuerySnapshotZoneCopyCommand)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ssvm_agent.storage.errors import NotFoundError
from ssvm_agent.storage.layout import (
    SNAPSHOTS,
    belongs_to_snapshot,
    check_depth,
    check_relative,
    is_temporary,
)
from ssvm_agent.storage.paths import is_plain_file, resolve_inside
from ssvm_agent.storage.stores import Store


async def snapshot_files(store: Store, path: str, *, is_one_file: bool = False) -> list[str]:
    """The paths of the files, relative to the store and in order.

    A snapshot that is a file is that file. Otherwise it is the files called after it, or every file
    of the directory it is in: the disks of a VMware snapshot, the chain of a XenServer one.

    Args:
        store: Where it is.
        path: Of the snapshot.
        is_one_file: Whether it can only be one file, as those of KVM are.

    Raises:
        PathEscapeError: The path is malformed or names more than one snapshot.
        NotFoundError: There is no such snapshot.
        StorageError: The directory cannot be read.
    """
    wanted = check_relative(path, strip_slash=True)
    check_depth(wanted, SNAPSHOTS, 3)
    found = await store.run(_files, store.root, wanted, is_one_file, what=f"list {wanted.parent}")
    if not found:
        raise NotFoundError(f"The snapshot {wanted} does not exist on the secondary storage")
    return found


def _files(root: Path, wanted: PurePosixPath, is_one_file: bool) -> list[str]:
    if is_plain_file(resolve_inside(root, wanted)):
        return [str(wanted)]
    directory = resolve_inside(root, wanted.parent)
    try:
        entries = sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    names = [
        entry.name for entry in entries if is_plain_file(entry) and not is_temporary(entry.name)
    ]
    if wanted.parent.name != wanted.name:
        # Differs: storage-commands.md 3.19: other snapshots lie in the same directory.
        own = [name for name in names if belongs_to_snapshot(name, wanted.name)]
        names = own if own or is_one_file else names
    return [str(wanted.parent / name) for name in names]
