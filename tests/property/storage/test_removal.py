# SPDX-License-Identifier: Apache-2.0
"""Deletions against a model: what may be gone afterwards is a function of the path alone."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path, PurePosixPath

from hypothesis import given, settings
from hypothesis import strategies as st

from ssvm_agent.storage.errors import StorageError
from ssvm_agent.storage.layout import ImageKind, belongs_to_snapshot
from ssvm_agent.storage.removal import (
    remove_backup,
    remove_image,
    remove_snapshot,
    remove_snapshots_directory,
)
from ssvm_agent.storage.service import StoreService
from ssvm_agent.storage.stores import Store, StoreRef
from tests.fakes.machine import FakeClock, FakeRunner

FILES = (
    "template/tmpl/2/5/a.qcow2",
    "template/tmpl/2/5/template.properties",
    "template/tmpl/2/50/b.qcow2",
    "template/tmpl/2/5/deep/c.vmdk",
    "template/tmpl/20/5/d.iso",
    "volumes/2/5/a.qcow2",
    "volumes/2/5/uuid/disk.vmdk",
    "volumes/2/50/a.qcow2",
    "volumes/20/5/a.qcow2",
    "snapshots/2/5/snap",
    "snapshots/2/5/snap.vhd",
    "snapshots/2/5/snap2",
    "snapshots/2/50/snap",
    "snapshots/2/6/snap/snap.ovf",
    "checkpoints/2/5/one",
    "configdrive/i-2-5-VM.iso",
    "systemvm/systemvm.iso",
    "backups/2/5/delta",
)
NAMES = sorted({part for path in FILES for part in path.split("/")} | {"", ".", "..", "*", "gone"})
PATHS = st.one_of(
    st.sampled_from(FILES),
    st.sampled_from(sorted({str(p) for f in FILES for p in PurePosixPath(f).parents})),
    st.lists(st.sampled_from(NAMES), max_size=6).map("/".join),
)
OPERATIONS = st.sampled_from(["template", "volume", "snapshot", "snapshots", "backup"])


def allowed(operation: str, path: str) -> set[str]:
    """The files that this deletion may take away."""
    wanted = PurePosixPath(path.removeprefix("/"))
    top = {"template": "template/tmpl", "volume": "volumes"}.get(operation, "snapshots")
    depth = len(PurePosixPath(top).parts) + 2
    if operation == "backup":
        return {name for name in FILES if PurePosixPath(name).is_relative_to(wanted)}
    if operation == "snapshot":
        return {
            name
            for name in FILES
            if PurePosixPath(name).is_relative_to(wanted.parent)
            and belongs_to_snapshot(
                PurePosixPath(name).relative_to(wanted.parent).parts[0], wanted.name
            )
        }
    directory = PurePosixPath(*wanted.parts[:depth])
    return {name for name in FILES if PurePosixPath(name).is_relative_to(directory)}


async def delete(store: Store, operation: str, path: str) -> None:
    match operation:
        case "template":
            await remove_image(store, ImageKind.TEMPLATE, path, 5, owner="me")
        case "volume":
            await remove_image(store, ImageKind.VOLUME, path, 5, owner="me")
        case "snapshot":
            await remove_snapshot(store, path)
        case "snapshots":
            await remove_snapshots_directory(store, path)
        case _:
            await remove_backup(store, path)


@settings(max_examples=150)
@given(st.lists(st.tuples(OPERATIONS, PATHS), min_size=1, max_size=3))
def test_a_deletion_takes_only_its_own_object(orders: list[tuple[str, str]]) -> None:
    """storage-commands.md 3.13, 3.14; requirements S8."""
    asyncio.run(_check(orders))


async def _check(orders: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for path in FILES:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
        service = StoreService(mount_root=root, runner=FakeRunner(), clock=FakeClock())
        store = await service.open(StoreRef(url=f"file://{root}"))
        for operation, path in orders:
            before = {name for name in FILES if (root / name).exists()}
            refused = False
            try:
                await delete(store, operation, path)
            except StorageError:
                refused = True
            gone = before - {name for name in FILES if (root / name).exists()}
            assert gone <= allowed(operation, path), (operation, path, gone)
            assert not (refused and gone)
        for top in ("template/tmpl/2", "volumes/2", "snapshots/2", "systemvm", "configdrive"):
            assert (root / top).is_dir()
        await service.close()
