# SPDX-License-Identifier: Apache-2.0
"""Copies between real mounts: two file systems, full, read-only, vanished, out of quota."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ssvm_agent.ingest.image_check import check_image
from ssvm_agent.storage.catalog import list_templates
from ssvm_agent.storage.copier import copies_in_kernel
from ssvm_agent.storage.copies import CopyTools, Place, migrate, template_from_snapshot
from ssvm_agent.storage.errors import (
    NoSpaceError,
    NotFoundError,
    ReadOnlyStoreError,
    StorageError,
    StoreUnavailableError,
)
from ssvm_agent.storage.layout import ImageKind
from ssvm_agent.storage.service import StoreService
from ssvm_agent.storage.stores import Store, StoreRef
from tests.fakes.machine import FakeClock, beside_the_loop
from tests.fixtures import hostile_images as make

pytestmark = pytest.mark.needs_root

FIRST = StoreRef(url="nfs://10.1.1.5/export/first")
SECOND = StoreRef(url="nfs://10.1.1.5/export/second")
TOOLS = CopyTools(owner="s-1-VM", clock=FakeClock())
SNAPSHOT = "snapshots/2/7/s1"
MIB = 1 << 20
IMAGE = make.qcow2() + os.urandom(3 * MIB)
Sh = Callable[..., None]


def put(store: Store, path: str = SNAPSHOT, data: bytes = IMAGE) -> None:
    place = store.root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)


def tree(store: Store) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(store.root)): path.read_bytes() if path.is_file() else None
        for path in sorted(store.root.rglob("*"))
    }


def leave(store: Store, free_bytes: int) -> None:
    """Fill a store until about this much is left."""
    found = os.statvfs(store.root)
    size = found.f_bavail * found.f_frsize - free_bytes
    with (store.root / "filler").open("wb") as file, contextlib.suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, size)


async def make_template(source: Store, target: Store) -> str:
    copied = await template_from_snapshot(
        Place(store=source, path=SNAPSHOT), Place(store=target, path="template/tmpl/2/210"),
        unique_name="210-2-x", extension="qcow2", check=check_image, tools=TOOLS,
    )  # fmt: skip
    return copied.path


async def move(source: Store, target: Store) -> str:
    copied = await migrate(
        ImageKind.SNAPSHOT, Place(store=source, path=SNAPSHOT),
        Place(store=target, path="snapshots/2/7"), check=check_image, tools=TOOLS,
    )  # fmt: skip
    return copied.path


async def test_between_two_file_systems_the_data_passes_by_verified(service: StoreService) -> None:
    first, second = await service.open(FIRST), await service.open(SECOND)
    beside_the_loop(put, first)
    assert not beside_the_loop(copies_in_kernel, first, second)
    assert (second.root / await move(first, second)).read_bytes() == IMAGE
    path = await make_template(first, second)
    assert (second.root / path).read_bytes() == IMAGE
    assert (await list_templates(second)).keys() == {"210-2-x"}


@pytest.mark.parametrize("free_bytes", [0, 4096, MIB, 2 * MIB])
@pytest.mark.parametrize("copy", [make_template, move])
async def test_a_store_that_is_full_stays_as_it_was(
    service: StoreService, free_bytes: int, copy: Callable[..., object]
) -> None:
    first, second = await service.open(FIRST), await service.open(SECOND)
    beside_the_loop(put, first)
    beside_the_loop(leave, second, free_bytes)
    before = beside_the_loop(tree, second)
    with pytest.raises(NoSpaceError, match=r"[Nn]o space is left"):
        await copy(first, second)  # type: ignore[misc]
    assert beside_the_loop(tree, second) == before


async def test_a_store_that_fills_up_on_the_way_stays_as_it_was(
    service: StoreService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures said it would fit."""
    first, second = await service.open(FIRST), await service.open(SECOND)
    beside_the_loop(put, first)
    beside_the_loop(leave, second, 2 * MIB)
    before = beside_the_loop(tree, second)

    async def plenty() -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 10**9, 10**9, 10**9, 10, 10, 10, 0, 255))

    monkeypatch.setattr(second, "statvfs", plenty)
    with pytest.raises(NoSpaceError, match="Unable to copy"):
        await make_template(first, second)
    assert beside_the_loop(tree, second) == before


@pytest.mark.parametrize("copy", [make_template, move])
async def test_a_read_only_destination_says_so(
    service: StoreService, sh: Sh, copy: Callable[..., object]
) -> None:
    first, second = await service.open(FIRST), await service.open(SECOND)
    beside_the_loop(put, first)
    sh("mount", "-o", "remount,ro", second.root)
    before = beside_the_loop(tree, second)
    with pytest.raises(ReadOnlyStoreError, match="read-only"):
        await copy(first, second)  # type: ignore[misc]
    assert beside_the_loop(tree, second) == before


async def test_a_read_only_source_can_be_copied(service: StoreService, sh: Sh) -> None:
    first, second = await service.open(FIRST), await service.open(SECOND)
    beside_the_loop(put, first)
    sh("mount", "-o", "remount,ro", first.root)
    await make_template(first, second)


@pytest.mark.parametrize("vanishing", ["source", "destination"])
async def test_a_store_that_vanishes_ends_the_copy_with_nothing_below_the_mount(
    service: StoreService, sh: Sh, vanishing: str
) -> None:
    """Requirements R12: nothing is written beneath a mount that is gone."""
    first, second = await service.open(FIRST), await service.open(SECOND)
    beside_the_loop(put, first)
    gone = first if vanishing == "source" else second
    sh("umount", "-l", gone.root)
    with pytest.raises(StorageError) as caught:
        await make_template(first, second)
    expected = NotFoundError if vanishing == "source" else StoreUnavailableError
    assert isinstance(caught.value, expected)
    assert beside_the_loop(tree, gone) == {}


async def test_two_mounts_of_one_export_are_one_place(
    service: StoreService, sh: Sh, mount_root: Path
) -> None:
    """A server that names one store in two ways must not have it deleted after a "move"."""
    first, second = await service.open(FIRST), await service.open(SECOND)
    sh("umount", second.root)
    sh("mount", "--bind", first.root, second.root)
    beside_the_loop(put, first)
    with pytest.raises(StorageError, match="source and destination"):
        await move(first, second)
    assert (first.root / SNAPSHOT).read_bytes() == IMAGE
