# SPDX-License-Identifier: Apache-2.0
"""Removing what an earlier process of this agent left behind (requirements R13).

Only temporaries that carry our own name are touched, and of those only files that no job claims and
that were last written before this process began. What another agent writes is never touched,
however old it is: whether that agent is gone is not for us to say (the orphan report shows it).
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from datetime import datetime
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
    word_of,
)
from ssvm_agent.storage.paths import is_plain_directory
from ssvm_agent.storage.stores import Store

_TREES: Final = (
    (TEMPLATES, ImageKind.TEMPLATE),
    (VOLUMES, ImageKind.VOLUME),
    (SNAPSHOTS, ImageKind.SNAPSHOT),
)
# One account at a time, so that others get their turn in the threads of the store.
_STEP_S: Final = 600.0


async def sweep_own_temporaries(
    store: Store, *, owner: str, started: datetime, keep_jobs: Collection[str] = ()
) -> list[str]:
    """Remove temporaries of earlier processes of this agent.

    Args:
        store: Where to look.
        owner: Host name of this agent.
        started: When this process began.
        keep_jobs: Ids of jobs that can be continued.

    Returns:
        The paths that were removed, relative to the store.

    Raises:
        StorageError: The store could not be read; what was swept before stays swept.
    """
    swept: list[str] = []
    word, kept = word_of(owner), tuple(keep_jobs)
    for top, kind in _TREES:
        accounts = await store.run(_directories, store.root, top, what=f"list {top}")
        for account in accounts:
            directories = await store.run(_directories, store.root, account)
            for directory in directories:
                async with store.locks.hold(str(directory)):
                    swept += await store.run(
                        _sweep, store.root, directory, kind, word, started, kept,
                        deadline_s=_STEP_S, what=f"sweep {directory}",
                    )  # fmt: skip
    return swept


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
    started: datetime,
    keep_jobs: tuple[str, ...],
) -> list[str]:
    swept = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for entry in sorted((root / directory).iterdir()):
            writer = parse_temporary(entry.name)
            if writer is None or writer.owner != owner or writer.job_id.startswith(keep_jobs):
                continue
            with contextlib.suppress(FileNotFoundError):
                if entry.lstat().st_mtime < started.timestamp():
                    entry.unlink()
                    swept.append(str(directory / entry.name))
        if swept:
            _tidy(root / directory, kind)
    return swept


def _tidy(directory: Path, kind: ImageKind) -> None:
    """Remove the mark of an installation nobody is at any more, then the directory if empty."""
    names = {entry.name for entry in directory.iterdir()}
    marker = properties_name(kind)
    others_at_work = any(is_temporary(name) for name in names)
    if marker in names and not others_at_work and not (directory / marker).lstat().st_size:
        (directory / marker).unlink()
    with contextlib.suppress(OSError):
        directory.rmdir()
