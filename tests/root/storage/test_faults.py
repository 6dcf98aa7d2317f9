# SPDX-License-Identifier: Apache-2.0
"""Faults that only a real file system can have: full, read-only, immutable, crowded with links."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ssvm_agent.storage.catalog import list_templates, list_volumes
from ssvm_agent.storage.errors import (
    AccessDeniedError,
    NoSpaceError,
    PathEscapeError,
    QuotaExceededError,
    ReadOnlyStoreError,
    StorageError,
    StoreUnavailableError,
)
from ssvm_agent.storage.layout import ImageKind, temporary_name
from ssvm_agent.storage.paths import make_directories
from ssvm_agent.storage.properties import ImageProperties, write_file
from ssvm_agent.storage.removal import remove_image, remove_snapshot
from ssvm_agent.storage.service import StoreService
from ssvm_agent.storage.stores import Store, StoreRef
from tests.fakes.machine import beside_the_loop
from tests.root.storage.conftest import TmpfsRunner

pytestmark = pytest.mark.needs_root

REF = StoreRef(url="nfs://10.1.1.5/export/secondary")
NOW = datetime(2026, 11, 23, tzinfo=UTC)
TINY = ImageProperties(
    unique_name="205-2-x", id=205, file_name="x.qcow2", size_bytes=1, virtual_size_bytes=1,
    formats=("qcow2",),
)  # fmt: skip
Sh = Callable[..., None]


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def add_template(store: Store) -> Path:
    place = store.root / "template/tmpl/2/205"
    place.mkdir(parents=True)
    (place / "x.qcow2").write_bytes(b"image")
    beside_the_loop(write_file, place / "template.properties", TINY, now=NOW)
    return place


def fill_up(store: Store) -> None:
    """Take every block that is left."""
    with contextlib.suppress(OSError), (store.root / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 65536)


async def test_properties_that_do_not_fit_leave_nothing(service: StoreService) -> None:
    store = await service.open(REF)
    place = add_template(store)
    beside_the_loop(fill_up, store)
    before = tree(store.root)
    name = temporary_name("s-1-VM", "job")
    with pytest.raises(NoSpaceError):
        await store.run(
            write_file, place / "template.properties", TINY, now=NOW, temporary_name=name
        )
    assert tree(store.root) == before
    assert list(await list_templates(store)) == ["205-2-x"]


async def test_a_full_store_can_still_be_cleaned(service: StoreService) -> None:
    store = await service.open(REF)
    add_template(store)
    beside_the_loop(fill_up, store)
    await remove_image(store, ImageKind.TEMPLATE, "template/tmpl/2/205", 205, owner="s-1-VM")
    assert list(tree(store.root)) == ["filler"]


async def test_a_store_without_inodes_refuses_new_directories(
    service: StoreService, runner: TmpfsRunner
) -> None:
    runner.options = "size=1m,nr_inodes=4"
    store = await service.open(REF)
    with pytest.raises(NoSpaceError, match="Unable to make room"):
        await store.run(make_directories, store.root, "template/tmpl/2", what="make room")


async def test_a_read_only_store_keeps_everything(service: StoreService, sh: Sh) -> None:
    store = await service.open(REF)
    add_template(store)
    (store.root / "snapshots/2/5").mkdir(parents=True)
    (store.root / "snapshots/2/5/snap").touch()
    sh("mount", "-o", "remount,ro", store.root)
    before = tree(store.root)
    with pytest.raises(ReadOnlyStoreError):
        await remove_image(store, ImageKind.TEMPLATE, "template/tmpl/2/205", 205, owner="s-1-VM")
    with pytest.raises(ReadOnlyStoreError):
        await remove_snapshot(store, "snapshots/2/5/snap")
    assert tree(store.root) == before
    assert list(await list_templates(store)) == ["205-2-x"]


@pytest.fixture
def quota_runner(runner: TmpfsRunner) -> TmpfsRunner:
    runner.options = "size=16m,mode=0777,usrquota,usrquota_block_hardlimit=1m"
    return runner


async def test_a_used_up_quota_is_told_apart_from_a_full_store(
    service: StoreService, quota_runner: TmpfsRunner
) -> None:
    try:
        store = await service.open(REF)
    except StorageError:
        pytest.skip("the kernel has no quota on tmpfs")
    (store.root / "volumes").chmod(0o777)

    def write_as_somebody() -> None:
        """Root has no quota; the file system goes by the user of the thread."""
        _set_file_system_user(65534)
        try:
            (store.root / "volumes/big").write_bytes(b"x" * (2 << 20))
        finally:
            _set_file_system_user(0)

    with pytest.raises(QuotaExceededError, match="quota"):
        await store.run(write_as_somebody)


def _set_file_system_user(number: int) -> None:
    ctypes.CDLL(None).setfsuid(number)


async def test_a_user_without_rights_is_told_so(service: StoreService) -> None:
    store = await service.open(REF)
    store.root.joinpath("private").mkdir(mode=0o700)

    def read_as_somebody() -> list[str]:
        _set_file_system_user(65534)
        try:
            return [path.name for path in (store.root / "private").iterdir()]
        finally:
            _set_file_system_user(0)

    with pytest.raises(AccessDeniedError):
        await store.run(read_as_somebody)


@pytest.fixture
def immutable(tmp_path: Path, sh: Sh) -> Iterator[Callable[[Path], None]]:
    """Make a file immutable, which binds even root, for the time of a test."""
    made: list[Path] = []

    def make(path: Path) -> None:
        sh("chattr", "+i", path)
        made.append(path)

    yield make
    for path in made:
        if path.exists():
            sh("chattr", "-i", path)


@pytest.mark.needs("chattr")
async def test_what_cannot_be_deleted_is_named_and_may_be_tried_again(
    service: StoreService, immutable: Callable[[Path], None], sh: Sh
) -> None:
    store = await service.open(REF)
    place = add_template(store)
    immutable(place / "x.qcow2")
    with pytest.raises(AccessDeniedError, match="Unable to delete template/tmpl/2/205") as caught:
        await remove_image(store, ImageKind.TEMPLATE, "template/tmpl/2/205", 205, owner="s-1-VM")
    assert str(place / "x.qcow2") in caught.value.detail
    assert await list_templates(store) == {}
    sh("chattr", "-i", place / "x.qcow2")
    await remove_image(store, ImageKind.TEMPLATE, "template/tmpl/2/205", 205, owner="s-1-VM")
    assert not place.exists()


async def test_links_planted_everywhere_lead_nowhere(service: StoreService, tmp_path: Path) -> None:
    """requirements S8: hypervisors can write to the store as well."""
    store = await service.open(REF)
    outside = tmp_path / "outside"
    (outside / "2/205").mkdir(parents=True)
    (outside / "2/205/template.properties").write_text("uniquename=x")
    (outside / "precious").write_text("precious")
    (store.root / "template").symlink_to(outside)
    (store.root / "volumes/2").symlink_to(outside)
    (store.root / "snapshots/2").symlink_to(outside / "2")
    (store.root / "configdrive").symlink_to(outside)
    before = tree(outside)
    with pytest.raises(PathEscapeError):
        await list_templates(store)
    assert await list_volumes(store) == {}
    for deletion in (
        remove_image(store, ImageKind.TEMPLATE, "template/tmpl/2/205", 205, owner="s-1-VM"),
        remove_image(store, ImageKind.VOLUME, "volumes/2/205", 205, owner="s-1-VM"),
        remove_snapshot(store, "snapshots/2/205/template.properties"),
    ):
        with pytest.raises(PathEscapeError):
            await deletion
    assert tree(outside) == before


@pytest.mark.needs("mkfs.ext4")
async def test_a_disk_that_fails_makes_lists_fail(
    service: StoreService, runner: TmpfsRunner, tmp_path: Path, sh: Sh
) -> None:
    """requirements R8: an I/O error is never an empty list."""
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    sh("mkfs.ext4", "-q", image)
    runner.device = image
    try:
        store = await service.open(REF)
    except StorageError:
        pytest.skip("the kernel has no loop devices or no ext4")
    add_template(store)
    assert list(await list_templates(store)) == ["205-2-x"]
    beside_the_loop(_break, store.root)
    with pytest.raises(StoreUnavailableError):
        await list_templates(store)
    with pytest.raises(StorageError):
        await remove_image(store, ImageKind.TEMPLATE, "template/tmpl/2/205", 205, owner="s-1-VM")


def _break(root: Path) -> None:
    """Have ext4 answer everything with an I/O error from now on (EXT4_IOC_SHUTDOWN)."""
    descriptor = os.open(root, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, 0x8004587D, (2).to_bytes(4, "little"))
    finally:
        os.close(descriptor)
