# SPDX-License-Identifier: Apache-2.0
"""Copies between stores: moving images to another store, and templates out of snapshots.

What a command's paths mean is here (storage-commands.md 3.15); how files are copied is in
:mod:`ssvm_agent.storage.staging`. Whether an image is acceptable is decided by a function handed
in, because stores know nothing of image formats; it sees the finished copy before anybody else
does (requirements S1).
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from ssvm_agent.storage.errors import ConflictError, NotFoundError, StorageError
from ssvm_agent.storage.layout import (
    SNAPSHOTS,
    ImageKind,
    check_depth,
    check_name,
    check_relative,
    is_temporary,
    properties_name,
    temporary_name,
    top_of,
)
from ssvm_agent.storage.paths import is_plain_directory, is_plain_file, resolve_inside
from ssvm_agent.storage.properties import ImageProperties, write_file
from ssvm_agent.storage.staging import CopyTools, Pair, Staging, staged
from ssvm_agent.storage.stores import Store

# What a path without an extension may be called on the store (storage-commands.md 3.15 b, d).
_EXTENSIONS: Final = (".qcow2", ".vhd", ".ova", ".vmdk")
# A template of a snapshot whose own id the command does not tell (storage-commands.md 6.4).
_NO_ID: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What an inspection found.

    Attributes:
        extension: Of the format.
        virtual_size_bytes: Size of the disk in it.
    """

    extension: str
    virtual_size_bytes: int


# Looks at a file with the extension of its declared format; blocking. Raises an AgentError when the
# image must not be made visible.
Inspect = Callable[[Path, str], ImageFacts]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedImage:
    """An image at its new place.

    Attributes:
        install_path: Relative to the target store.
        physical_size_bytes: Length of the file, or of all files of a directory.
        virtual_size_bytes: Size of the disk; None when the copy is a directory or a snapshot.
        extension: Of the file; empty when it has none.
    """

    install_path: str
    physical_size_bytes: int
    virtual_size_bytes: int | None = None
    extension: str = ""


async def migrate_image(
    source: Store,
    source_path: str,
    target: Store,
    target_path: str,
    kind: ImageKind,
    *,
    inspect: Inspect,
    tools: CopyTools,
) -> CopiedImage:
    """Copy a template or volume with its properties to another store (storage-commands.md 3.15 a).

    Args:
        source: Where it is.
        source_path: Its install path.
        target: Where it goes.
        target_path: The directory there.
        kind: TEMPLATE or VOLUME.
        inspect: See :data:`Inspect`; not asked about a directory.
        tools: See :class:`CopyTools`.

    Raises:
        PathEscapeError: A path is malformed or names more than one object.
        NotFoundError: There is no such image.
        ConflictError: Its installation has not finished, or it changed meanwhile.
        StorageError: It could not be copied; nothing is left at the target.
    """
    wanted = check_relative(source_path, strip_slash=True)
    destination = check_relative(target_path, strip_slash=True)
    for path in (wanted, destination):
        check_depth(path, top_of(kind), 2)
    found = await source.run(_locate, source.root, wanted, what=f"find {wanted}")
    base = found.path if found.is_directory else found.path.parent
    check_depth(base, top_of(kind), 2)
    if await target.run(_is_file, target.root, destination, what=f"find {destination}"):
        destination = destination.parent
        check_depth(destination, top_of(kind), 2)
    if found.is_directory and len(wanted.parts) == _DIRECTORY_DEPTH:
        # Compat: storage-commands.md 3.15 a: the directory keeps its name below the new one.
        destination /= wanted.name
    if source.root == target.root and base == destination:
        raise ConflictError(f"{base} is source and destination of the copy")
    marker = properties_name(kind) or ""
    names = await source.run(_scan, source.root, base, marker, what=f"list {base}")
    pairs = [Pair(base / name, destination / name) for name in names]
    async with staged(source, target, pairs, kind=kind, tools=tools) as staging:
        if found.is_directory:
            copied = CopiedImage(
                install_path=str(destination), physical_size_bytes=staging.size_bytes
            )
        else:
            main = pairs[names.index(PurePosixPath(found.path.name))]
            copied = await inspected(staging, main, inspect)
        await staging.publish()
    return copied


