# SPDX-License-Identifier: Apache-2.0
"""The files of an OVA on a store: unpacking it beside itself, packing it again on request.

Each runs in a thread of its own, because it takes as long as a copy does; giving it up stops the
thread at the next piece (storage-commands.md 3.17, 3.20).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar
from uuid import uuid4

from ssvm_agent.host.pools import WorkPool
from ssvm_agent.images import ova_meta
from ssvm_agent.images.archive import pack, unpack
from ssvm_agent.images.errors import ArchiveRefusedError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.random_access import inspect_file
from ssvm_agent.ingest.errors import AbortedError
from ssvm_agent.storage.errors import NotFoundError, from_os_error
from ssvm_agent.storage.layout import TEMPLATES, check_depth, check_relative, temporary_name
from ssvm_agent.storage.paths import is_plain_file, resolve_inside
from ssvm_agent.storage.stores import Store

T = TypeVar("T")

META_SUFFIX: Final = ".meta"
# What a store keeps beside an OVA; no member may replace it.
_RESERVED: Final = ("template.properties", "volume.properties")
_MAX_META_BYTES: Final = 1 << 16
# Only the command's own time ends it earlier; the thread looks up after every piece.
_DEADLINE_S: Final = 12 * 3600.0


async def unpack_beside(store: Store, ova: PurePosixPath, *, owner: str) -> None:
    """Unpack an OVA into its directory, after inspecting it (requirements S1, S5).

    Args:
        store: Where it is.
        ova: Its path.
        owner: Host name of this agent, for temporary files.

    Raises:
        ImageError: The archive, or a disk in it, is not acceptable; nothing is left.
        StorageError: The store failed; nothing is left.
    """
    prefix = temporary_name(owner, str(uuid4()))

    def work(look: Callable[[int], None]) -> None:
        with _opened(resolve_inside(store.root, ova, must_exist=True)) as (archive, directory):
            inspect_file(archive, ImageFormat.OVA)
            unpack(
                archive, directory, temporary_prefix=f"{prefix}.",
                protected={ova.name, *_RESERVED}, on_progress=look,
            )  # fmt: skip

    await _apart(work, f"unpack {ova}")


async def pack_ova(store: Store, path: str, *, owner: str) -> str:
    """Have an OVA that exists only as its parts (storage-commands.md 3.20).

    Args:
        store: Where it is.
        path: Of the OVA; what it consists of says ``<path>.meta`` beside it.
        owner: Host name of this agent, for temporary files.

    Returns:
        The path of the OVA, which is there now.

    Raises:
        NotFoundError: There is neither the OVA nor its description.
        ImageError: The description is not acceptable.
        StorageError: The store failed; nothing is left.
    """
    wanted = check_relative(path, strip_slash=True)
    check_depth(wanted, TEMPLATES, 3)
    async with store.locks.hold(("pack", str(wanted))):
        if not await store.run(_exists, store.root, wanted, what=f"look at {wanted}"):
            await _pack(store, wanted, owner)
    return str(wanted)


async def _pack(store: Store, wanted: PurePosixPath, owner: str) -> None:
    meta = await store.run(_read_meta, store.root, wanted, what=f"read {wanted}{META_SUFFIX}")
    if meta.file_name != wanted.name:
        raise ArchiveRefusedError(f"The description of {wanted.name!r} is that of another OVA.")
    name = temporary_name(owner, str(uuid4()))

    def work(look: Callable[[int], None]) -> None:
        with _opened(store.root / wanted.parent) as (_, directory):
            pack(directory, meta.members, wanted.name, temporary_name=name, on_progress=look)

    await _apart(work, f"pack {wanted}")


def _exists(root: Path, path: PurePosixPath) -> bool:
    return is_plain_file(resolve_inside(root, path))


def _read_meta(root: Path, ova: PurePosixPath) -> ova_meta.OvaMeta:
    place = resolve_inside(root, ova.with_name(f"{ova.name}{META_SUFFIX}"))
    if not is_plain_file(place):
        raise NotFoundError(f"{ova} does not exist on the secondary storage")
    with place.open("rb") as file:
        return ova_meta.parse(file.read(_MAX_META_BYTES).decode("latin-1"))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int]]:
    """Descriptors of a file, or of the directory itself, and of the directory."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    first = os.open(path, flags)
    try:
        second = os.open(path if path.is_dir() else path.parent, flags | os.O_DIRECTORY)
        try:
            yield first, second
        finally:
            os.close(second)
    finally:
        os.close(first)


async def _apart(work: Callable[[Callable[[int], None]], T], what: str) -> T:
    """Run something long in a thread of its own that stops when nobody waits for it any more."""
    stopped = threading.Event()

    def look(_copied: int) -> None:
        if stopped.is_set():
            raise AbortedError(f"Stopped: {what}")

    pool = WorkPool(what, threads=1)
    try:
        return await pool.call(work, look, deadline_s=_DEADLINE_S)
    except OSError as error:
        raise from_os_error(error, what) from error
    finally:
        stopped.set()
        pool.close()
