# SPDX-License-Identifier: Apache-2.0
"""Opening a file below a directory so that no link and no swap on the way leads elsewhere (S8).

Every component is opened relative to the one before it, and none may be a symbolic link, so what
is opened is below the root even when somebody renames directories meanwhile. Facts come from the
open file, never from a name. Blocking: for a store's own threads.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from ssvm_agent.web.errors import PublishError
from ssvm_agent.web.ranges import FileFacts


class NotServedError(PublishError):
    """There is no regular file of this name below the root."""

    code = "not-served"


class OpenFile:
    """A regular file open for reading; the owner closes it, also as a context manager."""

    __slots__ = ("_descriptor", "facts")

    def __init__(self, descriptor: int, facts: FileFacts) -> None:
        self._descriptor = descriptor
        self.facts = facts

    def fileno(self) -> int:
        """The descriptor, for sendfile and pread."""
        return self._descriptor

    def close(self) -> None:
        """Close it; a second time changes nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_below(root: Path, parts: Sequence[str]) -> OpenFile:
    """Open the regular file ``root/parts...``.

    Args:
        root: A directory of ours; it may itself be reached through links.
        parts: Single names; anything that is not exactly one name is refused.

    Raises:
        NotServedError: A component is missing, a link, or not of the right type.
        OSError: The file system failed.
    """
    if not parts:
        raise NotServedError("There is no such file.")
    directory = _walk(root, parts[:-1])
    try:
        # Non-blocking: opening a FIFO must not wait for its writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        descriptor = _open(parts[-1], flags, directory)
    finally:
        os.close(directory)
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise NotServedError("There is no such file.")
    return OpenFile(
        descriptor,
        FileFacts(size_bytes=facts.st_size, modified_ns=facts.st_mtime_ns, inode=facts.st_ino),
    )


@contextlib.contextmanager
def open_directory_below(root: Path, parts: Sequence[str]) -> Iterator[int]:
    """Open the directory ``root/parts...``, under the rules of :func:`open_below`.

    Yields:
        Its descriptor, for fstat and fchmod.
    """
    above = _walk(root, parts)
    try:
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=above)
    finally:
        os.close(above)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _walk(root: Path, parts: Sequence[str]) -> int:
    """A descriptor of the directory ``root/parts...``, good for a further step only."""
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    for part in parts:
        try:
            following = _open(part, flags, directory)
        finally:
            os.close(directory)
        directory = following
    return directory


def _open(name: str, flags: int, directory: int) -> int:
    if not _is_name(name):
        raise NotServedError("There is no such file.")
    try:
        return os.open(name, flags, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotServedError("There is no such file.") from error
    except OSError as error:
        # ELOOP: a symbolic link; ENXIO: a FIFO or socket; EACCES and the rest are the system's.
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG}:
            raise NotServedError("There is no such file.", detail=str(error)) from error
        raise


def _is_name(part: str) -> bool:
    return bool(part) and part not in {".", ".."} and "/" not in part and "\0" not in part
