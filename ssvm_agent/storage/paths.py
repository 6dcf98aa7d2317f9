# SPDX-License-Identifier: Apache-2.0
"""Joining checked paths to a store that exists, without following links out of it.

Blocking: call these through :meth:`ssvm_agent.storage.stores.Store.run`. A symbolic link is no
part of the layout of a store, so one anywhere below the root is refused rather than followed,
wherever it points (requirements S8).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from ssvm_agent.storage.errors import NotFoundError, PathEscapeError
from ssvm_agent.storage.layout import check_relative

# Hypervisors reach the store as whatever user its export maps them to (storage-commands.md 1.5).
DIRECTORY_MODE = 0o777
FILE_MODE = 0o666


def resolve_inside(root: Path, relative: str | PurePosixPath, *, must_exist: bool = False) -> Path:
    """The place of a relative path below a root, proven free of symbolic links.

    Args:
        root: The store's directory; taken as it is.
        relative: Checked by :func:`ssvm_agent.storage.layout.check_relative`.
        must_exist: Whether a missing file is an error.

    Returns:
        ``root/relative``. What is missing may be missing from any component on.

    Raises:
        PathEscapeError: The path is malformed, or a symbolic link is in it.
        NotFoundError: Something is missing and ``must_exist`` is set.
        OSError: The store could not be asked.
    """
    pure = check_relative(str(relative))
    place = root
    for part in pure.parts:
        place = place / part
        try:
            mode = place.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError) as error:
            if must_exist:
                raise NotFoundError(f"{pure} does not exist on the secondary storage") from error
            break
        if stat.S_ISLNK(mode):
            raise PathEscapeError(f"A symbolic link is in the path {pure}")
    return root.joinpath(*pure.parts)


def make_directories(root: Path, relative: str | PurePosixPath) -> Path:
    """Create a directory below a root with what is missing above it, open to everybody.

    Every directory created gets mode 0777 (storage-commands.md 1.5, ``mkdirs``).

    Returns:
        Its place; it is no error when it exists.
    """
    place = root
    resolved = resolve_inside(root, relative)
    for part in resolved.relative_to(root).parts:
        place = place / part
        try:
            place.mkdir()
        except FileExistsError:
            continue
        place.chmod(DIRECTORY_MODE)
    if not place.is_dir():
        raise NotADirectoryError(20, os.strerror(20), str(place))
    return place


def is_plain_file(path: Path) -> bool:
    """Whether a regular file is there; a link to one is not."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_plain_directory(path: Path) -> bool:
    """Whether a directory is there; a link to one is not."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
