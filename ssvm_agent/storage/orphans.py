# SPDX-License-Identifier: Apache-2.0
"""What no properties file and no job explains: a report that changes nothing (requirements R13).

Whether something found here may be deleted is for people to decide; a volume or snapshot without a
properties file is normal and not reported.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Final

from ssvm_agent.storage.errors import CorruptPropertiesError, IncompletePropertiesError
from ssvm_agent.storage.layout import (
    SNAPSHOTS,
    TEMPLATES,
    VOLUMES,
    ImageKind,
    is_temporary,
    parse_temporary,
    properties_name,
)
from ssvm_agent.storage.properties import ImageProperties, read_file
from ssvm_agent.storage.stores import Store

# Everything younger may belong to work that is going on, here or at another agent.
DEFAULT_MIN_AGE: Final = timedelta(days=1)
_DEADLINE_S: Final = 1800.0
# An archive is unpacked beside itself (storage-commands.md 6.1).
_UNPACKED: Final = frozenset({"ova"})
_HEARTBEATS: Final = "KVMHA"
_TREES: Final = ((TEMPLATES, ImageKind.TEMPLATE), (VOLUMES, ImageKind.VOLUME))


class OrphanKind(StrEnum):
    """Why something is reported."""

    TEMPORARY = "temporary"
    """A file on its way that has not grown for long."""
    UNFINISHED = "unfinished"
    """A directory whose properties file was never completed."""
    UNREADABLE = "unreadable"
    """A properties file that cannot be understood; it makes listing fail."""
    IMAGE_MISSING = "image-missing"
    """A properties file whose image is not there."""
    EXTRA_FILE = "extra-file"
    """A file beside an image that its properties do not name."""
    EMPTY_DIRECTORY = "empty-directory"
    """A directory of an object with nothing in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """One finding.

    Attributes:
        kind: Why it is reported.
        path: Relative to the store.
        size_bytes: Room it takes, 0 for directories.
        modified: Last change.
        owner: Agent that wrote it, where the name tells; else empty.
    """

    kind: OrphanKind
    path: str
    size_bytes: int
    modified: datetime
    owner: str = ""


async def find_orphans(
    store: Store,
    *,
    now: datetime,
    min_age: timedelta = DEFAULT_MIN_AGE,
    active_jobs: Collection[str] = (),
) -> list[Orphan]:
    """Everything unexplained on a store, by path; nothing is changed.

    Args:
        store: Which one.
        now: The present.
        min_age: What changed since then is not reported.
        active_jobs: Ids of jobs whose temporaries are explained.

    Raises:
        StorageError: Something could not be read.
    """
    scan = _Scan(store.root, now - min_age, tuple(active_jobs))
    found = await store.run(scan.all, deadline_s=_DEADLINE_S, what="look for orphans")
    return sorted(found, key=lambda orphan: orphan.path)


class _Scan:
    """One walk over a store; blocks."""

    def __init__(self, root: Path, before: datetime, active_jobs: tuple[str, ...]) -> None:
        self._root = root
        self._before = before
        self._active_jobs = active_jobs

    def all(self) -> list[Orphan]:
        return list(self._walk())

    def _walk(self) -> Iterator[Orphan]:
        for top, kind in _TREES:
            for directory in self._objects(top):
                yield from self._image(directory, kind)
        for directory in self._objects(SNAPSHOTS):
            yield from self._temporaries(directory)
            yield from self._if_empty(directory)

    def _objects(self, top: PurePosixPath) -> Iterator[PurePosixPath]:
        """The ``<account>/<id>`` directories below a tree."""
        for account in self._directories(top):
            yield from self._directories(account)

    def _directories(self, directory: PurePosixPath) -> list[PurePosixPath]:
        return [path for path, mode in self._entries(directory) if stat.S_ISDIR(mode)]

    def _entries(self, directory: PurePosixPath) -> list[tuple[PurePosixPath, int]]:
        """Path and mode of everything in a directory, in order; what is gone is left out."""
        entries = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for entry in sorted((self._root / directory).iterdir()):
                with contextlib.suppress(FileNotFoundError):
                    entries.append((directory / entry.name, entry.lstat().st_mode))
        return entries

    def _image(self, directory: PurePosixPath, kind: ImageKind) -> Iterator[Orphan]:
        yield from self._temporaries(directory)
        entries = self._entries(directory)
        names = {path.name for path, _ in entries}
        marker = directory / str(properties_name(kind))
        if marker.name not in names:
            # A volume without properties was put there by a hypervisor.
            if kind is ImageKind.TEMPLATE or not names:
                yield from self._unmarked(directory, names)
            return
        try:
            properties = read_file(self._root / marker)
        except FileNotFoundError:
            return
        except IncompletePropertiesError:
            yield from self._report(OrphanKind.UNFINISHED, marker)
            return
        except CorruptPropertiesError:
            yield from self._report(OrphanKind.UNREADABLE, marker)
            return
        if properties.file_name not in names:
            missing = directory / properties.file_name
            yield from self._report(OrphanKind.IMAGE_MISSING, missing, marker)
        for path, mode in entries:
            if not _is_explained(path.name, mode, properties, marker.name):
                yield from self._report(OrphanKind.EXTRA_FILE, path)

    def _unmarked(self, directory: PurePosixPath, names: set[str]) -> Iterator[Orphan]:
        if not names:
            yield from self._report(OrphanKind.EMPTY_DIRECTORY, directory)
        elif not all(is_temporary(name) for name in names):
            yield from self._report(OrphanKind.UNFINISHED, directory)

    def _if_empty(self, directory: PurePosixPath) -> Iterator[Orphan]:
        if not self._entries(directory):
            yield from self._report(OrphanKind.EMPTY_DIRECTORY, directory)

    def _temporaries(self, directory: PurePosixPath) -> Iterator[Orphan]:
        for path, _ in self._entries(directory):
            if is_temporary(path.name):
                writer = parse_temporary(path.name)
                # The files of one job are numbered behind its id.
                if writer is None or not writer.job_id.startswith(self._active_jobs):
                    owner = writer.owner if writer else ""
                    yield from self._report(OrphanKind.TEMPORARY, path, owner=owner)

    def _report(
        self,
        kind: OrphanKind,
        path: PurePosixPath,
        witness: PurePosixPath | None = None,
        *,
        owner: str = "",
    ) -> Iterator[Orphan]:
        """A finding, when it is old enough; ``witness`` is asked for its age if it is missing."""
        try:
            found = (self._root / (witness or path)).lstat()
        except FileNotFoundError:
            return
        modified = datetime.fromtimestamp(found.st_mtime, UTC)
        if modified < self._before:
            is_file = witness is None and stat.S_ISREG(found.st_mode)
            size_bytes = found.st_blocks * 512 if is_file else 0
            yield Orphan(
                kind=kind, path=str(path), size_bytes=size_bytes, modified=modified, owner=owner
            )


def _is_explained(name: str, mode: int, properties: ImageProperties, marker: str) -> bool:
    """Whether something beside an image belongs there."""
    if name in {properties.file_name, marker, _HEARTBEATS} or is_temporary(name):
        return True
    return not stat.S_ISREG(mode) or bool(_UNPACKED & set(properties.formats))
