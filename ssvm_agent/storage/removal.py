# SPDX-License-Identifier: Apache-2.0
"""Deleting templates, volumes, snapshots and backups: all of the object, nothing beside it.

Theory of operation: a command names an object by the path of its file. From that path follows one
directory that belongs to the object alone (its depth is checked, so that an account or a whole tree
is never meant), or, for a snapshot, the entries of a shared directory that carry its name. What is
found there is removed recursively without following links, its properties file first, so that the
object vanishes from lists in one step. Then empty directories above it go, down to that of the
account, which stays. Deleting what is not there is a success (requirements R13).

A directory into which another agent has just written is left alone: its download would otherwise
go on into nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from ssvm_agent.storage.errors import ConflictError, PathEscapeError
from ssvm_agent.storage.layout import (
    CHECKPOINTS,
    SNAPSHOTS,
    TEMPLATES,
    VOLUMES,
    ImageKind,
    belongs_to_snapshot,
    check_depth,
    check_relative,
    parse_temporary,
    properties_name,
    top_of,
    word_of,
)
from ssvm_agent.storage.paths import is_plain_directory, resolve_inside
from ssvm_agent.storage.stores import Store
from ssvm_agent.storage.sweeps import last_change
from ssvm_agent.storage.trees import remove_entry, remove_tree

# A tree of many files on a busy server; still below the patience for a command.
_DEADLINE_S: Final = 1500.0
# A temporary that was written to this recently belongs to an agent at work. Longer than the idle
# time-outs of a transfer with a pause for a retry, and than what clocks of servers differ by.
_AT_WORK_S: Final = 600.0
# An object of a tree has an account and an id; a snapshot a name besides.
_OBJECT: Final = 2
_NAMED: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What a deletion did.

    Attributes:
        directory: The directory that was emptied or removed, relative to the store.
        existed: Whether there was anything.
    """

    directory: PurePosixPath
    existed: bool


async def remove_image(
    store: Store, kind: ImageKind, path: str, image_id: int, *, owner: str
) -> Removal:
    """Delete a template or volume with everything in its directory (storage-commands.md 3.13).

    Args:
        store: Where it is.
        kind: TEMPLATE or VOLUME.
        path: Its install path; names the file or the directory.
        image_id: Decides what a path that does not exist names.
        owner: Host name of this agent.

    Raises:
        PathEscapeError: The path is malformed or names more than one object.
        ConflictError: Another agent is writing it.
        StorageError: It could not be deleted completely.
    """
    wanted = check_relative(path, strip_slash=True)
    check_depth(wanted, top_of(kind), _OBJECT)
    is_directory = await store.run(_is_directory, store.root, wanted, what=f"find {wanted}")
    # Compat: storage-commands.md 3.13: a path that does not exist is the directory when it ends in
    # the id, else the file in it.
    directory = wanted if is_directory or wanted.name == str(image_id) else wanted.parent
    check_depth(directory, top_of(kind), _OBJECT)
    marker = properties_name(kind)
    assert marker is not None
    remove = partial(_remove_directory, store.root, directory, marker, owner)
    return await _locked(store, directory, _below(top_of(kind)), remove)


async def remove_snapshot(store: Store, path: str, checkpoint_path: str | None = None) -> Removal:
    """Delete a snapshot: every entry of its directory that is named after it, and its checkpoint.

    Differs: storage-commands.md 3.13: names are compared, not globbed, so that a snapshot whose
    name begins with this one's stays. A path that is a directory is left alone, as ever.

    Raises:
        PathEscapeError: A path is malformed or names more than one object.
        StorageError: Something could not be deleted.
    """
    wanted = check_relative(path, strip_slash=True)
    check_depth(wanted, SNAPSHOTS, _NAMED)
    checkpoint = _checkpoint(checkpoint_path)
    directory = wanted.parent
    remove = partial(_remove_named, store.root, wanted)
    removal = await _locked(store, directory, _below(SNAPSHOTS), remove)
    if checkpoint is not None:
        remove = partial(_remove_one, store.root, checkpoint)
        await _locked(store, checkpoint.parent, _below(CHECKPOINTS), remove)
    return removal


async def remove_snapshots_directory(store: Store, directory: str) -> Removal:
    """Delete all snapshots of one volume (storage-commands.md 3.14).

    Raises:
        PathEscapeError: The directory is not that of one volume.
        StorageError: Something could not be deleted.
    """
    wanted = check_relative(directory, strip_slash=True)
    check_depth(wanted, SNAPSHOTS, _OBJECT)
    remove = partial(_remove_directory, store.root, wanted, None, "")
    return await _locked(store, wanted, _below(SNAPSHOTS), remove)


