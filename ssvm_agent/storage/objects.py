# SPDX-License-Identifier: Apache-2.0
"""Browsing a store: one page of a directory at a time (storage-commands.md 3.19).

Pages are cut from the names in order, so that they fit together; the names of a directory are kept
for a while, as long as the directory does not change, because sorting a hundred thousand of them
for each page would be most of the work.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent.storage.errors import NotFoundError
from ssvm_agent.storage.layout import check_relative
from ssvm_agent.storage.paths import resolve_inside
from ssvm_agent.storage.stores import Store

# The largest page; the user interface asks for 20 to 500.
_MAX_PAGE: Final = 10_000
_DEADLINE_S: Final = 14.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreObject:
    """A file or directory on a store.

    Attributes:
        name: Its name, as text.
        path: From the root of the store, with a leading slash.
        absolute_path: On this machine.
        is_directory: What it is.
        size_bytes: Its length.
        modified_ms: Milliseconds since 1970.
    """

    name: str
    path: str
    absolute_path: str
    is_directory: bool
    size_bytes: int
    modified_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of a directory.

    Attributes:
        exists: Whether there is such a path at all.
        count: How many entries there are in all.
        objects: Those of this page.
    """

    exists: bool
    count: int = 0
    objects: tuple[StoreObject, ...] = ()


async def list_page(store: Store, path: str, start: int, size: int) -> Page:
    """One page of a directory, or the one entry of a file.

    Args:
        store: Which one.
        path: Relative to it; empty or ``/`` is its root.
        start: Number of the first entry.
        size: How many entries.

    Raises:
        PathEscapeError: The path is malformed.
        StorageError: It cannot be read.
    """
    relative = path.strip("/")
    if relative:
        relative = str(check_relative(relative))
    return await store.run(
        _page, store, relative, max(0, start), min(max(0, size), _MAX_PAGE),
        deadline_s=_DEADLINE_S, what=f"list /{relative}",
    )  # fmt: skip


def _page(store: Store, relative: str, start: int, size: int) -> Page:
    root = store.root
    try:
        place = resolve_inside(root, relative, must_exist=True) if relative else root
    except NotFoundError:
        return Page(exists=False)
    found = place.lstat() if relative else place.stat()
    if not stat.S_ISDIR(found.st_mode):
        return Page(exists=True, count=1, objects=(_object(root, place, found),))
    names = store.names.of(place, found)
    objects = []
    for name in names[start : start + size]:
        with contextlib.suppress(FileNotFoundError):
            objects.append(_object(root, place / name, (place / name).lstat()))
    return Page(exists=True, count=len(names), objects=tuple(objects))


def _object(root: Path, place: Path, found: os.stat_result) -> StoreObject:
    relative = place.relative_to(root)
    return StoreObject(
        name=_text(place.name if place != root else ""),
        path=_text(f"/{relative}" if place != root else "/"),
        absolute_path=_text(str(place)),
        is_directory=stat.S_ISDIR(found.st_mode),
        size_bytes=found.st_size,
        modified_ms=found.st_mtime_ns // 1_000_000,
    )


def _text(name: str) -> str:
    """A name that can travel: bytes that are no UTF-8 are replaced."""
    return os.fsencode(name).decode("utf-8", "replace")
