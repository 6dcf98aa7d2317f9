# SPDX-License-Identifier: Apache-2.0
"""Unpacking an OVA into a directory and packing one again (requirements S5).

Blocking; call it in the pool of the store. Every header is checked before the first byte is
written; files are created anew in the one directory whose descriptor is given, never through a
link; what was written disappears again when anything goes wrong.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from ssvm_agent.images.errors import ArchiveRefusedError, CorruptImageError
from ssvm_agent.images.names import plain_name
from ssvm_agent.images.random_access import pull
from ssvm_agent.images.stream import Parser
from ssvm_agent.images.tar import Member, TarWalk

_COPY_BYTES = 8 << 20
_FILE_MODE = 0o666
"""Hypervisors reach the store as whatever user its export maps them to."""

_MAX_MEMBERS = 1000
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

Progress = Callable[[int], None]
"""Told how many bytes were copied since the last call; raises to stop the work."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A file that was unpacked; its size in bytes."""

    name: str
    size_bytes: int


def list_members(archive: int) -> tuple[Member, ...]:
    """Walk over a whole archive.

    Args:
        archive: Descriptor of the archive, a regular file.

    Raises:
        ArchiveRefusedError: A member is not acceptable.
        CorruptImageError: The archive is damaged or ends too early.
    """
    length = os.fstat(archive).st_size
    members = pull(_walk(), lambda start, size: os.pread(archive, size, start), length)
    if members and members[-1].end > length:
        raise CorruptImageError("The archive ends in the middle of a member.")
    return members


def unpack(
    archive: int,
    directory: int,
    *,
    temporary_prefix: str,
    protected: Collection[str],
    on_progress: Progress | None = None,
) -> tuple[Unpacked, ...]:
    """Unpack every member of an archive, or none.

    The files grow under temporary names and are renamed when all are complete, descriptors
    (``.ovf``) last, so whoever sees a descriptor sees everything it refers to.

    Args:
        archive: Descriptor of the archive.
        directory: Descriptor of the directory to unpack into.
        temporary_prefix: How temporary names begin; the caller's, so that they can be swept.
        protected: Names that no member may have, such as that of the archive itself.
        on_progress: Told about bytes copied.

    Raises:
        ArchiveRefusedError: A member is not acceptable; nothing was written.
        CorruptImageError: The archive is damaged.
        OSError: The store failed; nothing is left.
    """
    members = list_members(archive)
    guarded = {name.casefold() for name in protected}
    for member in members:
        if member.name.casefold() in guarded or member.name.startswith(temporary_prefix):
            raise ArchiveRefusedError(f"The archive member {member.name!r} has a reserved name.")
        _check_replaceable(directory, member.name)
    temporaries = {member.name: f"{temporary_prefix}{n}" for n, member in enumerate(members)}
    with _removing_on_failure(directory, temporaries.values()):
        for member in members:
            _extract(archive, member, directory, temporaries[member.name], on_progress)
        for name in sorted(temporaries, key=lambda name: name.lower().endswith(".ovf")):
            os.rename(temporaries[name], name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)
    return tuple(Unpacked(member.name, member.size) for member in members)


def pack(
    directory: int,
    names: Sequence[str],
    target: str,
    *,
    temporary_name: str,
    on_progress: Progress | None = None,
) -> int:
    """Pack files of a directory into an archive beside them (storage-commands.md 3.20).

    Args:
        directory: Descriptor of the directory.
        names: The files in order, the descriptor first.
        target: Name of the archive; one of that name is replaced when the new one is complete.
        temporary_name: Under which it grows.
        on_progress: Told about bytes copied.

    Returns:
        Its length in bytes.

    Raises:
        ArchiveRefusedError: A file is not a regular one.
        OSError: The store failed, or a file is missing; nothing is left.
    """
    import tarfile

    with _removing_on_failure(directory, [temporary_name]):
        output = os.open(temporary_name, _CREATE, _FILE_MODE, dir_fd=directory)
        with _closing(output):
            for name in names:
                _append(output, directory, plain_name(name), on_progress)
            _write(output, bytes(2 * tarfile.BLOCKSIZE))
            os.fchmod(output, _FILE_MODE)
            os.fsync(output)
            length = os.fstat(output).st_size
        os.rename(temporary_name, target, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)
    return length


def _append(output: int, directory: int, name: str, on_progress: Progress | None) -> None:
    """Write one member: header, data, padding."""
    import tarfile

    source = os.open(name, _READ, dir_fd=directory)
    with _closing(source):
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode):
            raise ArchiveRefusedError(f"{name!r} is not a regular file.")
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = status.st_size, 0o644, int(status.st_mtime)
        # Sizes beyond 8 GiB need the GNU form, which every tar of today reads.
        _write(output, info.tobuf(tarfile.GNU_FORMAT))
        _copy(source, 0, info.size, output, on_progress)
        _write(output, bytes(-info.size % tarfile.BLOCKSIZE))


def _write(target: int, data: bytes) -> None:
    while data:
        data = data[os.write(target, data) :]


def _check_replaceable(directory: int, name: str) -> None:
    """A file of an earlier attempt may be replaced, nothing else."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(name, dir_fd=directory).st_mode):
            raise ArchiveRefusedError(f"Something else than a file is in the place of {name!r}.")


def _walk() -> Parser[tuple[Member, ...]]:
    walk = TarWalk(_MAX_MEMBERS)
    members: list[Member] = []
    while (member := (yield from walk.next_member())) is not None:
        members.append(member)
    return tuple(members)


def _extract(
    archive: int, member: Member, directory: int, name: str, on_progress: Progress | None
) -> None:
    target = os.open(name, _CREATE, _FILE_MODE, dir_fd=directory)
    with _closing(target):
        os.fchmod(target, _FILE_MODE)
        _copy(archive, member.offset, member.size, target, on_progress)
        os.fsync(target)


def _copy(source: int, offset: int, length: int, target: int, on_progress: Progress | None) -> None:
    """Copy a part of a file to where another stands, inside the file server where possible."""
    end = offset + length
    in_kernel = True
    while offset < end:
        step = min(_COPY_BYTES, end - offset)
        copied = 0
        if in_kernel:
            try:
                copied = os.copy_file_range(source, target, step, offset)
            except OSError:
                # Not every file system can; a real fault shows again when writing.
                in_kernel = False
        if not copied:
            in_kernel = False
            block = os.pread(source, step, offset)
            if not block:
                raise CorruptImageError("A file became shorter while it was copied.")
            copied = os.write(target, block)
        offset += copied
        if on_progress is not None:
            on_progress(copied)


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _removing_on_failure(directory: int, names: Collection[str]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for name in names:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory)
        raise
