# SPDX-License-Identifier: Apache-2.0
"""Copies that stay on stores: moving an object to another store, templates out of snapshots.

The management server copies an object, updates its row by the answer and then deletes the source
(storage-commands.md 3.15). So an object is complete, verified and inspected at its new place before
a function here returns, or the destination is as it was; the source is only read. What an image
must look like is judged by a check that the caller brings, as stores know nothing of formats.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final
from uuid import uuid4

from ssvm_agent.host.clock import Clock
from ssvm_agent.storage.arrival import Arrival
from ssvm_agent.storage.copier import Copier, check_space, copies_in_kernel, require_alive
from ssvm_agent.storage.errors import NotFoundError, StorageError
from ssvm_agent.storage.layout import (
    ImageKind,
    check_depth,
    check_name,
    check_relative,
    properties_name,
    temporary_name,
    top_of,
)
from ssvm_agent.storage.properties import ImageProperties, write_file
from ssvm_agent.storage.stores import Store
from ssvm_agent.storage.survey import (
    SourceFile,
    Survey,
    destination_directory,
    locate,
    source_file,
    survey,
)

# Compat: storage-commands.md 6.4: the id in the properties of a template made of a snapshot.
_SNAPSHOT_TEMPLATE_ID: Final = 1
# A flattened copy that was made for one template only (storage-commands.md 6.1).
_FLATTENED: Final = "_temp"

Check = Callable[[str, int], int]
"""``(file name, descriptor)`` of a finished copy to the virtual size in bytes, 0 for what is no
image. Blocking; raises to refuse it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyTools:
    """What every copy needs.

    Attributes:
        owner: Host name of this agent; part of the names of temporary files.
        clock: For speeds in the log and the date in properties files.
    """

    owner: str
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A path as a command gives it, and the store it is on."""

    store: Store
    path: str

    def relative(self) -> PurePosixPath:
        """The path, checked (requirements S8)."""
        return check_relative(self.path, strip_slash=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """An object at its new place.

    Attributes:
        path: What the server shall know it by.
        virtual_size_bytes: Of the disk inside; for what has no known format, its length.
        physical_size_bytes: Of the image file, or of all files of a directory.
    """

    path: str
    virtual_size_bytes: int
    physical_size_bytes: int


@asynccontextmanager
async def arriving(
    destination: Store,
    directory: PurePosixPath,
    files: tuple[PurePosixPath, ...],
    *,
    kind: ImageKind,
    mark: bool,
    source: Path,
    tools: CopyTools,
) -> AsyncIterator[tuple[Copier, Arrival]]:
    """Prepare the directory of an object; leaving with an error takes everything back.

    Args:
        destination: The store.
        directory: Of the object.
        files: What it will consist of.
        kind: What it is.
        mark: See :class:`Arrival`.
        source: The directory the files come from.
        tools: What every copy needs.
    """
    async with (
        # Two copies of one object take turns; others only wait while names change.
        destination.locks.hold(("copy", str(directory))),
        Copier(f"{source.name} to {directory}", clock=tools.clock) as copier,
    ):
        arrival = Arrival(
            destination.root, directory, files,
            kind=kind, mark=mark, owner=tools.owner, job_id=str(uuid4()),
        )  # fmt: skip
        copier.undo(arrival.take_back)
        await require_alive(destination)
        async with destination.locks.hold(str(directory)):
            await copier.call(arrival.prepare, source, what=f"prepare {directory}")
        yield copier, arrival


async def migrate(
    kind: ImageKind, source: Place, destination: Place, *, check: Check, tools: CopyTools
) -> Copied:
    """Copy an object, and all that is beside it, to another store (storage-commands.md 3.15 a).

    Args:
        kind: What it is.
        source: The object: a file, a directory, or a file without its suffix.
        destination: The directory it goes to.
        check: Judges each file before it becomes visible.
        tools: What every copy needs.

    Raises:
        StorageError: Why it could not be done.
        AgentError: What the check raised.
    """
    asked, wanted = source.relative(), destination.relative()
    found = await source.store.run(survey, source.store.root, kind, asked, what=f"read {asked}")
    parent = await destination.store.run(
        destination_directory, destination.store.root, kind, wanted, what=f"look at {wanted}"
    )
    directory = parent / found.below
    files = tuple(file.path for file in found.files)
    virtual: dict[PurePosixPath, int] = {}
    async with arriving(
        destination.store, directory, files, kind=kind, mark=found.properties is not None,
        source=found.base, tools=tools,
    ) as (copier, arrival):  # fmt: skip
        in_kernel = await copier.call(copies_in_kernel, source.store, destination.store)
        await check_space(destination.store, found.data_bytes, in_kernel=in_kernel)
        copier.expect(found.data_bytes)
        for number, file in enumerate(found.files):
            _, virtual[file.path] = await copier.copy(
                found.base / file.path, arrival.temporary(number),
                partial(check, file.path.name), in_kernel=in_kernel, keep_time=True,
            )  # fmt: skip
        copied = _copied(found, str(parent / found.name), virtual)
        async with destination.store.locks.hold(str(directory)):
            await copier.call(arrival.publish, what=f"publish {directory}")
    return copied


def _copied(found: Survey, path: str, virtual: dict[PurePosixPath, int]) -> Copied:
    """What the answer says of an object that is complete."""
    sizes = {file.path: file.size_bytes for file in found.files}
    if found.main is not None:
        size_bytes = sizes[found.main]
        if not size_bytes:
            raise StorageError(f"{found.main} is empty")
        # Compat: storage-commands.md 7: what is no known image counts by its length.
        return Copied(
            path=path,
            virtual_size_bytes=virtual[found.main] or size_bytes,
            physical_size_bytes=size_bytes,
        )
    if found.properties is not None:
        return Copied(
            path=path,
            virtual_size_bytes=found.properties.virtual_size_bytes,
            physical_size_bytes=found.properties.size_bytes,
        )
    size_bytes = sum(sizes.values())
    return Copied(
        path=path,
        virtual_size_bytes=sum(virtual.values()) or size_bytes,
        physical_size_bytes=size_bytes,
    )


async def template_from_snapshot(
    snapshot: Place,
    template: Place,
    *,
    unique_name: str,
    extension: str,
    check: Check,
    tools: CopyTools,
) -> Copied:
    """Make a template of a snapshot of KVM (storage-commands.md 3.15 b).

    Args:
        snapshot: The file, with or without a suffix.
        template: The directory of the new template.
        unique_name: Of the template.
        extension: Of the format that the volume of the snapshot has.
        check: Judges the image before it becomes visible.
        tools: What every copy needs.

    Raises:
        StorageError: Why it could not be done.
        AgentError: What the check raised.
    """
    asked, directory = snapshot.relative(), checked_template_directory(template)
    found = await snapshot.store.run(_find, snapshot.store.root, asked, what=f"read {asked}")
    place = snapshot.store.root / asked.parent / found.path
    name = check_name(f"{found.path}.{extension}")
    async with arriving(
        template.store, directory, (PurePosixPath(name),), kind=ImageKind.TEMPLATE, mark=True,
        source=place.parent, tools=tools,
    ) as (copier, arrival):  # fmt: skip
        in_kernel = await copier.call(copies_in_kernel, snapshot.store, template.store)
        await check_space(template.store, found.data_bytes, in_kernel=in_kernel)
        copier.expect(found.data_bytes)
        copied, virtual_size_bytes = await copier.copy(
            place, arrival.temporary(0), partial(check, name), in_kernel=in_kernel
        )
        result = Copied(
            path=str(directory / name),
            virtual_size_bytes=virtual_size_bytes,
            physical_size_bytes=copied.size_bytes,
        )
        await publish_template(copier, arrival, template.store, result, unique_name, tools)
    if place.stem.endswith(_FLATTENED):
        # Differs: storage-commands.md 3.15 b: only the name of the file itself counts.
        await snapshot.store.run(place.unlink, missing_ok=True, what=f"delete {asked}")
    return result


def _find(root: Path, asked: PurePosixPath) -> SourceFile:
    found = locate(root, asked)
    if found is None:
        raise NotFoundError(f"The snapshot {asked} does not exist on the secondary storage")
    return source_file(found, PurePosixPath(found.name))


def checked_template_directory(template: Place) -> PurePosixPath:
    """The directory of a template that is to be made (requirements S8)."""
    directory = template.relative()
    check_depth(directory, top_of(ImageKind.TEMPLATE), 2)
    return directory


async def publish_template(
    copier: Copier,
    arrival: Arrival,
    store: Store,
    copied: Copied,
    unique_name: str,
    tools: CopyTools,
) -> None:
    """Give a new template's image its name, and write its properties (storage-commands.md 6.4).

    Raises:
        StorageError: It is empty (requirements R20), or the store refuses.
    """
    if copied.physical_size_bytes <= 0 or copied.virtual_size_bytes <= 0:
        raise StorageError("The snapshot has no image in it")
    file_name = PurePosixPath(copied.path).name
    properties = ImageProperties(
        unique_name=unique_name,
        id=_SNAPSHOT_TEMPLATE_ID,
        file_name=file_name,
        size_bytes=copied.physical_size_bytes,
        virtual_size_bytes=copied.virtual_size_bytes,
        formats=(PurePosixPath(file_name).suffix.removeprefix("."),),
    )
    path = store.root.joinpath(arrival.directory, str(properties_name(ImageKind.TEMPLATE)))
    write = partial(
        write_file, path, properties, now=tools.clock.now(),
        temporary_name=temporary_name(tools.owner, f"{uuid4()}-properties"),
    )  # fmt: skip
    async with store.locks.hold(str(arrival.directory)):
        await copier.call(arrival.publish, write, what=f"publish {arrival.directory}")
