# SPDX-License-Identifier: Apache-2.0
"""Where a template grows before anybody can see it: a directory on the same store (blocking).

    <mount>/.cloud-install-sys-tmplt/
    ├── 3.lock         held while template 3 is being installed, by whatever machine
    └── 3/
        ├── new/       the template as it comes in, complete and checked before it is moved
        ├── old/       what it replaces, until the database has been updated
        └── plan.json  what is being moved; see placement.py

It lies outside ``template/tmpl``, so no list of templates shows it, and on the same file system, so
that moving costs nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from ssvm_agent.storage.errors import PathEscapeError
from ssvm_agent.storage.layout import TEMPLATES
from ssvm_agent.storage.paths import resolve_inside
from ssvm_agent.sysvmtemplate.errors import BusyError, StoreUnusableError

WORK_DIRECTORY: Final = ".cloud-install-sys-tmplt"
# The system account; boot-and-system.md 6.1.
_ACCOUNT: Final = 1
# The stock script's result under umask 0022, whatever the umask is here: hypervisors read these
# files as other users (boot-and-system.md 6.1).
DIRECTORY_MODE: Final = 0o755
FILE_MODE: Final = 0o644
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


@dataclass(frozen=True, slots=True)
class Workspace:
    """The places of one template on one store; nothing needs to exist.

    Attributes:
        root: Where the store is mounted.
        template_id: Of the template.
    """

    root: Path
    template_id: int

    @property
    def destination_relative(self) -> str:
        """Where the template belongs, below the root."""
        return f"{TEMPLATES}/{_ACCOUNT}/{self.template_id}"

    @property
    def destination(self) -> Path:
        """Where the template belongs."""
        return self.root / self.destination_relative

    @property
    def new_relative(self) -> str:
        """Where it grows, below the root."""
        return f"{WORK_DIRECTORY}/{self.template_id}/new"

    @property
    def home(self) -> Path:
        """All that belongs to this installation."""
        return self.root / WORK_DIRECTORY / str(self.template_id)

    @property
    def new(self) -> Path:
        """Where it grows."""
        return self.root / self.new_relative

    @property
    def old(self) -> Path:
        """What it replaces."""
        return self.home / "old"

    @property
    def plan(self) -> Path:
        """What is being moved."""
        return self.home / "plan.json"

    @property
    def lock(self) -> Path:
        """Held during an installation."""
        return self.root / WORK_DIRECTORY / f"{self.template_id}.lock"

    def check_paths(self) -> None:
        """Make sure that no symbolic link leads elsewhere.

        Raises:
            StoreUnusableError: One does, or a part of the path is on another file system.
        """
        try:
            for relative in (self.destination_relative, self.new_relative):
                resolve_inside(self.root, relative)
        except PathEscapeError as error:
            raise StoreUnusableError(
                f"{error.message} of {self.root}; remove the link, a template is not installed "
                "through one"
            ) from error
        device = self.root.stat().st_dev
        for place in (self.destination, *self.destination.parents):
            if place == self.root:
                break
            if place.exists() and place.stat().st_dev != device:
                raise StoreUnusableError(
                    f"{place} is on another file system than {self.root}: give the mount point of "
                    "the store itself"
                )

    def make(self) -> None:
        """Make the empty directories."""
        make_directories(self.root, self.new)
        make_directories(self.root, self.old)

    def clear(self) -> None:
        """Remove everything of this installation but the lock."""
        with contextlib.suppress(FileNotFoundError):
            # First what would be undone, so that nothing is undone when this is cut short.
            self.plan.unlink()
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.home)


class StoreLock:
    """The right to install one template on one store; ends with the process at the latest."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def take(cls, workspace: Workspace) -> Self:
        """Take the lock.

        Raises:
            BusyError: Somebody has it.
            OSError: The store refuses.
        """
        make_directories(workspace.root, workspace.lock.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(workspace.lock, flags, FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it before may have removed the file between our two calls.
            held = _is_at(descriptor, workspace.lock)
        except OSError as error:
            # Mounted without locks: then two installations at once are not kept apart.
            held = error.errno in _NO_LOCKS
            if not held and error.errno not in {errno.EAGAIN, errno.EACCES}:
                os.close(descriptor)
                raise
        if not held:
            os.close(descriptor)
            raise BusyError(
                f"Template {workspace.template_id} is being installed on {workspace.root} by "
                "another process or machine; wait for it to end"
            )
        return cls(workspace.lock, descriptor)

    def release(self) -> None:
        """Give it back; nothing is left of it."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        with contextlib.suppress(OSError):
            self._path.parent.rmdir()
        os.close(self._descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def make_directories(root: Path, directory: Path) -> None:
    """Make what is missing below a root, readable for everybody whatever the umask."""
    place = root
    for part in directory.relative_to(root).parts:
        place = place / part
        with contextlib.suppress(FileExistsError):
            place.mkdir()
            place.chmod(DIRECTORY_MODE)
