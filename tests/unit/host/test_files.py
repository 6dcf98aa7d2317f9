# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ssvm_agent.host import files


def test_a_new_file_appears_complete(tmp_path: Path) -> None:
    files.atomic_write(tmp_path / "a", b"new", mode=0o666)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_an_old_file_is_replaced_not_rewritten(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with target.open("rb") as reader:
        files.atomic_write(target, b"new", temporary_name="on-its-way")
        assert reader.read() == b"old"
    assert target.read_bytes() == b"new"


def test_a_failure_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        files.atomic_write(target, b"new")
    assert target.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_files_that_belong_together_are_replaced_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("key", "certificate", "ca")
    old = {name: b"old " + name.encode() for name in names}
    new = {name: b"new " + name.encode() for name in names}
    for name in names:
        (tmp_path / name).write_bytes(old[name])
    wanted = [
        files.NewFile(path=tmp_path / name, data=data, mode=0o600) for name, data in new.items()
    ]
    assert "new key" not in repr(wanted)
    monkeypatch.setattr(os, "fsync", _full_at(3))
    with pytest.raises(OSError, match="No space") as caught:
        files.replace_together(wanted)
    assert caught.value.filename == str(tmp_path / "ca")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old
    monkeypatch.undo()
    files.replace_together(wanted)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == new
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def _full_at(file: int) -> Callable[[int], None]:
    """An fsync that finds no space at the so many-th file."""
    calls = itertools.count(1)

    def sync(descriptor: int) -> None:
        if next(calls) == file:
            raise OSError(28, "No space left on device")

    return sync


def test_the_temporary_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        files.atomic_write(tmp_path / "a", b"new", temporary_name="t")
    assert (tmp_path / "t").read_bytes() == b"theirs"


def test_the_owner_is_set_when_asked_for(tmp_path: Path) -> None:
    files.atomic_write(tmp_path / "a", b"", owner=(os.getuid(), os.getgid()))
    assert (tmp_path / "a").stat().st_uid == os.getuid()


def test_a_directory_that_cannot_be_synced_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fail)
    files.fsync_directory(tmp_path)
