# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ssvm_agent.storage import catalog, stores
from ssvm_agent.storage.catalog import list_templates, list_volumes
from ssvm_agent.storage.errors import (
    CorruptPropertiesError,
    StorageError,
    StoreUnavailableError,
)
from ssvm_agent.storage.properties import ImageProperties, write_file
from ssvm_agent.storage.stores import Life, Store
from tests.fakes.machine import beside_the_loop

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def add(
    store: Store,
    directory: str,
    *,
    image_id: int = 205,
    name: str = "205-2-x",
    virtual: int = 1000,
    marker: str = "template.properties",
) -> Path:
    place = store.root / directory
    place.mkdir(parents=True, exist_ok=True)
    properties = ImageProperties(
        unique_name=name,
        id=image_id,
        file_name="disk.qcow2",
        size_bytes=10,
        virtual_size_bytes=virtual,
        formats=("qcow2",),
    )
    beside_the_loop(write_file, place / marker, properties, now=NOW)
    return place


async def test_a_fresh_store_has_no_templates_and_gets_their_root(store: Store) -> None:
    """storage-commands.md 3.11: the root is made when missing."""
    assert await list_templates(store) == {}
    assert (store.root / "template/tmpl").is_dir()


async def test_templates_are_listed_by_unique_name(store: Store) -> None:
    add(store, "template/tmpl/2/205")
    add(store, "template/tmpl/1/3", image_id=3, name="routing-3", virtual=0)
    found = await list_templates(store)
    assert sorted(found) == ["205-2-x", "routing-3"]
    entry = found["205-2-x"]
    assert entry.install_path == "template/tmpl/2/205/disk.qcow2"
    assert (entry.size_bytes, entry.physical_size_bytes, entry.id) == (1000, 10, 205)
    assert not entry.is_corrupted
    assert found["routing-3"].is_corrupted


async def test_volumes_are_listed_by_id(store: Store) -> None:
    """storage-commands.md 3.12."""
    add(store, "volumes/2/5", image_id=5, marker="volume.properties")
    add(store, "volumes/2/50", image_id=50, marker="volume.properties")
    (store.root / "volumes/2/51").mkdir()
    found = await list_volumes(store)
    assert {key: entry.install_path for key, entry in found.items()} == {
        5: "volumes/2/5/disk.qcow2",
        50: "volumes/2/50/disk.qcow2",
    }


async def test_a_tree_one_level_deeper_is_found_too(store: Store) -> None:
    """storage-commands.md 3.11: every properties file below the root counts."""
    add(store, "template/tmpl/2/205/205-2-x")
    add(store, "template/tmpl/2/206/a/b/c/d", name="too-deep")
    found = await list_templates(store)
    assert found["205-2-x"].install_path == "template/tmpl/2/205/205-2-x/disk.qcow2"
    assert len(found) == 1


async def test_what_is_being_installed_is_skipped(store: Store) -> None:
    add(store, "template/tmpl/2/205")
    (store.root / "template/tmpl/2/206").mkdir()
    (store.root / "template/tmpl/2/206/template.properties").touch()
    (store.root / "template/tmpl/2/207").mkdir()
    (store.root / "template/tmpl/2/207/dnld123tmp_").touch()
    (store.root / "template/tmpl/stray").touch()
    assert list(await list_templates(store)) == ["205-2-x"]


async def test_links_are_not_followed(store: Store) -> None:
    place = add(store, "template/tmpl/2/205")
    (store.root / "template/tmpl/3").symlink_to(place.parent)
    (store.root / "template/tmpl/2/206").symlink_to(place)
    (store.root / "template/tmpl/2/207").mkdir()
    (store.root / "template/tmpl/2/207/template.properties").symlink_to(
        place / "template.properties"
    )
    found = await list_templates(store)
    assert found["205-2-x"].install_path == "template/tmpl/2/205/disk.qcow2"


async def test_of_two_with_one_name_the_sound_one_wins_then_the_last(store: Store) -> None:
    add(store, "template/tmpl/2/205")
    add(store, "template/tmpl/2/206")
    add(store, "template/tmpl/3/1", virtual=0)
    assert (await list_templates(store))["205-2-x"].install_path.startswith("template/tmpl/2/206")


async def test_one_unusable_file_is_an_error_for_all(store: Store) -> None:
    """requirements R8; storage-commands.md 3.11."""
    add(store, "template/tmpl/2/205")
    bad = add(store, "template/tmpl/2/206", name="206-2-y")
    text = (bad / "template.properties").read_text().replace("id=205", "id=")
    (bad / "template.properties").write_text(text)
    with pytest.raises(CorruptPropertiesError, match=r"template/tmpl/2/206/template\.properties"):
        await list_templates(store)


@pytest.mark.parametrize("fault", ["open", "scandir"])
async def test_one_unreadable_place_is_an_error_for_all(
    store: Store, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """requirements R8: never a partial list."""
    for number in range(200):
        add(store, f"template/tmpl/{number % 3}/{number}", name=f"{number}-x")
    real = getattr(os, fault)

    def fail(path: object, *rest: object, **options: object) -> object:
        if str(path).rstrip("/").endswith(("/2/149/template.properties", "/tmpl/2")):
            raise OSError(5, "Input/output error")
        return real(path, *rest, **options)

    monkeypatch.setattr(os, fault, fail)
    with pytest.raises(StorageError):
        await list_templates(store)


@pytest.mark.parametrize("finding", [Life.STALE, Life.NOT_MOUNTED])
async def test_a_store_that_is_not_alive_has_no_list(
    store: Store, monkeypatch: pytest.MonkeyPatch, finding: Life
) -> None:
    monkeypatch.setattr(stores, "_probe", lambda root, mounted: finding)
    with pytest.raises(StoreUnavailableError):
        await list_templates(store)


async def test_a_store_that_dies_during_the_scan_has_no_list(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, "template/tmpl/2/205")
    findings = iter([Life.ALIVE, Life.STALE])
    monkeypatch.setattr(stores, "_probe", lambda root, mounted: next(findings))
    with pytest.raises(StoreUnavailableError):
        await list_templates(store)


async def test_a_store_replaced_during_the_scan_has_no_list(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, "template/tmpl/2/205")
    real = catalog._find_directories

    def replace_store(*arguments: object) -> object:
        store.root.rename(store.root.with_name("away"))
        store.root.mkdir()
        (store.root / "template/tmpl").mkdir(parents=True)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(catalog, "_find_directories", replace_store)
    with pytest.raises(StoreUnavailableError, match="mounted anew"):
        await list_templates(store)


async def test_a_directory_deleted_meanwhile_is_gone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, "template/tmpl/2/205")
    add(store, "template/tmpl/2/206", name="206-2-y")
    real = catalog._find_directories

    def delete_one(*arguments: object) -> object:
        found = real(*arguments)  # type: ignore[arg-type]
        shutil.rmtree(store.root / "template/tmpl/2/206")
        return found

    monkeypatch.setattr(catalog, "_find_directories", delete_one)
    assert list(await list_templates(store)) == ["205-2-x"]


async def test_a_large_store_is_listed_completely(store: Store) -> None:
    for number in range(700):
        add(store, f"template/tmpl/{number % 7}/{number}", image_id=number, name=f"{number}-x")
    assert len(await list_templates(store)) == 700
