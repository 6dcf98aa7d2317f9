# SPDX-License-Identifier: Apache-2.0
"""Declared files are compared, replaced as a whole, and put back."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from ssvm_agent.appliance.apply import files as files_module
from ssvm_agent.appliance.apply.files import Files, FileWish
from ssvm_agent.appliance.apply.report import Status
from ssvm_agent.appliance.errors import ApplianceError


def wish(content: bytes | None, *, mode: int | None = 0o644, name: str = "/etc/a/b") -> FileWish:
    return FileWish(path=PurePosixPath(name), render=lambda _: content, mode=mode)


def test_a_file_is_made_with_its_directories(tmp_path: Path) -> None:
    item, saved = Files(tmp_path).apply(wish(b"x", mode=0o600), dry_run=False)
    assert item.status is Status.CHANGED
    assert (tmp_path / "etc/a/b").stat().st_mode & 0o777 == 0o600
    assert saved is not None
    assert saved.content is None


def test_the_same_content_is_not_written_again(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.apply(wish(b"x"), dry_run=False)
    before = (tmp_path / "etc/a/b").stat()
    item, saved = files.apply(wish(b"x"), dry_run=False)
    assert (item.status, saved) == (Status.UNCHANGED, None)
    assert (tmp_path / "etc/a/b").stat().st_ino == before.st_ino


def test_a_wrong_mode_is_a_difference(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.apply(wish(b"x", mode=0o644), dry_run=False)
    item, _ = files.apply(wish(b"x", mode=0o600), dry_run=False)
    assert item.reason == "its mode was 644"
    kept, _ = files.apply(wish(b"y", mode=None), dry_run=False)
    assert kept.status is Status.CHANGED
    assert (tmp_path / "etc/a/b").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("before", [b"old", None])
def test_a_file_is_put_back(tmp_path: Path, before: bytes | None) -> None:
    files, path = Files(tmp_path), tmp_path / "etc/a/b"
    if before is not None:
        path.parent.mkdir(parents=True)
        path.write_bytes(before)
        path.chmod(0o640)
    _, saved = files.apply(wish(b"new"), dry_run=False)
    assert saved is not None
    assert files.restore(saved) == ""
    assert (path.read_bytes() if path.exists() else None) == before
    if before is not None:
        assert path.stat().st_mode & 0o777 == 0o640


def test_a_link_is_replaced_and_put_back(tmp_path: Path) -> None:
    """Such as /etc/resolv.conf on many images."""
    files, path = Files(tmp_path), tmp_path / "etc/a/b"
    path.parent.mkdir(parents=True)
    (tmp_path / "target").write_bytes(b"elsewhere")
    path.symlink_to(tmp_path / "target")
    _, saved = files.apply(wish(b"new"), dry_run=False)
    assert not path.is_symlink()
    assert (tmp_path / "target").read_bytes() == b"elsewhere"
    assert saved is not None
    assert files.restore(saved) == ""
    assert path.is_symlink()


def test_a_dry_run_only_compares(tmp_path: Path) -> None:
    item, saved = Files(tmp_path).apply(wish(b"x"), dry_run=True)
    assert (item.status, saved) == (Status.WOULD_CHANGE, None)
    assert list(tmp_path.iterdir()) == []


def test_a_content_that_cannot_be_made_leaves_the_file(tmp_path: Path) -> None:
    def render(_: bytes | None) -> bytes:
        raise ApplianceError("it is no key")

    odd = FileWish(path=PurePosixPath("/etc/a"), render=render)
    item, _ = Files(tmp_path).apply(odd, dry_run=False)
    assert (item.status, item.reason) == (Status.FAILED, "it is no key")


def test_something_that_is_no_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "etc/a/b").mkdir(parents=True)
    item, _ = Files(tmp_path).apply(wish(b"x"), dry_run=False)
    assert item.status is Status.FAILED
    assert "no regular file" in item.reason


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, path = Files(tmp_path), tmp_path / "etc/a/b"
    files.apply(wish(b"old"), dry_run=False)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files_module, "atomic_write", full)
    item, _ = files.apply(wish(b"new"), dry_run=False)
    assert (item.status, item.reason) == (Status.FAILED, "No space left on device")
    assert path.read_bytes() == b"old"
    assert [one.name for one in path.parent.iterdir()] == ["b"]


def test_what_a_killed_apply_left_is_swept(tmp_path: Path) -> None:
    path = tmp_path / "etc/a/.b.0123456789ab.tmp"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half")
    Files(tmp_path).apply(wish(b"x"), dry_run=False)
    assert not path.exists()
