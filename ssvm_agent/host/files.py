# SPDX-License-Identifier: Apache-2.0
"""Writing files so that a reader sees the old content or the new one, never a piece.

Blocking: call these through a :class:`ssvm_agent.host.pools.WorkPool`. Errors are plain
``OSError``; whoever knows what the file means translates them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


def atomic_write(
    path: Path,
    data: bytes,
    *,
    mode: int = 0o644,
    owner: tuple[int, int] | None = None,
    temporary_name: str | None = None,
) -> None:
    """Replace the content of a file in one step.

    The new content is written beside the file, synced, and renamed over it.

    Args:
        path: The file; its directory must exist.
        data: The whole new content.
        mode: Permission bits of the result, whatever the umask.
        owner: User and group id, or None to leave them to the system.
        temporary_name: Name for the file on its way, in the same directory; made up when None.

    Raises:
        OSError: Nothing was changed, and nothing is left beside the file.
    """
    temporary = _stage(path, data, mode=mode, owner=owner, temporary_name=temporary_name)
    try:
        rename_into_place(temporary, path)
    except BaseException:
        _forget(temporary)
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """A file to be replaced together with others.

    Attributes:
        path: Where; its directory must exist.
        data: The whole new content; not in its repr, it may be a secret.
        mode: Permission bits of the result, whatever the umask.
    """

    path: Path
    data: bytes = field(repr=False)
    mode: int = 0o644


def replace_together(files: Sequence[NewFile]) -> None:
    """Replace the content of several files that belong together.

    All are written and synced before the first gets its name: a full disk changes none of them.

    Raises:
        OSError: With the name of the file; nothing is left beside it, and nothing was changed
            unless a name could not be given.
    """
    staged: list[tuple[Path, Path]] = []
    try:
        for file in files:
            try:
                staged.append((_stage(file.path, file.data, mode=file.mode), file.path))
            except OSError as error:
                error.filename = str(file.path)
                raise
        for temporary, path in staged:
            temporary.replace(path)
    except BaseException:
        for temporary, _ in staged:
            _forget(temporary)
        raise
    for directory in {file.path.parent for file in files}:
        fsync_directory(directory)


def _stage(
    path: Path,
    data: bytes,
    *,
    mode: int,
    owner: tuple[int, int] | None = None,
    temporary_name: str | None = None,
) -> Path:
    """Write and sync the new content of a file beside it."""
    name = temporary_name or f".{path.name[:180]}.{secrets.token_hex(6)}.tmp"
    temporary = path.with_name(name)
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(data)
            file.flush()
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
    except BaseException:
        _forget(temporary)
        raise
    return temporary


def _forget(temporary: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()


def rename_into_place(temporary: Path, path: Path) -> None:
    """Give a finished file its final name, replacing what had it, and make the name durable."""
    temporary.replace(path)
    fsync_directory(path.parent)


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable, where its file system can."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Some network file systems refuse fsync on a directory with EINVAL; their server syncs
        # names by itself.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
