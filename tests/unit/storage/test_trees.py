# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest

from ssvm_agent.storage import trees


def test_a_tree_is_removed_with_everything_in_it(tmp_path: Path) -> None:
    for name in ("a", "b/c", "b/d/e"):
        (tmp_path / "top" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "top" / name).touch()
    os.mkfifo(tmp_path / "top/fifo")
    (tmp_path / "top/link").symlink_to("/")
    trees.remove_tree(tmp_path / "top")
    assert not (tmp_path / "top").exists()


def test_what_is_gone_is_no_error(tmp_path: Path) -> None:
    trees.remove_tree(tmp_path / "top")
    trees.remove_entry(tmp_path / "top")


def test_a_file_or_a_link_is_removed_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    for name in ("file", "link"):
        trees.remove_entry(tmp_path / name)
    assert [entry.name for entry in tmp_path.iterdir()] == ["directory"]
    trees.remove_entry(tmp_path / "directory")
    assert not list(tmp_path.iterdir())


def test_a_link_in_place_of_the_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").touch()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(OSError, match="Not a directory"):
        trees.remove_tree(tmp_path / "link")
    assert (tmp_path / "real/file").exists()


def test_files_still_read_by_others_stay_until_they_are_closed(tmp_path: Path) -> None:
    """The NFS client renames them; the directory can only go afterwards."""
    top = tmp_path / "top"
    top.mkdir()
    (top / ".nfs0001").touch()
    (top / "image").touch()
    trees.remove_tree(top)
    assert [entry.name for entry in top.iterdir()] == [".nfs0001"]


def test_what_appears_meanwhile_is_removed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "top"
    top.mkdir()
    real, late = os.rmdir, [top / "late"]

    def rmdir(name: str, *, dir_fd: int | None = None) -> None:
        if late:
            late.pop().touch()
        real(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", rmdir)
    trees.remove_tree(top)
    assert not top.exists()


def test_what_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tmp_path / "top"
    (top / "deep").mkdir(parents=True)
    (top / "deep/image").touch()
    real = os.unlink

    def unlink(name: str, *, dir_fd: int | None = None) -> None:
        if name == "image":
            raise PermissionError(1, "Operation not permitted", name)
        real(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink)
    with pytest.raises(PermissionError) as caught:
        trees.remove_tree(top)
    assert caught.value.filename == str(top / "deep/image")
