# SPDX-License-Identifier: Apache-2.0
"""The blocking steps around a transfer: reserve a directory, publish what came in, clean up.

Run in the threads of the store. A file gets its final name only when it is complete and checked;
the properties appear after it, in one step; until then an empty properties file marks the directory
as in progress (requirements R20).
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from ssvm_agent.host.files import rename_into_place
from ssvm_agent.storage.errors import (
    CorruptPropertiesError,
    IncompletePropertiesError,
    NotFoundError,
    StorageError,
)
from ssvm_agent.storage.layout import (
    ImageKind,
    is_temporary,
    parse_temporary,
    properties_name,
    temporary_name,
)
from ssvm_agent.storage.paths import make_directories, resolve_inside
from ssvm_agent.storage.properties import ImageProperties, mark_in_progress, read_file, write_file

# Version 3, as images are named (storage-commands.md 4.10.2).
_NAME_BASED_UUID: Final = re.compile(
    "[0-9a-f]{8}-[0-9a-f]{4}-3[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A directory prepared for one image.

    Attributes:
        directory: Absolute; exists.
        temporary: Where the image grows; does not exist yet.
    """

    directory: Path
    temporary: Path


def reserve(root: Path, relative: str, kind: ImageKind, *, owner: str, job_id: str) -> Reservation:
    """Make the install directory and mark it as in progress.

    Raises:
        PathEscapeError: The directory is not a path below the store.
        OSError: The store refuses.
    """
    directory = make_directories(root, relative)
    mark_in_progress(directory, kind)
    return Reservation(directory=directory, temporary=directory / temporary_name(owner, job_id))


def publish(
    reservation: Reservation, kind: ImageKind, properties: ImageProperties, *, now: datetime
) -> None:
    """Give the finished file its name and write its properties; complete or not at all.

    A file of an earlier installation in the same directory is removed last, also of one that ended
    between these two steps.
    """
    path = reservation.directory / _name_of(kind)
    earlier = _earlier_files(path, properties)
    target = reservation.directory / properties.file_name
    rename_into_place(reservation.temporary, target)
    try:
        write_file(
            path, properties, now=now, temporary_name=f"{reservation.temporary.name}.properties"
        )
    except BaseException:
        with contextlib.suppress(OSError):
            target.unlink()
        raise
    _remove_replaced(path, earlier)


def clean_up(reservation: Reservation, kind: ImageKind) -> None:
    """Remove what a failed ingest made: the mark if it is still empty, the directory if it is.

    While another ingest has a temporary file there, the mark is that one's.
    """
    name = properties_name(kind)
    with contextlib.suppress(FileNotFoundError):
        reservation.temporary.unlink()
    with contextlib.suppress(FileNotFoundError):
        others_at_work = any(is_temporary(path.name) for path in reservation.directory.iterdir())
        mark = reservation.directory / (name or "")
        if name is not None and not others_at_work and not mark.lstat().st_size:
            mark.unlink()
    # Not empty: something of somebody else is in it.
    with contextlib.suppress(OSError):
        reservation.directory.rmdir()


def sweep(root: Path, relative: str, kind: ImageKind, *, owner: str, job_id: str) -> None:
    """Remove the temporary files one job of ours left in its directory; those of others stay."""
    directory = resolve_inside(root, relative)
    ours = parse_temporary(temporary_name(owner, job_id))
    try:
        names = [entry.name for entry in os.scandir(directory)]
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        found = parse_temporary(name)
        # The parts of a snapshot carry a number behind the job id.
        if found and ours and found.owner == ours.owner and found.job_id.startswith(ours.job_id):
            with contextlib.suppress(FileNotFoundError):
                (directory / name).unlink()
    temporary = directory / temporary_name(owner, job_id)
    clean_up(Reservation(directory=directory, temporary=temporary), kind)


def place_snapshot(root: Path, directory: str, files: tuple[tuple[Path, str], ...]) -> None:
    """Move finished parts of a snapshot to their names, replacing what has them.

    Args:
        root: Of the store.
        directory: Install directory of the snapshot.
        files: Temporary file and path below the install directory, for each part.
    """
    for temporary, relative in files:
        target = resolve_inside(root, f"{directory}/{relative}")
        make_directories(root, str(target.parent.relative_to(root)))
        rename_into_place(temporary, target)


def _name_of(kind: ImageKind) -> str:
    name = properties_name(kind)
    if name is None:
        raise ValueError(f"a {kind} has no properties file")
    return name


def _remove_replaced(path: Path, names: list[str]) -> None:
    """Remove earlier images, but none the properties name now.

    An agent elsewhere that installs the same object may have written them since ours. What stays
    because they cannot be read costs space only.
    """
    for name in names:
        with contextlib.suppress(StorageError, OSError):
            if read_file(path).file_name != name:
                (path.parent / name).unlink()


def _earlier_files(path: Path, properties: ImageProperties) -> list[str]:
    """Images that the new one replaces.

    The one an earlier, complete properties file names; without such a file, what is called as only
    an installation calls it. Hypervisors name the volumes they put somewhere by random UUIDs.
    """
    try:
        names = [read_file(path).file_name]
    except IncompletePropertiesError:
        suffix = Path(properties.file_name).suffix
        names = [
            entry.name
            for entry in path.parent.iterdir()
            if entry.suffix == suffix and _NAME_BASED_UUID.fullmatch(entry.stem)
        ]
    except (CorruptPropertiesError, NotFoundError, FileNotFoundError):
        names = []
    return [name for name in names if name != properties.file_name]
