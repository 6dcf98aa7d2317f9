# SPDX-License-Identifier: Apache-2.0
"""What the path of a template, volume or snapshot means, and which files belong to it.

Blocking; call it in the threads of the store. Only looks; what happens to the files is the business
of :mod:`ssvm_agent.storage.copies`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from ssvm_agent.storage.errors import ConflictError, NotFoundError, PathEscapeError
from ssvm_agent.storage.layout import (
    ImageKind,
    check_depth,
    is_temporary,
    properties_name,
    top_of,
)
from ssvm_agent.storage.paths import is_plain_directory, is_plain_file, resolve_inside
from ssvm_agent.storage.properties import ImageProperties, read_file

# What the path of a file may lack (storage-commands.md 3.15 b).
FILE_SUFFIXES: Final = (".qcow2", ".vhd", ".ova", ".vmdk")
# An object has a few files; a directory with thousands is not one.
_MAX_FILES: Final = 10_000
_MAX_DEPTH: Final = 8
# Left by NFS clients for files deleted while open.
_SILLY_RENAMED: Final = ".nfs"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file to be copied.

    Attributes:
        path: Relative to the directory that was surveyed.
        size_bytes: Its length.
        data_bytes: How much of it is no hole, as far as the store tells.
    """

    path: PurePosixPath
    size_bytes: int
    data_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What there is to copy.

    Attributes:
        base: The directory whose files are copied.
        below: Directory to make below the destination path, or ``.``.
        name: What follows the destination path in the answered path.
        main: The image itself; None when the object is a directory, or its image is not there.
        files: Relative to ``base``, the properties file last.
        properties: What the properties file says; None without one.
    """

    base: Path
    below: PurePosixPath
    name: str
    main: PurePosixPath | None
    files: tuple[SourceFile, ...]
    properties: ImageProperties | None = None

    @property
    def data_bytes(self) -> int:
        """How much there is to move."""
        return sum(file.data_bytes for file in self.files)


def locate(root: Path, path: PurePosixPath) -> Path | None:
    """The file a path means: exactly it, or it with a suffix."""
    exact = resolve_inside(root, path)
    candidates = (exact, *(exact.with_name(exact.name + suffix) for suffix in FILE_SUFFIXES))
    return next(filter(is_plain_file, candidates), None)


def survey(root: Path, kind: ImageKind, path: PurePosixPath) -> Survey:
    """Find out what a path means and what belongs to it (storage-commands.md 3.15 a).

    Raises:
        PathEscapeError: It is not the path of one object, or there is a link in it.
        NotFoundError: There is no such object.
        CorruptPropertiesError: Its properties are unfinished or unusable.
        ConflictError: It is larger than an object can be.
        OSError: The store failed.
    """
    if kind is ImageKind.SNAPSHOT:
        return _survey_snapshot(root, path)
    place = resolve_inside(root, path)
    if is_plain_directory(place):
        # Differs: storage-commands.md 3.15 a: at any depth the directory is put where the answer
        # says, and the answer says where it is put.
        check_depth(path, top_of(kind), 2)
        return _survey_directory(place, kind, below=path.name, name=path.name)
    check_depth(path.parent, top_of(kind), 2)
    found = _survey_directory(place.parent, kind, name=path.name, main=PurePosixPath(path.name))
    # Compat: storage-commands.md 3.18, 3.15 a: the OVA of a data disk template need not exist.
    if found.main is None and not is_plain_file(place.with_name(f"{place.name}.meta")):
        raise NotFoundError(f"{path} does not exist on the secondary storage")
    return found


def _survey_snapshot(root: Path, path: PurePosixPath) -> Survey:
    place, top = resolve_inside(root, path), top_of(ImageKind.SNAPSHOT)
    check_depth(path, top, 3)
    if is_plain_directory(place):
        return _survey_directory(place, ImageKind.SNAPSHOT, below=path.name, name=path.name)
    # Compat: storage-commands.md 3.15 a: the files of a VMware snapshot have a directory to
    # themselves, which is called like them.
    if path.parent.name == path.name and not is_plain_file(place):
        return _survey_directory(
            place.parent, ImageKind.SNAPSHOT, below=path.name, name=f"{path.name}/{path.name}"
        )
    found = locate(root, path)
    if found is None:
        raise NotFoundError(f"{path} does not exist on the secondary storage")
    file = source_file(found, PurePosixPath(found.name))
    return Survey(
        base=found.parent, below=PurePosixPath(), name=path.name, main=file.path, files=(file,)
    )


def _survey_directory(
    base: Path, kind: ImageKind, *, name: str, below: str = "", main: PurePosixPath | None = None
) -> Survey:
    if not is_plain_directory(base):
        raise NotFoundError(f"{name} does not exist on the secondary storage")
    marker = properties_name(kind)
    properties = None
    if marker is not None and is_plain_file(base / marker):
        # An unfinished or unusable one is an error: the destination's lists would stumble over it.
        properties = read_file(base / marker)
    files = sorted(
        _walk(base, PurePosixPath(), 0), key=lambda file: (str(file.path) == marker, file.path)
    )
    if not files:
        raise NotFoundError(f"There is nothing to copy in {base.name}")
    if len(files) > _MAX_FILES:
        raise ConflictError(f"{base.name} has too many files to be one object")
    return Survey(
        base=base,
        below=PurePosixPath(below),
        name=name,
        main=main if any(file.path == main for file in files) else None,
        files=tuple(files),
        properties=properties,
    )


def _walk(base: Path, relative: PurePosixPath, depth: int) -> Iterator[SourceFile]:
    """Every regular file below; anything else than files and directories is refused."""
    if depth > _MAX_DEPTH:
        raise ConflictError(f"{base.name} is nested too deeply to be one object")
    with os.scandir(base / relative) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path = relative / entry.name
        if entry.is_symlink():
            raise PathEscapeError(f"{base.name} has a symbolic link in it: {path}")
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(base, path, depth + 1)
        elif is_temporary(entry.name) or entry.name.startswith(_SILLY_RENAMED):
            continue
        else:
            yield source_file(base / path, path)


def source_file(place: Path, path: PurePosixPath) -> SourceFile:
    """A file as it is now.

    Raises:
        PathEscapeError: It is something else.
    """
    status = place.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise PathEscapeError(f"{path} is neither a file nor a directory")
    data = min(status.st_size, status.st_blocks * 512)
    return SourceFile(path=path, size_bytes=status.st_size, data_bytes=data)


def destination_directory(root: Path, kind: ImageKind, path: PurePosixPath) -> PurePosixPath:
    """The directory a destination path means: itself, or that of the file it is by now."""
    directory = path.parent if is_plain_file(resolve_inside(root, path)) else path
    check_depth(directory, top_of(kind), 2)
    return directory
