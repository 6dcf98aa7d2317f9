# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ssvm_agent.storage import removal
from ssvm_agent.storage.errors import ConflictError, PathEscapeError, StorageError
from ssvm_agent.storage.layout import ImageKind, temporary_name
from ssvm_agent.storage.removal import (
    remove_backup,
    remove_image,
    remove_snapshot,
    remove_snapshots_directory,
)
from ssvm_agent.storage.stores import Store

ME = "s-1-VM"
UUID = "1b9d0d2c-5a59-4a5e-9d57-0a1f4f4b8a01"


def fill(store: Store, *paths: str) -> None:
    """Create files, and directories where a path ends in a slash."""
    for path in paths:
        place = store.root / path
        if path.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(b"x")


def tree(store: Store) -> set[str]:
    return {
        str(path.relative_to(store.root)) for path in store.root.rglob("*") if not path.is_dir()
    }


def directories(store: Store, top: str) -> set[str]:
    return {
        str(path.relative_to(store.root)) for path in (store.root / top).rglob("*") if path.is_dir()
    }


@pytest.mark.parametrize(
    "path",
    [
        "template/tmpl/2/205/x.qcow2",
        "/template/tmpl/2/205/x.qcow2",
        "template/tmpl/2/205/gone.qcow2",
        "template/tmpl/2/205",
        "template/tmpl/2/205/",
    ],
)
async def test_a_template_goes_with_its_directory(store: Store, path: str) -> None:
    """storage-commands.md 3.13."""
    fill(
        store,
        "template/tmpl/2/205/x.qcow2",
        "template/tmpl/2/205/template.properties",
        "template/tmpl/2/205/KVMHA/hb-10.0.0.1",
        "template/tmpl/2/205/ova/deep/disk.vmdk",
        "template/tmpl/2/206/y.qcow2",
    )
    found = await remove_image(store, ImageKind.TEMPLATE, path, 205, owner=ME)
    assert found.existed
    assert str(found.directory) == "template/tmpl/2/205"
    assert tree(store) == {"template/tmpl/2/206/y.qcow2"}
    assert not (store.root / "template/tmpl/2/205").exists()


async def test_the_directory_of_the_account_stays(store: Store) -> None:
    fill(store, "template/tmpl/2/205/x.qcow2")
    await remove_image(store, ImageKind.TEMPLATE, "template/tmpl/2/205/x.qcow2", 205, owner=ME)
    assert directories(store, "template") == {"template/tmpl", "template/tmpl/2"}


@pytest.mark.parametrize(
    ("path", "directory"),
    [
        ("template/tmpl/2/205", "template/tmpl/2/205"),
        ("template/tmpl/2/205/x.qcow2", "template/tmpl/2/205"),
    ],
)
async def test_deleting_what_is_not_there_is_a_success(
    store: Store, path: str, directory: str
) -> None:
    """requirements R13; the path that ends in the id is the directory (3.13)."""
    found = await remove_image(store, ImageKind.TEMPLATE, path, 205, owner=ME)
    assert not found.existed
    assert str(found.directory) == directory


async def test_volume_5_is_not_volume_50(store: Store) -> None:
    fill(store, "volumes/2/5/a.qcow2", "volumes/2/50/b.qcow2", "volumes/2/5x/c.qcow2")
    await remove_image(store, ImageKind.VOLUME, "volumes/2/5", 5, owner=ME)
    assert tree(store) == {"volumes/2/50/b.qcow2", "volumes/2/5x/c.qcow2"}


async def test_a_volume_that_is_a_directory_goes_and_its_empty_parent(store: Store) -> None:
    fill(store, f"volumes/2/5/{UUID}/{UUID}.ovf", f"volumes/2/5/{UUID}/disk0.vmdk")
    await remove_image(store, ImageKind.VOLUME, f"volumes/2/5/{UUID}", 5, owner=ME)
    assert directories(store, "volumes") == {"volumes/2"}


async def test_a_parent_that_is_not_empty_stays(store: Store) -> None:
    fill(store, f"volumes/2/5/{UUID}/{UUID}.ovf", "volumes/2/5/volume.properties")
    await remove_image(store, ImageKind.VOLUME, f"volumes/2/5/{UUID}", 5, owner=ME)
    assert tree(store) == {"volumes/2/5/volume.properties"}


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (ImageKind.TEMPLATE, "template"),
        (ImageKind.TEMPLATE, "template/tmpl"),
        (ImageKind.TEMPLATE, "template/tmpl/2"),
        (ImageKind.TEMPLATE, "template/tmpl/2/gone.qcow2"),
        (ImageKind.TEMPLATE, "volumes/2/5"),
        (ImageKind.TEMPLATE, ""),
        (ImageKind.TEMPLATE, "/"),
        (ImageKind.TEMPLATE, "template/tmpl/2/205/../../.."),
        (ImageKind.VOLUME, "volumes/2"),
        (ImageKind.VOLUME, "volumes/gone.qcow2"),
        (ImageKind.VOLUME, "snapshots/2/5/x"),
        (ImageKind.VOLUME, "elsewhere/2/5/x"),
    ],
)
async def test_a_path_that_is_too_short_deletes_nothing(
    store: Store, kind: ImageKind, path: str
) -> None:
    """requirements S8: account and id must be there."""
    fill(store, "template/tmpl/2/205/x.qcow2", "volumes/2/5/a.qcow2", "snapshots/2/5/x")
    before = tree(store)
    with pytest.raises(PathEscapeError):
        await remove_image(store, kind, path, 2, owner=ME)
    assert tree(store) == before


