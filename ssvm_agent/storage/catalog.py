# SPDX-License-Identifier: Apache-2.0
"""What is on a store: its templates and its volumes, complete or not at all (requirements R8).

The management server deletes what is listed and unknown to it, and fetches again what it knows
and is not listed. So a list is an answer only when the store was alive before and after the scan,
every directory could be read, and every properties file could be understood. Anything else is an
error.

Theory of operation: images lie at a fixed depth, ``<root>/<account>/<id>/``, so two levels of
``scandir`` find every candidate and its properties file is opened by name. Only a directory without
one is looked into, for trees that another agent made deeper (storage-commands.md 3.11). Directories
are read by a few workers at a time, because on a network store the time goes into waiting; they
leave threads of the store free for others.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

from ssvm_agent.storage.errors import (
    CorruptPropertiesError,
    IncompletePropertiesError,
    NotFoundError,
    StoreUnavailableError,
)
from ssvm_agent.storage.layout import TEMPLATES, VOLUMES, ImageKind, properties_name
from ssvm_agent.storage.paths import make_directories
from ssvm_agent.storage.properties import ImageProperties, read_file
from ssvm_agent.storage.stores import Life, Store

_WORKERS: Final = 4
_BATCH: Final = 64
# Deeper than any layout an agent has used: <root>/<account>/<id>/<name>/<file>.
_MAX_DEPTH: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateEntry:
    """One template or volume as it is listed.

    Attributes:
        unique_name: Of the template, or the name of the volume.
        install_path: Of the image, relative to the store.
        size_bytes: Virtual size.
        physical_size_bytes: Length of the file.
        id: Database id.
        is_public: As written in its properties.
        is_corrupted: Whether it should be fetched again.
    """

    unique_name: str
    install_path: str
    size_bytes: int
    physical_size_bytes: int
    id: int
    is_public: bool
    is_corrupted: bool


async def list_templates(store: Store) -> dict[str, TemplateEntry]:
    """All templates of a store by unique name.

    Of several with one name, a sound one goes before a corrupted one, then the last by path
    (storage-commands.md 3.11).

    Raises:
        StoreUnavailableError: The store is not proven alive, or went away meanwhile.
        CorruptPropertiesError: A properties file cannot be listed and must not be skipped.
        StorageError: Something could not be read.
    """
    entries = await _list(store, TEMPLATES, ImageKind.TEMPLATE)
    return {entry.unique_name: entry for entry in entries}


async def list_volumes(store: Store) -> dict[int, TemplateEntry]:
    """All volumes of a store that have a properties file, by id; as :func:`list_templates`."""
    entries = await _list(store, VOLUMES, ImageKind.VOLUME)
    return {entry.id: entry for entry in entries}


async def _list(store: Store, top: PurePosixPath, kind: ImageKind) -> list[TemplateEntry]:
    """All entries, the ones that win a collision last."""
    marker = properties_name(kind)
    assert marker is not None
    before = await _proof_of_life(store)
    await store.run(make_directories, store.root, top, what=f"create {top}")
    directories = await store.run(_find_directories, store.root, top, what=f"list {top}")
    batches = iter(
        [directories[start : start + _BATCH] for start in range(0, len(directories), _BATCH)]
    )
    entries: list[TemplateEntry] = []

    async def work() -> None:
        for batch in batches:
            read = partial(_read_batch, store.root, batch, marker)
            entries.extend(await store.run(read, what=f"read the properties below {top}"))

    await _together(work, min(_WORKERS, len(directories) // _BATCH + 1))
    if await _proof_of_life(store) != before:
        raise StoreUnavailableError(
            f"The secondary storage {store.ref.display} was mounted anew during the listing"
        )
    return sorted(entries, key=lambda entry: (not entry.is_corrupted, entry.install_path))


async def _together(work: Callable[[], Coroutine[Any, Any, None]], count: int) -> None:
    """Run the same worker several times at once; the first error is the result of all."""
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(work())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors


async def _proof_of_life(store: Store) -> tuple[int, int]:
    """The identity of the store's root, once it is proven alive."""
    life = await store.probe()
    if life is not Life.ALIVE:
        raise StoreUnavailableError(f"The secondary storage {store.ref.display} is {life.value}")
    return await store.run(_identity, store.root)


def _identity(root: Path) -> tuple[int, int]:
    found = root.stat()
    return found.st_dev, found.st_ino


def _find_directories(root: Path, top: PurePosixPath) -> list[PurePosixPath]:
    """Every ``<account>/<id>`` directory, relative to the store."""
    found: list[PurePosixPath] = []
    for account in _subdirectories(root / top, must_exist=True):
        inner = _subdirectories(root / top / account)
        found.extend(top / account / name for name in inner)
    return found


def _subdirectories(directory: Path, *, must_exist: bool = False) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        if must_exist:
            raise
        return []


def _read_batch(root: Path, batch: list[PurePosixPath], marker: str) -> list[TemplateEntry]:
    return [entry for directory in batch for entry in _read(root, directory, marker)]


def _read(
    root: Path, directory: PurePosixPath, marker: str, depth: int = 3
) -> Iterator[TemplateEntry]:
    try:
        properties = read_file(root / directory / marker)
    except (FileNotFoundError, NotADirectoryError):
        if depth < _MAX_DEPTH:
            for name in _subdirectories(root / directory):
                yield from _read(root, directory / name, marker, depth + 1)
    except (IncompletePropertiesError, NotFoundError):
        # Its installation is going on, here or at another agent; or it is no file at all.
        return
    except CorruptPropertiesError as error:
        raise CorruptPropertiesError(
            f"{error.message}: {directory / marker}", detail=error.detail
        ) from error
    else:
        yield _entry(directory, properties)


def _entry(directory: PurePosixPath, properties: ImageProperties) -> TemplateEntry:
    return TemplateEntry(
        unique_name=properties.unique_name,
        install_path=str(directory / properties.file_name),
        size_bytes=properties.virtual_size_bytes,
        physical_size_bytes=properties.size_bytes,
        id=properties.id,
        is_public=properties.is_public,
        is_corrupted=properties.is_corrupted,
    )
