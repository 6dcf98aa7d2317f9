# SPDX-License-Identifier: Apache-2.0
"""The disks of an OVA template: which there are, and a template of its own for each of them.

storage-commands.md 3.17, 3.18. The first command lists the disks of the unpacked archive and keeps
its descriptor as ``<name>.ovf.orig``; the second moves one disk into a new template, or makes the
template itself one of its boot disk, with a descriptor reduced to that disk.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final
from uuid import uuid4

from ssvm_agent.host.files import atomic_write
from ssvm_agent.images import ova_meta
from ssvm_agent.images.errors import CorruptImageError
from ssvm_agent.images.names import plain_name
from ssvm_agent.images.ovf import OvfFacts
from ssvm_agent.images.ovf_disks import DataDisk, data_disks, reduce_to_disk
from ssvm_agent.images.ovf_reading import read_ovf
from ssvm_agent.ingest.ova_files import META_SUFFIX, unpack_beside
from ssvm_agent.storage.copies import CopyTools
from ssvm_agent.storage.errors import NotFoundError, PathEscapeError
from ssvm_agent.storage.layout import (
    TEMPLATES,
    ImageKind,
    check_depth,
    check_name,
    check_relative,
    properties_name,
    temporary_name,
)
from ssvm_agent.storage.paths import (
    FILE_MODE,
    is_plain_directory,
    is_plain_file,
    make_directories,
    resolve_inside,
)
from ssvm_agent.storage.properties import ImageProperties, mark_in_progress, write_file
from ssvm_agent.storage.stores import Store

_OVF: Final = ".ovf"
_OVA: Final = ".ova"
_ORIGINAL: Final = ".orig"
_MAX_OVF_BYTES: Final = 4 << 20
# Compat: storage-commands.md 6.4: what the properties of a data disk template say.
_DESCRIPTION: Final = "privateTemplate"


# --- which disks there are ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskList:
    """The disks of an OVA.

    Attributes:
        directory: Where their files are; absolute.
        disks: Those with a file; an empty disk cannot become a template.
    """

    directory: Path
    disks: tuple[DataDisk, ...]


async def list_disks(
    store: Store, path: str, name: str | None, configuration_id: str | None, *, tools: CopyTools
) -> DiskList:
    """The disks of an OVA template; unpacks it where that has not been done.

    Args:
        store: Where it is.
        path: Of the OVA, or of its directory.
        name: Of the OVA, when ``path`` is a directory.
        configuration_id: Which configuration of the descriptor; None for every disk.
        tools: For temporary files.

    Raises:
        PathEscapeError: The path is not that of one template.
        NotFoundError: There is no OVA.
        ImageError: It is not acceptable.
        StorageError: The store failed.
    """
    asked = check_relative(path, strip_slash=True)
    is_ova = asked.name.lower().endswith(_OVA)
    directory = asked.parent if is_ova else asked
    check_depth(directory, TEMPLATES, 2)
    async with store.locks.hold(("ova", str(directory))):
        find = partial(_find_descriptor, store.root, directory)
        descriptor = await store.run(find, what=f"read {directory}")
        if descriptor is None:
            ova = asked if is_ova else directory / _ova_name(name)
            await unpack_beside(store, ova, owner=tools.owner)
            descriptor = await store.run(find, what=f"read {directory}")
        if descriptor is None:
            raise CorruptImageError("The OVA has no OVF descriptor.")
        temporary = temporary_name(tools.owner, str(uuid4()))
        return await store.run(
            _read_disks, descriptor, configuration_id, temporary, what=f"read {directory}"
        )


def _ova_name(name: str | None) -> str:
    if not name:
        raise NotFoundError("The command names no OVA")
    return check_name(name if name.lower().endswith(_OVA) else f"{name}{_OVA}")


def _find_descriptor(root: Path, directory: PurePosixPath) -> Path | None:
    place = resolve_inside(root, directory)
    if not is_plain_directory(place):
        raise NotFoundError(f"{directory} does not exist on the secondary storage")
    found = (one for one in place.iterdir() if one.name.lower().endswith(_OVF))
    return min(filter(is_plain_file, found), default=None)


def _read_disks(descriptor: Path, configuration_id: str | None, temporary: str) -> DiskList:
    data = _read(descriptor)
    facts = read_ovf(data, descriptor.name)
    directory = descriptor.parent
    sizes = {
        entry.name: entry.stat(follow_symlinks=False).st_size
        for entry in os.scandir(directory)
        if entry.is_file(follow_symlinks=False)
    }
    disks = data_disks(facts, sizes, configuration_id)
    _keep_original(descriptor, data, facts, temporary)
    return DiskList(directory=directory, disks=tuple(d for d in disks if d.file_name))


def _keep_original(descriptor: Path, data: bytes, facts: OvfFacts, temporary: str) -> None:
    """Keep the descriptor as it came, unless it is a reduced one of what is kept already."""
    original = _original(descriptor)
    if is_plain_file(original):
        kept = {file.name for file in read_ovf(_read(original), original.name).files}
        if {file.name for file in facts.files} <= kept:
            return
    atomic_write(original, data, mode=FILE_MODE, temporary_name=temporary)


def _original(descriptor: Path) -> Path:
    return descriptor.with_name(f"{descriptor.name}{_ORIGINAL}")


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        data = file.read(_MAX_OVF_BYTES + 1)
    if len(data) > _MAX_OVF_BYTES:
        raise CorruptImageError("The OVF descriptor is too large to be one.")
    return data


# --- a template of one disk -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskTemplate:
    """A template that shall be made of one disk.

    Attributes:
        disk_path: Absolute, as :func:`list_disks` gave it.
        account_id: Owner of the new template.
        template_id: Of the new template.
        unique_name: Likewise.
        virtual_size_bytes: As the command says; 0 when it does not.
        bootable: Whether it is the boot disk, which stays in the directory of its OVA.
    """

    disk_path: str
    account_id: int
    template_id: int
    unique_name: str
    virtual_size_bytes: int
    bootable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskTemplateMade:
    """A template of one disk.

    Attributes:
        path: Relative; of an OVA that need not exist (it is packed on request), or of the ISO.
        virtual_size_bytes: Of the disk.
        physical_size_bytes: Of its file.
    """

    path: str
    virtual_size_bytes: int
    physical_size_bytes: int


async def make_disk_template(
    store: Store, wanted: DiskTemplate, *, tools: CopyTools
) -> DiskTemplateMade:
    """Make a template of one disk; a repeated order finds it made.

    Raises:
        PathEscapeError: The disk is not in a template of this store.
        NotFoundError: There is no such disk.
        ImageError: The descriptor does not fit.
        StorageError: The store failed; everything is as before.
    """
    disk = _relative(store, wanted.disk_path)
    directory = disk.parent
    if min(wanted.account_id, wanted.template_id) <= 0:
        raise PathEscapeError("The new template has no account or no id")
    if not wanted.bootable:
        directory = TEMPLATES / str(wanted.account_id) / str(wanted.template_id)
    check_depth(directory, TEMPLATES, 2)
    name = f"{check_name(wanted.unique_name)}{_OVA}"
    job = _Job(
        root=store.root, disk=disk, directory=directory, wanted=wanted,
        file_name=disk.name if disk.name.lower().endswith("iso") else name,
        now=tools.clock.now(), temporary=temporary_name(tools.owner, str(uuid4())),
    )  # fmt: skip
    async with (
        store.locks.hold(("ova", str(disk.parent))),
        store.locks.hold(str(directory)),
    ):
        return await store.run(job.run, what=f"make a template of {disk}")


def _relative(store: Store, path: str) -> PurePosixPath:
    """The path of a disk within its store."""
    try:
        relative = check_relative(str(PurePosixPath(path).relative_to(store.root)))
    except ValueError as error:
        raise PathEscapeError("The path of the disk is not on its store") from error
    check_depth(relative, TEMPLATES, 3)
    plain_name(relative.name)
    return relative


@dataclass(slots=True, kw_only=True)
class _Job:
    """One template being made; blocking."""

    root: Path
    disk: PurePosixPath
    directory: PurePosixPath
    wanted: DiskTemplate
    file_name: str
    now: datetime
    temporary: str
    _undo: list[Callable[[], object]] = field(default_factory=list)

    def run(self) -> DiskTemplateMade:
        try:
            return self._make()
        except BaseException:
            for action in reversed(self._undo):
                with contextlib.suppress(OSError):
                    action()
            raise

    def _make(self) -> DiskTemplateMade:
        source = resolve_inside(self.root, self.disk)
        target = resolve_inside(self.root, self.directory / self.disk.name)
        present = source if is_plain_file(source) else target
        if not is_plain_file(present):
            raise NotFoundError(f"{self.disk} does not exist on the secondary storage")
        descriptor = _find_descriptor(self.root, self.disk.parent)
        if descriptor is None:
            raise NotFoundError(f"There is no OVF descriptor beside {self.disk}")
        original = _original(descriptor)
        data = _read(original if is_plain_file(original) else descriptor)
        reduced = reduce_to_disk(data, self.disk.name)
        properties = self._properties(present, data)
        place = self._make_directory()
        if present != target:
            present.rename(target)
            self._undo.append(lambda: target.rename(present))
        self._write(place / original.name, data)
        self._write(place / descriptor.name, reduced)
        if self.file_name != self.disk.name:
            meta = ova_meta.render(
                self.file_name, descriptor.name, self.disk.name, properties.size_bytes
            )
            self._write(place / f"{self.file_name}{META_SUFFIX}", meta.encode("latin-1"))
        write_file(
            place / str(properties_name(ImageKind.TEMPLATE)), properties, now=self.now,
            temporary_name=self.temporary,
        )  # fmt: skip
        return DiskTemplateMade(
            path=str(self.directory / self.file_name),
            virtual_size_bytes=properties.virtual_size_bytes,
            physical_size_bytes=properties.size_bytes,
        )

    def _properties(self, disk: Path, descriptor: bytes) -> ImageProperties:
        length = disk.stat().st_size
        if not length:
            raise CorruptImageError(f"{disk.name!r} is empty.")
        virtual = self.wanted.virtual_size_bytes or _capacity(descriptor, disk.name) or length
        return ImageProperties(
            unique_name=self.wanted.unique_name,
            id=self.wanted.template_id,
            file_name=self.file_name,
            size_bytes=length,
            virtual_size_bytes=virtual,
            formats=(PurePosixPath(self.file_name).suffix.removeprefix(".").lower(),),
            description=_DESCRIPTION,
            is_public=False,
            checksum="",
        )

    def _make_directory(self) -> Path:
        """The directory of the new template, marked as in progress when it is new."""
        place = self.root / self.directory
        made = [one for one in (place, *place.parents) if not one.exists()]
        make_directories(self.root, self.directory)
        self._undo += [one.rmdir for one in reversed(made)]
        mark = place / str(properties_name(ImageKind.TEMPLATE))
        if not mark.exists():
            mark_in_progress(place, ImageKind.TEMPLATE)
            self._undo.append(mark.unlink)
        return place

    def _write(self, path: Path, data: bytes) -> None:
        """Write a file; an earlier one comes back should the job fail."""
        if is_plain_file(path):
            before = _read(path)
            restore = partial(atomic_write, path, before, mode=FILE_MODE)
            self._undo.append(partial(restore, temporary_name=self.temporary))
        else:
            self._undo.append(path.unlink)
        atomic_write(path, data, mode=FILE_MODE, temporary_name=self.temporary)


def _capacity(descriptor: bytes, file_name: str) -> int:
    """What the descriptor says about the size of the disk in a file; 0 when it says nothing."""
    facts = read_ovf(descriptor, "the descriptor")
    keys = {file.id for file in facts.files if file.name == file_name}
    return next((disk.capacity_bytes for disk in facts.disks if disk.file_ref in keys), 0)