async def remove_backup(store: Store, path: str, screenshot_path: str | None = None) -> Removal:
    """Delete a backup and its screenshot (storage-commands.md 3.13, 4.23).

    Raises:
        PathEscapeError: A path is malformed or too short to name one backup.
        StorageError: Something could not be deleted.
    """
    wanted = _check_backup(path)
    screenshot = _check_backup(screenshot_path) if screenshot_path else None
    removal = await _remove_exactly(store, wanted)
    if screenshot is not None:
        await _remove_exactly(store, screenshot)
    return removal


def _check_backup(path: str) -> PurePosixPath:
    """Where backups are kept is the server's choice; in the known trees, not above one object."""
    wanted = check_relative(path, strip_slash=True)
    for top in (TEMPLATES, VOLUMES, SNAPSHOTS, CHECKPOINTS):
        if wanted.parts[0] == top.parts[0]:
            check_depth(wanted, top, _NAMED)
    check_depth(wanted, PurePosixPath(wanted.parts[0]), _OBJECT)
    return wanted


async def _remove_exactly(store: Store, path: PurePosixPath) -> Removal:
    remove = partial(_remove_one, store.root, path)
    # Compat: storage-commands.md 3.13: only the directory of the file is tidied.
    return await _locked(store, path.parent, len(path.parts) - 2, remove)


def _below(top: PurePosixPath) -> int:
    """How many components stay: the directory of the account, as others may be creating in it."""
    return len(top.parts) + 1


async def _locked(
    store: Store, directory: PurePosixPath, lowest: int, remove: Callable[[], Removal]
) -> Removal:
    """Remove under the lock of the directory, then prune what is empty above it."""
    async with store.locks.hold(str(directory)):
        removal = await store.run(remove, deadline_s=_DEADLINE_S, what=f"delete {directory}")
        await store.run(_prune, store.root, directory, lowest, what=f"tidy {directory}")
    return removal


def _is_directory(root: Path, path: PurePosixPath) -> bool:
    return is_plain_directory(resolve_inside(root, path))


def _remove_directory(
    root: Path, directory: PurePosixPath, marker: str | None, owner: str
) -> Removal:
    place = resolve_inside(root, directory)
    if not is_plain_directory(place):
        return Removal(directory=directory, existed=False)
    if owner:
        _refuse_others_at_work(place, directory, owner)
    if marker is not None:
        with contextlib.suppress(FileNotFoundError):
            (place / marker).unlink()
    remove_tree(place)
    return Removal(directory=directory, existed=True)


def _refuse_others_at_work(place: Path, directory: PurePosixPath, owner: str) -> None:
    for entry in place.iterdir():
        writer = parse_temporary(entry.name)
        if writer is None or writer.owner == word_of(owner):
            continue
        with contextlib.suppress(FileNotFoundError):
            if time.time() - last_change(entry) < _AT_WORK_S:
                raise ConflictError(
                    f"{directory} is being written by {writer.owner}; try again when that has ended"
                )


def _remove_named(root: Path, path: PurePosixPath) -> Removal:
    if is_plain_directory(resolve_inside(root, path)):
        # Compat: storage-commands.md 3.13
        return Removal(directory=path.parent, existed=True)
    place = resolve_inside(root, path.parent)
    try:
        names = [entry.name for entry in place.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return Removal(directory=path.parent, existed=False)
    for name in names:
        if belongs_to_snapshot(name, path.name):
            remove_entry(place / name)
    return Removal(directory=path.parent, existed=True)


def _remove_one(root: Path, path: PurePosixPath) -> Removal:
    """Remove a single file or tree by its exact name."""
    place = resolve_inside(root, path)
    existed = os.path.lexists(place)
    if existed:
        remove_entry(place)
    return Removal(directory=path.parent, existed=existed)


def _prune(root: Path, directory: PurePosixPath, lowest: int) -> None:
    """Remove a directory and its parents as far as they are empty; ``lowest`` parts stay."""
    while len(directory.parts) > lowest:
        try:
            resolve_inside(root, directory).rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return
        directory = directory.parent


def _checkpoint(path: str | None) -> PurePosixPath | None:
    """The file of a checkpoint; what is before ``checkpoints`` in its path belongs to a host."""
    if not path:
        return None
    _, separator, rest = f"/{path}".partition(f"/{CHECKPOINTS}/")
    if not separator:
        raise PathEscapeError("The path of the checkpoint is not below checkpoints")
    checkpoint = check_relative(f"{CHECKPOINTS}/{rest}")
    check_depth(checkpoint, CHECKPOINTS, _NAMED)
    return checkpoint
