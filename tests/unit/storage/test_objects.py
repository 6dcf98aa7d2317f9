# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest

from ssvm_agent.storage import names
from ssvm_agent.storage.errors import PathEscapeError
from ssvm_agent.storage.objects import list_page
from ssvm_agent.storage.stores import Store
from tests.fakes.machine import beside_the_loop


@pytest.fixture
def filled(store: Store) -> Store:
    for number in range(25):
        (store.root / f"volumes/{number:02}").mkdir(parents=True)
    (store.root / "volumes/10/disk.qcow2").write_bytes(b"12345")
    os.utime(store.root / "volumes/10/disk.qcow2", ns=(0, 1764000000123 * 1_000_000))
    return store


@pytest.mark.parametrize("path", ["", "/"])
async def test_the_root_can_be_listed(filled: Store, path: str) -> None:
    """storage-commands.md 3.19."""
    page = await list_page(filled, path, 0, 100)
    assert [entry.path for entry in page.objects] == ["/snapshots", "/volumes"]
    assert all(entry.is_directory for entry in page.objects)
    assert page.objects[0].absolute_path == f"{filled.root}/snapshots"


async def test_pages_fit_together_in_the_order_of_names(filled: Store) -> None:
    pages = [await list_page(filled, "volumes", start, 10) for start in (0, 10, 20, 30)]
    assert {page.count for page in pages} == {25}
    names_of = [entry.name for page in pages for entry in page.objects]
    assert names_of == [f"{number:02}" for number in range(25)]


async def test_a_file_is_listed_as_itself(filled: Store) -> None:
    """storage-commands.md 3.19: count 1 and one entry."""
    page = await list_page(filled, "/volumes/10/disk.qcow2", 0, 10)
    assert page.count == 1
    entry = page.objects[0]
    assert (entry.name, entry.path) == ("disk.qcow2", "/volumes/10/disk.qcow2")
    assert (entry.size_bytes, entry.modified_ms) == (5, 1764000000123)
    assert not entry.is_directory


async def test_a_missing_path_is_no_error(filled: Store) -> None:
    page = await list_page(filled, "volumes/99", 0, 10)
    assert (page.exists, page.count, page.objects) == (False, 0, ())


@pytest.mark.parametrize(("start", "size"), [(0, 0), (-5, 0), (25, 10), (0, -1)])
async def test_odd_pages_are_empty(filled: Store, start: int, size: int) -> None:
    page = await list_page(filled, "volumes", start, size)
    assert (page.count, page.objects) == (25, ())


async def test_a_negative_start_is_the_beginning(filled: Store) -> None:
    page = await list_page(filled, "volumes", -3, 1)
    assert [entry.name for entry in page.objects] == ["00"]


@pytest.mark.parametrize("path", ["..", "volumes/../..", "a\0b"])
async def test_bad_paths_are_refused(filled: Store, path: str) -> None:
    with pytest.raises(PathEscapeError):
        await list_page(filled, path, 0, 10)


async def test_a_link_is_shown_but_not_followed(filled: Store) -> None:
    (filled.root / "volumes/link").symlink_to("/etc")
    page = await list_page(filled, "volumes", 25, 1)
    assert page.objects[0].name == "link"
    assert not page.objects[0].is_directory
    with pytest.raises(PathEscapeError):
        await list_page(filled, "volumes/link", 0, 10)


async def test_a_name_that_is_no_text_can_travel(filled: Store) -> None:
    (filled.root / os.fsdecode(b"volumes/zz\xff")).touch()
    page = await list_page(filled, "volumes", 25, 1)
    assert page.objects[0].name == "zz\ufffd"


async def test_names_are_read_again_when_the_directory_changed(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    real = os.listdir

    def listdir(path: str) -> list[str]:
        reads.append(str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    for _ in range(3):
        await list_page(filled, "volumes", 0, 1)
    assert len(reads) == 1
    (filled.root / "volumes/25").mkdir()
    assert (await list_page(filled, "volumes", 25, 1)).objects[0].name == "25"
    assert len(reads) == 2


def test_only_a_few_directories_are_remembered(tmp_path: Path) -> None:
    cache = names.NameCache()
    for number in range(10):
        directory = tmp_path / str(number)
        directory.mkdir()
        cache.of(directory, directory.stat())
    assert len(cache._kept) == 4


async def test_an_entry_that_vanishes_is_left_out(filled: Store) -> None:
    found = (filled.root / "volumes").stat()
    beside_the_loop(filled.names.of, filled.root / "volumes", found)
    (filled.root / "volumes/03").rmdir()
    os.utime(filled.root / "volumes", ns=(found.st_atime_ns, found.st_mtime_ns))
    page = await list_page(filled, "volumes", 2, 2)
    assert {entry.name for entry in page.objects} <= {"02", "03", "04"}
