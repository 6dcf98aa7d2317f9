# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ssvm_agent.storage.layout import temporary_name
from ssvm_agent.storage.orphans import Orphan, OrphanKind, find_orphans
from ssvm_agent.storage.properties import ImageProperties, write_file
from ssvm_agent.storage.stores import Store
from tests.fakes.machine import beside_the_loop

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=3)


def add(
    store: Store, directory: str, *files: str, image: str = "x.qcow2", ext: str = "qcow2"
) -> None:
    place = store.root / directory
    place.mkdir(parents=True, exist_ok=True)
    marker = "volume.properties" if directory.startswith("volumes") else "template.properties"
    properties = ImageProperties(
        unique_name=directory, id=1, file_name=image, size_bytes=1, virtual_size_bytes=1,
        formats=(ext,),
    )  # fmt: skip
    beside_the_loop(write_file, place / marker, properties, now=NOW)
    for name in files:
        (place / name).write_bytes(b"x" * 5000)


def age(store: Store, when: datetime = LONG_AGO) -> None:
    for path in sorted(store.root.rglob("*"), reverse=True):
        os.utime(path, (when.timestamp(), when.timestamp()))


async def report(store: Store, **options: object) -> list[Orphan]:
    return await find_orphans(store, now=NOW, **options)  # type: ignore[arg-type]


async def kinds(store: Store) -> dict[str, OrphanKind]:
    return {orphan.path: orphan.kind for orphan in await report(store)}


async def test_what_is_explained_is_not_reported(store: Store) -> None:
    add(store, "template/tmpl/2/205", "x.qcow2")
    add(store, "template/tmpl/2/206", "x.ova", "x.ovf", "disk.vmdk", image="x.ova", ext="ova")
    add(store, "volumes/2/5", "x.qcow2")
    (store.root / "template/tmpl/2/205/KVMHA").mkdir()
    (store.root / "volumes/2/6").mkdir()
    (store.root / "volumes/2/6/copied-by-a-hypervisor.qcow2").touch()
    (store.root / "snapshots/2/5").mkdir(parents=True)
    (store.root / "snapshots/2/5/snapshot").touch()
    age(store)
    assert await report(store) == []


async def test_an_empty_store_has_no_orphans(store: Store) -> None:
    assert await report(store) == []


async def test_what_is_not_explained_is_reported(store: Store) -> None:
    add(store, "template/tmpl/2/1", "x.qcow2", "leftover.bin")
    add(store, "template/tmpl/2/2")
    (store.root / "template/tmpl/2/3").mkdir()
    (store.root / "template/tmpl/2/4").mkdir()
    (store.root / "template/tmpl/2/4/template.properties").touch()
    (store.root / "template/tmpl/2/5").mkdir()
    (store.root / "template/tmpl/2/5/image.qcow2").touch()
    add(store, "template/tmpl/2/6", "x.qcow2")
    broken = store.root / "template/tmpl/2/6/template.properties"
    broken.write_text(broken.read_text().replace("id=1", "id=one"))
    (store.root / "volumes/2/7").mkdir(parents=True)
    (store.root / "snapshots/2/8").mkdir(parents=True)
    age(store)
    assert await kinds(store) == {
        "template/tmpl/2/1/leftover.bin": OrphanKind.EXTRA_FILE,
        "template/tmpl/2/2/x.qcow2": OrphanKind.IMAGE_MISSING,
        "template/tmpl/2/3": OrphanKind.EMPTY_DIRECTORY,
        "template/tmpl/2/4/template.properties": OrphanKind.UNFINISHED,
        "template/tmpl/2/5": OrphanKind.UNFINISHED,
        "template/tmpl/2/6/template.properties": OrphanKind.UNREADABLE,
        "volumes/2/7": OrphanKind.EMPTY_DIRECTORY,
        "snapshots/2/8": OrphanKind.EMPTY_DIRECTORY,
    }


async def test_a_temporary_tells_whose_it_is(store: Store) -> None:
    place = store.root / "volumes/2/5"
    place.mkdir(parents=True)
    for name in (temporary_name("s-2-VM", "gone"), temporary_name("s-1-VM", "busy-0"), "dnld9tmp_"):
        (place / name).write_bytes(b"x" * 5000)
    age(store)
    found = await report(store, active_jobs=["busy"])
    assert [(orphan.owner, orphan.kind) for orphan in found] == [
        ("s-2-VM", OrphanKind.TEMPORARY),
        ("", OrphanKind.TEMPORARY),
    ]
    assert all(orphan.size_bytes >= 5000 for orphan in found)
    assert all(orphan.modified == LONG_AGO for orphan in found)


async def test_what_changed_lately_is_not_reported(store: Store) -> None:
    (store.root / "template/tmpl/2/3").mkdir(parents=True)
    age(store, NOW - timedelta(hours=2))
    assert await report(store) == []
    found = await report(store, min_age=timedelta(hours=1))
    assert [orphan.path for orphan in found] == ["template/tmpl/2/3"]


async def test_nothing_is_changed(store: Store) -> None:
    add(store, "template/tmpl/2/1", "leftover.bin")
    age(store)
    before = {path: path.lstat().st_mtime_ns for path in store.root.rglob("*")}
    assert len(await report(store)) == 2
    assert {path: path.lstat().st_mtime_ns for path in store.root.rglob("*")} == before


async def test_files_that_vanish_during_the_walk_are_no_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, "template/tmpl/2/1", "x.qcow2", "leftover.bin")
    age(store)
    real = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        if path.name == "leftover.bin":
            raise FileNotFoundError(2, "gone")
        return real(path)

    monkeypatch.setattr(Path, "lstat", lstat)
    assert await report(store) == []
