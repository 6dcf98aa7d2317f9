# SPDX-License-Identifier: Apache-2.0
"""Putting a finished template where it belongs, and taking it back (blocking).

Theory of operation: at every moment the destination holds a complete template: the old one or the
new one. The new files are moved beside the old ones, under names of their own; then the properties
file, which says what the template is, is replaced in one step; then the old files are moved out, to
``old/``. Until the work directory is cleared, :func:`undo` can bring them back. What is being done
is in ``plan.json`` before it begins, so a later process can undo what a killed one left.

Only the members of an OVA may have the names of old ones. Each is replaced in one step as well, the
descriptor last, but between the first and the last they are a mixture.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from ssvm_agent.host.files import atomic_write, fsync_directory
from ssvm_agent.sysvmtemplate.errors import StoreUnusableError
from ssvm_agent.sysvmtemplate.workspace import FILE_MODE, Workspace, make_directories

PROPERTIES: Final = "template.properties"
_MAX_PLAN_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is being moved.

    Attributes:
        uuid: Of the new template, as it will be in the database.
        names: Its files.
        database: Whether the database is updated afterwards.
        replaced: Those of the names that files of the old template have; known by :func:`place`.
    """

    uuid: str
    names: tuple[str, ...]
    database: bool
    replaced: tuple[str, ...] = ()


def complete(
    workspace: Workspace, *, received: str, file_name: str, properties: bytes
) -> tuple[str, ...]:
    """Give what has come in its final names and modes, still in ``new/``.

    Args:
        workspace: Of the template.
        received: What the image is called so far.
        file_name: What it shall be called.
        properties: Content of the properties file.

    Returns:
        The names of all files of the template.
    """
    (workspace.new / received).replace(workspace.new / file_name)
    atomic_write(workspace.new / PROPERTIES, properties, mode=FILE_MODE)
    names = _names(workspace.new)
    for name in names:
        (workspace.new / name).chmod(FILE_MODE)
    fsync_directory(workspace.new)
    return tuple(sorted(names))


def place(workspace: Workspace, plan: Plan) -> None:
    """Move the new template in and the old one out.

    Raises:
        OSError: The store refused; call :func:`undo`.
    """
    destination = workspace.destination
    before = set(_names(destination))
    plan = replace(plan, replaced=tuple(name for name in plan.names if name in before))
    atomic_write(workspace.plan, json.dumps(asdict(plan)).encode(), mode=FILE_MODE)
    make_directories(workspace.root, destination)
    for name in sorted(plan.names, key=_order):
        if name in before:
            _keep(workspace, name)
        (workspace.new / name).replace(destination / name)
    fsync_directory(destination)
    for name in before - set(plan.names):
        (destination / name).replace(workspace.old / name)
    fsync_directory(destination)


def undo(workspace: Workspace) -> None:
    """Bring back what was there before :func:`place`, however far that had come.

    Raises:
        OSError: The store refused; what is missing is still in ``old/``.
    """
    plan = read_plan(workspace)
    if plan is None:
        return
    for name in sorted(_names(workspace.old), key=_order):
        (workspace.old / name).replace(workspace.destination / name)
    for name in set(plan.names) - set(plan.replaced):
        with contextlib.suppress(FileNotFoundError):
            (workspace.destination / name).unlink()
    with contextlib.suppress(OSError):
        fsync_directory(workspace.destination)
        # Not empty: the old template is in it.
        workspace.destination.rmdir()


def read_plan(workspace: Workspace) -> Plan | None:
    """What is, or was, being moved; None when nothing has been moved yet.

    Raises:
        StoreUnusableError: The file is not ours.
    """
    try:
        with workspace.plan.open("rb") as file:
            read = json.loads(file.read(_MAX_PLAN_BYTES))
            return Plan(
                uuid=str(read["uuid"]),
                names=tuple(str(name) for name in read["names"]),
                database=bool(read["database"]),
                replaced=tuple(str(name) for name in read["replaced"]),
            )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StoreUnusableError(
            f"{workspace.plan} cannot be understood. Look whether {workspace.destination} and "
            f"{workspace.old} have anything worth keeping, then remove {workspace.home}"
        ) from error


def is_in_place(workspace: Workspace, plan: Plan) -> bool:
    """Whether the template of a plan is what the destination holds."""
    try:
        text = (workspace.destination / PROPERTIES).read_text("latin-1")
    except FileNotFoundError:
        return False
    return f"filename={plan.uuid}." in text


def _order(name: str) -> int:
    """What says that something is there comes after what it speaks of."""
    if name == PROPERTIES:
        return 2
    return 1 if name.lower().endswith(".ovf") else 0


def _keep(workspace: Workspace, name: str) -> None:
    """Keep a file that is about to be replaced, without taking it away before."""
    path, kept = workspace.destination / name, workspace.old / name
    try:
        os.link(path, kept, follow_symlinks=False)
    except OSError:
        # Not every file system has hard links. A piece of a copy must not look like a kept file.
        growing = workspace.home / "copy"
        shutil.copy2(path, growing, follow_symlinks=False)
        growing.replace(kept)


def _names(directory: Path) -> list[str]:
    try:
        return [path.name for path in directory.iterdir()]
    except FileNotFoundError:
        return []
