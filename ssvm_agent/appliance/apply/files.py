# SPDX-License-Identifier: Apache-2.0
"""Declared files: compare with what is there, replace atomically, put back.

Blocking; call it in a pool. What a file shall contain is said by a :class:`FileWish`; this module
does not know any file.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from ssvm_agent.appliance.apply.report import Item, Status
from ssvm_agent.appliance.errors import ApplianceError
from ssvm_agent.host.files import atomic_write, fsync_directory

_MAX_FILE_BYTES: Final = 4 << 20
_DEFAULT_MODE: Final = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class FileWish:
    """One file as it shall be.

    Attributes:
        path: Absolute on the machine.
        render: From the present content (``None``: there is no file) to the wanted one (``None``:
            leave the file alone). Raises :class:`ApplianceError` when it cannot be made.
        mode: Permission bits; ``None`` keeps those of an edited file.
        directory_mode: For directories that have to be made.
        is_network: Whether it is put back together with the network.
    """

    path: PurePosixPath
    render: Callable[[bytes | None], bytes | None]
    mode: int | None = _DEFAULT_MODE
    directory_mode: int = 0o755
    is_network: bool = False

    @property
    def item(self) -> str:
        """Its name in reports."""
        return f"file {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A file as it was.

    Attributes:
        item: Its name in reports.
        path: Where it is.
        content: ``None`` when there was none.
        mode: Its permission bits.
        link: Target, when it was a symbolic link.
    """

    item: str
    path: Path
    content: bytes | None = None
    mode: int = _DEFAULT_MODE
    link: str | None = None


class Files:
    """The files of a machine, below a root."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def apply(self, wish: FileWish, *, dry_run: bool) -> tuple[Item, Saved | None]:
        """Make one file as wished; never raises for what the machine does.

        Returns:
            What came of it, and how to put it back when it was changed.
        """
        path = self._root / wish.path.relative_to("/")
        try:
            saved = self._save(wish.item, path)
            if not dry_run:
                _sweep(path)
            wanted = wish.render(self._content(path))
            if wanted is None:
                return Item(name=wish.item, status=Status.UNCHANGED, reason="left as it is"), None
            mode = wish.mode if wish.mode is not None else saved.mode
            difference = self._difference(path, saved, wanted, mode)
            if not difference:
                return Item(name=wish.item, status=Status.UNCHANGED), None
            if dry_run:
                return Item(name=wish.item, status=Status.WOULD_CHANGE, reason=difference), None
            _make_directories(path.parent, wish.directory_mode)
            atomic_write(path, wanted, mode=mode)
        except ApplianceError as error:
            return Item(name=wish.item, status=Status.FAILED, reason=error.for_operators()), None
        except OSError as error:
            reason = error.strerror or str(error)
            return Item(name=wish.item, status=Status.FAILED, reason=reason), None
        return Item(name=wish.item, status=Status.CHANGED, reason=difference), saved

    def restore(self, saved: Saved) -> str:
        """Put a file back; returns why that failed, or nothing."""
        try:
            if saved.link is not None:
                _link(saved.path, saved.link)
            elif saved.content is None:
                with contextlib.suppress(FileNotFoundError):
                    saved.path.unlink()
                fsync_directory(saved.path.parent)
            else:
                atomic_write(saved.path, saved.content, mode=saved.mode)
        except OSError as error:
            return f"{saved.path}: {error.strerror}"
        return ""

    def _content(self, path: Path) -> bytes | None:
        # Below another root an absolute link would lead out of it.
        if path.is_symlink() and self._root != Path("/"):
            return None
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return None
        if len(content) > _MAX_FILE_BYTES:
            raise ApplianceError(f"it has more than {_MAX_FILE_BYTES >> 20} MiB")
        return content

    def _save(self, item: str, path: Path) -> Saved:
        try:
            found = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return Saved(item=item, path=path)
        if stat.S_ISLNK(found.st_mode):
            return Saved(item=item, path=path, link=str(path.readlink()))
        if not stat.S_ISREG(found.st_mode):
            raise ApplianceError("it is no regular file")
        return Saved(
            item=item, path=path, content=self._content(path), mode=stat.S_IMODE(found.st_mode)
        )

    def _difference(self, path: Path, saved: Saved, wanted: bytes, mode: int) -> str:
        current = self._content(path)
        if current is None:
            return "it was not there"
        if current != wanted:
            return "its content differed"
        if saved.link is None and saved.mode != mode:
            return f"its mode was {saved.mode:o}"
        return ""


def _sweep(path: Path) -> None:
    """Remove what an apply that was killed left beside the file; no other one is running."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        leftover.unlink(missing_ok=True)


def _make_directories(path: Path, mode: int) -> None:
    missing = [one for one in (path, *path.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        one.chmod(mode)


def _link(path: Path, target: str) -> None:
    temporary = path.with_name(f".{path.name}.link")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    os.symlink(target, temporary)  # noqa: PTH211 - the target is a text, not a path of ours
    temporary.replace(path)
    fsync_directory(path.parent)
