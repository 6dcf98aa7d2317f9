# SPDX-License-Identifier: Apache-2.0
"""Which files a snapshot consists of (storage-commands.md 3.19)."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssvm_agent.storage.errors import NotFoundError, PathEscapeError
from ssvm_agent.storage.snapshots import snapshot_files
from ssvm_agent.storage.stores import Store

UUID_A = "8e1f0b6c-2c53-4e0e-8c39-7f2f6e5d4c3b"
UUID_B = "3f0a1b9e-6c1d-4f0e-9f5e-7c4f7b1b2a10"


def put(store: Store, *names: str) -> None:
    for name in names:
        place = store.root / "snapshots/2" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"data")


async def test_a_snapshot_that_is_a_file_is_that_file(store: Store) -> None:
    put(store, f"44/{UUID_A}", f"44/{UUID_B}")
    assert await snapshot_files(store, f"/snapshots/2/44/{UUID_A}") == [f"snapshots/2/44/{UUID_A}"]


async def test_a_vmware_snapshot_is_its_directory(store: Store) -> None:
    put(store, "44/u/u.ovf", "44/u/u-disk0.vmdk", "44/u/dnld.s-2-VM.j.tmp_")
    assert await snapshot_files(store, "snapshots/2/44/u/u") == [
        "snapshots/2/44/u/u-disk0.vmdk",
        "snapshots/2/44/u/u.ovf",
    ]


async def test_files_called_after_a_snapshot_belong_to_it_alone(store: Store) -> None:
    put(store, f"44/{UUID_A}.vhd", f"44/{UUID_B}.vhd")
    assert await snapshot_files(store, f"snapshots/2/44/{UUID_A}") == [
        f"snapshots/2/44/{UUID_A}.vhd"
    ]


async def test_without_such_files_it_is_all_of_the_directory(store: Store) -> None:
    """storage-commands.md 3.19: the chain that a XenServer snapshot rests on."""
    put(store, "44/a.vhd", "44/b.vhd")
    expected = ["snapshots/2/44/a.vhd", "snapshots/2/44/b.vhd"]
    assert await snapshot_files(store, "snapshots/2/44/c") == expected


async def test_a_kvm_snapshot_that_is_gone_is_not_its_neighbours(store: Store) -> None:
    put(store, f"44/{UUID_B}")
    with pytest.raises(NotFoundError, match="does not exist"):
        await snapshot_files(store, f"snapshots/2/44/{UUID_A}", is_one_file=True)


@pytest.mark.parametrize("path", ["snapshots/2/404/x", "snapshots/2/44/x"])
async def test_nothing_is_an_error_rather_than_an_empty_list(store: Store, path: str) -> None:
    with pytest.raises(NotFoundError):
        await snapshot_files(store, path)


@pytest.mark.parametrize(
    "path", ["", "snapshots/2/44", "snapshots/2/../../x", "volumes/2/5/v", "//etc/x/y/z", "a\0b"]
)
async def test_other_paths_are_refused(store: Store, path: str) -> None:
    with pytest.raises(PathEscapeError):
        await snapshot_files(store, path)


async def test_links_are_left_out(store: Store, tmp_path: Path) -> None:
    put(store, "44/u/u.ovf")
    (store.root / "snapshots/2/44/u/planted").symlink_to("/etc/passwd")
    assert await snapshot_files(store, "snapshots/2/44/u/u") == ["snapshots/2/44/u/u.ovf"]
