# SPDX-License-Identifier: Apache-2.0
"""Removing directory trees without following links (blocking).

Works by descriptors, so that a directory swapped for a link while it is being removed leads
nowhere.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

# A file that somebody still reads is kept by the NFS client under such a name until it is closed;
# its directory cannot go before.
_SILLY_RENAME: Final = ".nfs"
# How often a directory is gone through again when entries appear while it is removed.
_ROUNDS: Final = 3


def remove_entry(path: Path) -> None:
    """Remove a file, link or tree; it is no error when it is gone.

    Raises:
        OSError: With the path of what could not be removed.
    """
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(path.lstat().st_mode):
            remove_tree(path)
        else:
            path.unlink()


def remove_tree(path: Path) -> None:
    """Remove a directory with everything in it.

    A directory that holds nothing but files still read over NFS is left behind, empty for everybody
    else; the client removes those files when they are closed.

    Raises:
        OSError: With the path of what could not be removed.
    """
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _remove_directory(path.name, parent, path)
    finally:
        os.close(parent)


def _remove_directory(name: str, parent: int, path: Path) -> None:
    refusal: OSError | None = None
    for _ in range(_ROUNDS):
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            directory = os.open(name, flags, dir_fd=parent)
            try:
                in_use = _empty(directory, path)
            finally:
                os.close(directory)
            if not in_use:
                os.rmdir(name, dir_fd=parent)
        except FileNotFoundError:
            return
        except OSError as error:
            # Somebody put something into it meanwhile, or it really cannot be removed.
            refusal = error
        else:
            return
    assert refusal is not None
    raise _at(refusal, path)


def _at(error: OSError, path: Path) -> OSError:
    """The error with the whole path of what it is about, which a name in a directory is not."""
    known = error.filename if isinstance(error.filename, str) else ""
    return OSError(error.errno, error.strerror, known if known.startswith("/") else str(path))


def _empty(directory: int, path: Path) -> bool:
    """Remove all entries of an open directory; True when files in use stay."""
    in_use = False
    with os.scandir(directory) as entries:
        found = list(entries)
    for entry in found:
        if entry.name.startswith(_SILLY_RENAME):
            in_use = True
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                _remove_directory(entry.name, directory, path / entry.name)
            else:
                os.unlink(entry.name, dir_fd=directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _at(error, path / entry.name) from error
    return in_use
