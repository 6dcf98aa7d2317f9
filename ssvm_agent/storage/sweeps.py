# SPDX-License-Identifier: Apache-2.0
"""Removing what an earlier process of this agent left behind (requirements R13).

Only temporaries that carry our own name are touched, and of those only files that no job claims and
that were last changed before this process began. What another agent writes is never touched,
however old it is: whether that agent is gone is not for us to say (the orphan report shows it).

When the process began is told by the clock of the store, which a file made for that purpose shows:
clocks differ. What counts is the change time; a copy has the modification time of its source.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Final

from ssvm_agent.storage.layout import (
    SNAPSHOTS,
    TEMPLATES,
    VOLUMES,
    ImageKind,
    is_temporary,
    parse_temporary,
    properties_name,
    temporary_name,
    word_of,
)
from ssvm_agent.storage.paths import FILE_MODE, is_plain_directory
from ssvm_agent.storage.stores import Store

_TREES: Final = (
    (TEMPLATES, ImageKind.TEMPLATE),
    (VOLUMES, ImageKind.VOLUME),
    (SNAPSHOTS, ImageKind.SNAPSHOT),
)
# One account at a time, so that others get their turn in the threads of the store.
_STEP_S: Final = 600.0
# The times of some file systems have no fractions.
_COARSENESS_S: Final = 1.0


async def sweep_own_temporaries(
    store: Store, *, owner: str, running_s: float, keep_jobs: Collection[str] = ()
) -> list[str]:
    """Remove temporaries of earlier processes of this agent.

    Args:
        store: Where to look.
        owner: Host name of this agent.
        running_s: How long this process has been running, in seconds.
        keep_jobs: Ids of jobs that can be continued.

    Returns:
        The paths that were removed, relative to the store.

    Raises:
        StorageError: The store could not be read; what was swept before stays swept.
    """
    asked_s = time.monotonic()
    swept: list[str] = []
    word, kept = word_of(owner), tuple(keep_jobs)
    began: float | None = None
    for top, kind in _TREES:
        accounts = await store.run(_directories, store.root, top, what=f"list {top}")
        for account in accounts:
            directories = await store.run(_directories, store.root, account)
            for directory in directories:
                if not await store.run(_leftovers, store.root / directory, word, kept):
                    continue
                async with store.locks.hold(str(directory)):
                    if began is None:
                        now = await store.run(_store_time, store.root / directory, owner)
                        began = now - running_s - (time.monotonic() - asked_s) - _COARSENESS_S
                    swept += await store.run(
                        _sweep, store.root, directory, kind, word, began, kept,
                        deadline_s=_STEP_S, what=f"sweep {directory}",
                    )  # fmt: skip
    return swept


def last_change(path: Path) -> float:
    """When a file was last changed, as seconds since 1970 by the clock of its store.

    Raises:
        OSError: It is gone.
    """
    found = path.lstat()
    return max(found.st_mtime, found.st_ctime)


def _store_time(directory: Path, owner: str) -> float:
    """The present by the clock of the store."""
    path = directory / temporary_name(owner, "clock")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    path.unlink(missing_ok=True)
    descriptor = os.open(path, flags, FILE_MODE)
    try:
        return os.fstat(descriptor).st_ctime
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def _leftovers(directory: Path, owner: str, keep_jobs: tuple[str, ...]) -> list[Path]:
    """Our temporaries in a directory that no job claims."""
    found = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for entry in sorted(directory.iterdir()):
            writer = parse_temporary(entry.name)
            if writer and writer.owner == owner and not writer.job_id.startswith(keep_jobs):
                found.append(entry)
    return found


def _directories(root: Path, directory: PurePosixPath) -> list[PurePosixPath]:
    try:
        found = sorted((root / directory).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [directory / entry.name for entry in found if is_plain_directory(entry)]


def _sweep(
    root: Path,
    directory: PurePosixPath,
    kind: ImageKind,
    owner: str,
    began: float,
    keep_jobs: tuple[str, ...],
) -> list[str]:
    swept = []
    for entry in _leftovers(root / directory, owner, keep_jobs):
        with contextlib.suppress(FileNotFoundError):
            if last_change(entry) < began:
                entry.unlink()
                swept.append(str(directory / entry.name))
    if swept:
        _tidy(root / directory, kind, began)
    return swept


def _tidy(directory: Path, kind: ImageKind, began: float) -> None:
    """Remove the mark of an installation nobody is at any more, then the directory if empty."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = {entry.name for entry in directory.iterdir()}
        marker = directory / str(properties_name(kind))
        others_at_work = any(is_temporary(name) for name in names)
        is_empty = marker.name in names and not marker.lstat().st_size
        # Whoever has just begun here has renewed the mark.
        if is_empty and not others_at_work and last_change(marker) < began:
            marker.unlink()
    with contextlib.suppress(OSError):
        directory.rmdir()
