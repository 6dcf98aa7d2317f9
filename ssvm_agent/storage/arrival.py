# SPDX-License-Identifier: Apache-2.0
"""An object on its way into a directory: all its files appear there, or none.

Blocking; the methods of one arrival are called in one thread. Every file grows under a temporary
name in the directory of the object (requirements R13). Until all are there, an empty properties
file keeps the directory out of lists; what was made is remembered, so that it can be taken back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from ssvm_agent.host.files import rename_into_place
from ssvm_agent.storage.errors import ConflictError
from ssvm_agent.storage.layout import ImageKind, properties_name, temporary_name, top_of
from ssvm_agent.storage.paths import (
    is_plain_directory,
    is_plain_file,
    make_directories,
    resolve_inside,
)
from ssvm_agent.storage.properties import mark_in_progress


class Arrival:
    """The files of one object at their destination.

    Args:
        root: Of the destination store.
        directory: Of the object, relative to it.
        files: Relative to the directory, in the order in which they shall appear.
        kind: Decides the name of the properties file.
        mark: Whether to mark the directory until all files are there.
        owner: Host name of this agent, and
        job_id: a unique name, both for temporary files.
    """

    def __init__(
        self, root: Path, directory: PurePosixPath, files: Sequence[PurePosixPath], *,
        kind: ImageKind, mark: bool, owner: str, job_id: str,
    ) -> None:  # fmt: skip
        self.directory = directory
        # Two levels below its tree, where temporaries are swept at start.
        depth = len(top_of(kind).parts) + 2
        self._waiting = root.joinpath(*directory.parts[:depth])
        self._root = root
        self._files = files
        self._kind = kind
        self._wants_mark = mark
        self._owner = owner
        self._job_id = job_id
        self._made: list[Path] = []
        self._mark: Path | None = None

    def temporary(self, number: int) -> Path:
        """Where a file grows."""
        name = temporary_name(self._owner, f"{self._job_id}-{number}")
        return self._waiting / name

    def _target(self, number: int) -> Path:
        return self._root.joinpath(self.directory, self._files[number])

    def prepare(self, source: Path | None = None) -> None:
        """Make the directories, and say that an object is on its way.

        Args:
            source: Where the files come from.

        Raises:
            ConflictError: That is this very directory, or something else than a file is in the
                place of a file.
            PathEscapeError: There is a link in the way.
            OSError: The store refuses.
        """
        for parent in sorted({self.directory, *(self.directory / f.parent for f in self._files)}):
            self._make(parent)
        place = self._root / self.directory
        if source is not None and place.samefile(source):
            raise ConflictError(f"{self.directory} is source and destination of the copy")
        for file in self._files:
            if is_plain_directory(resolve_inside(self._root, self.directory / file)):
                raise ConflictError(f"A directory is in the place of {self.directory / file}")
        name = properties_name(self._kind)
        if self._wants_mark and name is not None:
            fresh = not (place / name).exists()
            mark_in_progress(place, self._kind)
            self._mark = place / name if fresh else None

    def _make(self, directory: PurePosixPath) -> None:
        place = resolve_inside(self._root, directory)
        missing = [one for one in (place, *place.parents) if not one.exists()]
        self._made += reversed(missing)
        make_directories(self._root, directory)

    def publish(self, finish: Callable[[], None] | None = None) -> None:
        """Give every file its name.

        Args:
            finish: Called when all have theirs; writes the properties where they are new.

        Raises:
            OSError: The store refuses; :meth:`take_back` removes those that have their names.
        """
        for number in range(len(self._files)):
            target = self._target(number)
            fresh = not target.exists()
            rename_into_place(self.temporary(number), target)
            if fresh or target == self._mark:
                self._made.append(target)
        if finish is not None:
            finish()

    def take_back(self) -> None:
        """Remove what was made, except what somebody else uses by now."""
        if self._mark is not None and is_plain_file(self._mark) and not self._mark.stat().st_size:
            self._mark.unlink()
        for path in reversed(self._made):
            with contextlib.suppress(OSError):
                # A directory that is not empty has something of somebody else in it.
                path.rmdir() if is_plain_directory(path) else path.unlink()