# volumes/<account>/<id>/<directory>, as VMware volumes are.
_DIRECTORY_DEPTH: Final = 4


async def migrate_snapshot(
    source: Store, source_path: str, target: Store, target_path: str, *, tools: CopyTools
) -> CopiedImage:
    """Copy a snapshot, which is a file or, of VMware, a directory (storage-commands.md 3.15 a).

    Its content is not inspected: a snapshot may rest on its parent, and no guest starts from it.

    Raises:
        StorageError: See :func:`migrate_image`.
    """
    wanted = check_relative(source_path, strip_slash=True)
    destination = check_relative(target_path, strip_slash=True)
    check_depth(wanted, SNAPSHOTS, 3)
    check_depth(destination, SNAPSHOTS, 2)
    found = await source.run(_locate_snapshot, source.root, wanted, what=f"find {wanted}")
    if found.is_directory:
        name = found.path.name
        scan = partial(_scan, source.root, found.path, "")
        names = await source.run(scan, what=f"list {found.path}")
        pairs = [Pair(found.path / inner, destination / name / inner) for inner in names]
        install_path = destination / name / name
    else:
        pairs = [Pair(found.path, destination / found.path.name)]
        install_path = destination / wanted.name
    if source.root == target.root and pairs[0].source == pairs[0].target:
        raise ConflictError(f"{wanted} is source and destination of the copy")
    async with staged(source, target, pairs, kind=ImageKind.SNAPSHOT, tools=tools) as staging:
        await staging.publish()
        return CopiedImage(install_path=str(install_path), physical_size_bytes=staging.size_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTemplate:
    """A template that is to be made.

    Attributes:
        directory: Where, relative to its store.
        unique_name: Its name in lists.
        id: Its database id; 0 when the command does not tell.
    """

    directory: str
    unique_name: str
    id: int = 0


async def template_from_snapshot(
    source: Store,
    snapshot_path: str,
    target: Store,
    template: NewTemplate,
    *,
    extension: str,
    inspect: Inspect,
    tools: CopyTools,
) -> CopiedImage:
    """Make a template of a snapshot of KVM (storage-commands.md 3.15 b).

    Args:
        source: Where the snapshot is.
        snapshot_path: Its path, with or without an extension.
        target: Where the template goes.
        template: What to make.
        extension: Of the format that the volume of the snapshot has.
        inspect: See :data:`Inspect`.
        tools: See :class:`CopyTools`.

    Raises:
        StorageError: See :func:`migrate_image`.
    """
    wanted = check_relative(snapshot_path, strip_slash=True)
    directory = template_directory(template)
    found = await source.run(_locate, source.root, wanted, what=f"find {wanted}")
    if found.is_directory:
        raise NotFoundError(f"The snapshot {wanted} is a directory")
    name = check_name(f"{found.path.name}.{extension}")
    pair = Pair(found.path, directory / name)
    async with staged(source, target, [pair], kind=ImageKind.TEMPLATE, tools=tools) as staging:
        copied = await inspected(staging, pair, inspect)
        await publish_template(staging, copied, template, tools)
    if "_temp" in found.path.name:
        # Compat: storage-commands.md 3.15 b: a flattened copy was made for this only.
        await source.run(_forget, source.root, found.path, what=f"delete {found.path}")
    return copied


def template_directory(template: NewTemplate) -> PurePosixPath:
    """The directory of a template that is to be made, checked."""
    directory = check_relative(template.directory, strip_slash=True)
    check_depth(directory, top_of(ImageKind.TEMPLATE), 2)
    return directory


async def publish_template(
    staging: Staging, copied: CopiedImage, template: NewTemplate, tools: CopyTools
) -> None:
    """Publish a staged image as a template with new properties."""
    properties = ImageProperties(
        unique_name=template.unique_name,
        # Differs: storage-commands.md 6.4: the id of the template when it is known.
        id=template.id or _NO_ID,
        file_name=PurePosixPath(copied.install_path).name,
        size_bytes=copied.physical_size_bytes,
        virtual_size_bytes=copied.virtual_size_bytes or copied.physical_size_bytes,
        formats=(copied.extension,),
    )
    marker = properties_name(ImageKind.TEMPLATE)
    temporary = temporary_name(tools.owner, staging.job_id)
    now = tools.clock.now()

    def write(directory: Path) -> None:
        place = directory / str(marker)
        write_file(place, properties, now=now, temporary_name=f"{temporary}.properties")

    await staging.publish(write)


async def inspected(staging: Staging, pair: Pair, inspect: Inspect) -> CopiedImage:
    """Inspect a copy that nobody can see yet."""
    extension = pair.target.suffix.removeprefix(".")
    facts = await staging.call(
        inspect, staging.temporary(pair), extension, what=f"inspect {pair.source}"
    )
    length = await staging.length(pair)
    if length <= 0 or facts.virtual_size_bytes <= 0:
        raise StorageError(f"{pair.source} is empty")
    return CopiedImage(
        install_path=str(pair.target),
        physical_size_bytes=length,
        virtual_size_bytes=facts.virtual_size_bytes,
        extension=facts.extension,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """What a path turned out to be."""

    path: PurePosixPath
    is_directory: bool


def _locate(root: Path, wanted: PurePosixPath) -> _Found:
    """The file or directory a path means, with the extension it may lack."""
    place = resolve_inside(root, wanted)
    if is_plain_directory(place):
        return _Found(wanted, is_directory=True)
    for extension in ("", *_EXTENSIONS):
        candidate = wanted.with_name(f"{wanted.name}{extension}")
        if is_plain_file(root / candidate):
            return _Found(candidate, is_directory=False)
    raise NotFoundError(f"{wanted} does not exist on the secondary storage")


def _locate_snapshot(root: Path, wanted: PurePosixPath) -> _Found:
    """The file of a snapshot, or the directory it has to itself."""
    if wanted.parent.name == wanted.name and is_plain_directory(
        resolve_inside(root, wanted.parent)
    ):
        return _Found(wanted.parent, is_directory=True)
    found = _locate(root, wanted)
    if found.is_directory:
        raise NotFoundError(f"The snapshot {wanted} is a directory")
    return found


def _is_file(root: Path, path: PurePosixPath) -> bool:
    return is_plain_file(resolve_inside(root, path))


def _scan(root: Path, base: PurePosixPath, marker: str) -> list[PurePosixPath]:
    """All files of a tree, relative to it, the properties file last.

    Raises:
        ConflictError: The properties file says that the installation is going on.
        StorageError: There is something else than files and directories, or no file at all.
    """
    top = resolve_inside(root, base, must_exist=True)
    files: list[PurePosixPath] = []
    waiting = [PurePosixPath()]
    while waiting:
        directory = waiting.pop()
        for entry in (top / directory).iterdir():
            mode = entry.lstat().st_mode
            path = directory / entry.name
            if stat.S_ISDIR(mode):
                waiting.append(path)
            elif not stat.S_ISREG(mode):
                raise StorageError(f"{base / path} is neither a file nor a directory")
            elif not (is_temporary(entry.name) or entry.name.startswith(".nfs")):
                files.append(path)
    last = PurePosixPath(marker) if marker else None
    if last in files and not (top / marker).stat().st_size:
        raise ConflictError(f"The installation of {base} has not finished")
    if not [path for path in files if path != last]:
        raise NotFoundError(f"There is no image in {base}")
    return sorted(files, key=lambda path: (path == last, path))


def _forget(root: Path, path: PurePosixPath) -> None:
    resolve_inside(root, path).unlink(missing_ok=True)