async def test_links_are_removed_not_followed(store: Store, tmp_path: Path) -> None:
    """requirements S8."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    fill(store, "template/tmpl/2/205/x.qcow2", "template/tmpl/2/206/y.qcow2")
    (store.root / "template/tmpl/2/205/link").symlink_to(outside)
    (store.root / "template/tmpl/2/205/neighbour").symlink_to("../206")
    await remove_image(store, ImageKind.TEMPLATE, "template/tmpl/2/205", 205, owner=ME)
    assert (outside / "precious").exists()
    assert tree(store) == {"template/tmpl/2/206/y.qcow2"}


async def test_a_link_in_the_path_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "outside/205").mkdir(parents=True)
    fill(store, "template/tmpl/1/1/x")
    (store.root / "template/tmpl/2").symlink_to(tmp_path / "outside")
    with pytest.raises(PathEscapeError):
        await remove_image(store, ImageKind.TEMPLATE, "template/tmpl/2/205", 205, owner=ME)
    assert (tmp_path / "outside/205").exists()


async def test_what_another_agent_writes_now_stays(store: Store) -> None:
    theirs = f"template/tmpl/2/205/{temporary_name('s-2-VM', 'job')}"
    fill(store, "template/tmpl/2/205/x.qcow2", theirs)
    with pytest.raises(ConflictError, match="s-2-VM"):
        await remove_image(store, ImageKind.TEMPLATE, "template/tmpl/2/205", 205, owner=ME)
    assert "template/tmpl/2/205/x.qcow2" in tree(store)


async def test_what_another_agent_gave_up_goes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, f"template/tmpl/2/205/{temporary_name('s-2-VM', 'job')}")
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    await remove_image(store, ImageKind.TEMPLATE, "template/tmpl/2/205", 205, owner=ME)
    assert tree(store) == set()


async def test_a_finished_copy_of_an_old_image_is_not_given_up(store: Store) -> None:
    """It has the modification time of its source until it gets its name."""
    theirs = f"template/tmpl/2/205/{temporary_name('s-2-VM', 'job')}"
    fill(store, theirs)
    os.utime(store.root / theirs, (1e9, 1e9))
    with pytest.raises(ConflictError, match="is being written by s-2-VM"):
        await remove_image(store, ImageKind.TEMPLATE, "template/tmpl/2/205", 205, owner=ME)


async def test_our_own_temporaries_are_no_obstacle(store: Store) -> None:
    fill(store, f"template/tmpl/2/205/{temporary_name('host.example', 'job')}")
    await remove_image(store, ImageKind.TEMPLATE, "template/tmpl/2/205", 205, owner="host.example")
    assert tree(store) == set()


async def test_the_properties_go_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object vanishes from lists before its image does."""
    fill(store, "template/tmpl/2/205/x.qcow2", "template/tmpl/2/205/template.properties")

    def fail(path: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(removal, "remove_tree", fail)
    with pytest.raises(StorageError, match="Unable to delete template/tmpl/2/205") as caught:
        await remove_image(store, ImageKind.TEMPLATE, "template/tmpl/2/205", 205, owner=ME)
    assert "EPERM" in caught.value.detail
    assert tree(store) == {"template/tmpl/2/205/x.qcow2"}


SNAPSHOT_FILES = [
    f"snapshots/2/5/{UUID}",
    f"snapshots/2/5/{UUID}.vhd",
    f"snapshots/2/5/{UUID}.ovf",
    f"snapshots/2/5/{UUID}-disk0.vmdk",
    f"snapshots/2/5/{UUID}_temp",
]


@pytest.mark.parametrize("name", [UUID, f"{UUID}.vhd"])
async def test_all_parts_of_a_snapshot_go(store: Store, name: str) -> None:
    """storage-commands.md 3.13."""
    own = SNAPSHOT_FILES if name == UUID else [f"snapshots/2/5/{UUID}.vhd"]
    other = f"snapshots/2/5/2{UUID[1:]}"
    fill(store, *own, other, "snapshots/2/50/z")
    await remove_snapshot(store, f"snapshots/2/5/{name}")
    assert tree(store) == {other, "snapshots/2/50/z"}


async def test_the_directory_of_the_last_snapshot_goes(store: Store) -> None:
    fill(store, f"snapshots/2/5/{UUID}")
    await remove_snapshot(store, f"snapshots/2/5/{UUID}")
    assert directories(store, "snapshots") == {"snapshots/2"}


async def test_a_vmware_snapshot_goes_with_its_directory(store: Store) -> None:
    fill(store, f"snapshots/2/5/{UUID}/{UUID}.ovf", f"snapshots/2/5/{UUID}/{UUID}-disk0.vmdk")
    await remove_snapshot(store, f"snapshots/2/5/{UUID}/{UUID}")
    assert directories(store, "snapshots") == {"snapshots/2"}


async def test_a_snapshot_named_like_the_beginning_of_another_leaves_it(store: Store) -> None:
    fill(store, "snapshots/2/5/5", "snapshots/2/5/50", "snapshots/2/5/5-daily", "snapshots/2/5/x5")
    await remove_snapshot(store, "snapshots/2/5/5")
    assert tree(store) == {"snapshots/2/5/50", "snapshots/2/5/5-daily", "snapshots/2/5/x5"}


@pytest.mark.parametrize("name", ["*", "?", "[a-z]*", "$HOME", "a;b", "{x,y}"])
async def test_a_name_is_no_pattern(store: Store, name: str) -> None:
    fill(store, "snapshots/2/5/x", "snapshots/2/5/y")
    await remove_snapshot(store, f"snapshots/2/5/{name}")
    assert tree(store) == {"snapshots/2/5/x", "snapshots/2/5/y"}


async def test_a_snapshot_path_that_is_a_directory_is_left_alone(store: Store) -> None:
    """storage-commands.md 3.13."""
    fill(store, "snapshots/2/5/x/y")
    assert (await remove_snapshot(store, "snapshots/2/5/x")).existed
    assert tree(store) == {"snapshots/2/5/x/y"}


async def test_a_snapshot_that_is_gone_is_a_success(store: Store) -> None:
    assert not (await remove_snapshot(store, f"snapshots/2/5/{UUID}")).existed


async def test_a_checkpoint_goes_with_its_snapshot(store: Store) -> None:
    """storage-commands.md 3.13: what is before ``checkpoints`` belongs to a host."""
    fill(store, f"snapshots/2/5/{UUID}", "checkpoints/2/5/one", "checkpoints/2/5/two")
    await remove_snapshot(store, f"snapshots/2/5/{UUID}", "/mnt/abc/checkpoints/2/5/one")
    assert tree(store) == {"checkpoints/2/5/two"}
    await remove_snapshot(store, f"snapshots/2/5/{UUID}", "checkpoints/2/5/two")
    assert directories(store, "checkpoints") == {"checkpoints/2"}


@pytest.mark.parametrize("path", ["/etc/passwd", "checkpoints/2", "checkpoints/../a/b/c"])
async def test_a_bad_checkpoint_path_deletes_nothing(store: Store, path: str) -> None:
    fill(store, f"snapshots/2/5/{UUID}", "checkpoints/2/5/one")
    with pytest.raises(PathEscapeError):
        await remove_snapshot(store, f"snapshots/2/5/{UUID}", path)
    assert tree(store) == {f"snapshots/2/5/{UUID}", "checkpoints/2/5/one"}


@pytest.mark.parametrize("path", ["snapshots/2/5", "snapshots", "", "volumes/2/5/x"])
async def test_a_snapshot_path_needs_a_name(store: Store, path: str) -> None:
    fill(store, f"snapshots/2/5/{UUID}", "volumes/2/5/x")
    with pytest.raises(PathEscapeError):
        await remove_snapshot(store, path)
    assert len(tree(store)) == 2


async def test_all_snapshots_of_a_volume_go(store: Store) -> None:
    """storage-commands.md 3.14: and those of volume 50 stay."""
    fill(store, "snapshots/2/5/a", "snapshots/2/5/b/c", "snapshots/2/50/d")
    assert (await remove_snapshots_directory(store, "snapshots/2/5")).existed
    assert tree(store) == {"snapshots/2/50/d"}
    assert not (await remove_snapshots_directory(store, "snapshots/2/5")).existed


@pytest.mark.parametrize("directory", ["snapshots/2", "snapshots", "volumes/2/5", "", "."])
async def test_a_directory_above_one_volume_is_refused(store: Store, directory: str) -> None:
    fill(store, "snapshots/2/5/a", "volumes/2/5/b")
    with pytest.raises(PathEscapeError):
        await remove_snapshots_directory(store, directory)
    assert len(tree(store)) == 2


async def test_a_backup_goes_with_its_screenshot(store: Store) -> None:
    """storage-commands.md 3.13, 4.23."""
    fill(store, "backups/2/b1/delta", "backups/2/b1/keep", "shots/2/b1/shot.png")
    await remove_backup(store, "backups/2/b1/delta", "shots/2/b1/shot.png")
    assert tree(store) == {"backups/2/b1/keep"}
    assert not (store.root / "shots/2/b1").exists()
    assert (store.root / "shots/2").exists()
    assert not (await remove_backup(store, "backups/2/b1/delta")).existed


@pytest.mark.parametrize(
    "path", ["backups", "backups/2", "template/tmpl/2", "template/tmpl/2/205", "volumes/2/5", ""]
)
async def test_a_backup_path_never_names_a_tree(store: Store, path: str) -> None:
    fill(store, "backups/2/b1/delta", "template/tmpl/2/205/x", "volumes/2/5/y")
    with pytest.raises(PathEscapeError):
        await remove_backup(store, path)
    assert len(tree(store)) == 3
