# SPDX-License-Identifier: Apache-2.0
"""Copying one file: content, holes, verification, refusals; both ways of moving data."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.storage import copying
from ssvm_agent.storage.copying import CELL_BYTES, CopyMismatchError, FileCopy
from ssvm_agent.storage.errors import ConflictError, NotFoundError

MIB = 1 << 20
BOTH_WAYS = pytest.mark.parametrize("in_kernel", [True, False], ids=["kernel", "cells"])


def copy(source: Path, target: Path, *, in_kernel: bool, keep_time: bool = False) -> FileCopy:
    made = FileCopy(source, target, in_kernel=in_kernel, keep_time=keep_time)
    made.open()
    try:
        run_through(made)
    finally:
        made.close()
    return made


def run_through(made: FileCopy) -> None:
    while made.step():
        pass


def sparse(path: Path, size: int, *pieces: tuple[int, bytes]) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)
    return path


def on_disk(path: Path) -> int:
    return path.stat().st_blocks * 512


@BOTH_WAYS
@pytest.mark.parametrize(
    "content",
    [b"", b"x", os.urandom(CELL_BYTES), os.urandom(3 * MIB + 17), b"\0" * 5000 + b"end"],
    ids=["empty", "byte", "cell", "odd", "zeros-first"],
)
def test_a_copy_has_the_same_bytes(tmp_path: Path, content: bytes, in_kernel: bool) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(content)
    done = copy(source, target, in_kernel=in_kernel).result()
    assert target.read_bytes() == content
    assert done.size_bytes == len(content)
    assert target.stat().st_mode & 0o777 == 0o666


@BOTH_WAYS
def test_holes_stay_holes(tmp_path: Path, in_kernel: bool) -> None:
    """Requirements R24: sparse-aware."""
    data = os.urandom(2 * MIB)
    source = sparse(tmp_path / "source", 256 * MIB, (0, b"head"), (100 * MIB + 4096, data))
    target = tmp_path / "target"
    copy(source, target, in_kernel=in_kernel)
    assert target.stat().st_size == source.stat().st_size
    assert on_disk(target) <= 1.05 * on_disk(source)
    with target.open("rb") as file:
        assert file.read(8) == b"head\0\0\0\0"
        file.seek(100 * MIB + 4096)
        assert file.read(2 * MIB) == data


@BOTH_WAYS
def test_a_file_that_is_one_hole_is_copied(tmp_path: Path, in_kernel: bool) -> None:
    source, target = sparse(tmp_path / "source", 8 * MIB), tmp_path / "target"
    done = copy(source, target, in_kernel=in_kernel).result()
    assert (done.size_bytes, done.data_bytes) == (8 * MIB, 0)
    assert target.stat().st_size == 8 * MIB
    assert on_disk(target) == 0


def test_zeros_that_were_written_become_holes_when_they_pass_by(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(8192) + bytes(4 * MIB) + os.urandom(8192))
    copy(source, target, in_kernel=False)
    assert target.read_bytes() == source.read_bytes()
    assert on_disk(target) <= 64 * 1024


def test_where_holes_are_not_told_zeros_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.lseek

    def lseek(descriptor: int, position: int, how: int) -> int:
        if how in {os.SEEK_DATA, os.SEEK_HOLE}:
            raise OSError(errno.EINVAL, "not here")
        return real(descriptor, position, how)

    source = sparse(tmp_path / "source", 32 * MIB, (20 * MIB, b"data"))
    monkeypatch.setattr(os, "lseek", lseek)
    copy(source, tmp_path / "target", in_kernel=False)
    monkeypatch.undo()
    assert (tmp_path / "target").read_bytes() == source.read_bytes()
    assert on_disk(tmp_path / "target") <= 8192


def test_the_time_is_kept_on_request(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"data")
    os.utime(source, (1_000_000_000, 1_000_000_000))
    copy(source, tmp_path / "kept", in_kernel=True, keep_time=True)
    copy(source, tmp_path / "new", in_kernel=True)
    assert (tmp_path / "kept").stat().st_mtime == 1_000_000_000
    assert (tmp_path / "new").stat().st_mtime != 1_000_000_000


@pytest.mark.parametrize("number", sorted(copying._NOT_IN_KERNEL))
def test_where_the_kernel_cannot_the_data_passes_by_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    source = tmp_path / "source"
    source.write_bytes(os.urandom(MIB))
    done = copy(source, tmp_path / "target", in_kernel=True).result()
    assert (tmp_path / "target").read_bytes() == source.read_bytes()
    assert not done.in_kernel


def test_a_kernel_that_gives_up_half_way_makes_a_new_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernel copied so far was not digested, so it cannot count as verified."""
    real = os.copy_file_range
    calls = 0

    def once(*arguments: Any) -> int:
        nonlocal calls
        calls += 1
        return real(*arguments) if calls == 1 else 0

    monkeypatch.setattr(os, "copy_file_range", once)
    source = tmp_path / "source"
    source.write_bytes(os.urandom(copying.STEP_BYTES + MIB))
    done = copy(source, tmp_path / "target", in_kernel=True).result()
    assert (tmp_path / "target").read_bytes() == source.read_bytes()
    assert (done.in_kernel, done.data_bytes) == (False, source.stat().st_size)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_fault_of_the_store_is_not_taken_for_a_missing_feature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "copy_file_range", fail)
    source = tmp_path / "source"
    source.write_bytes(b"data")
    with pytest.raises(OSError, match=os.strerror(number)):
        copy(source, tmp_path / "target", in_kernel=True)


def test_a_copy_that_arrived_damaged_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requirements R33: verify size and digest, only then success."""
    real = os.pwrite

    def flip(descriptor: int, data: memoryview, offset: int) -> int:
        damaged = bytearray(data)
        damaged[len(damaged) // 2] ^= 1
        return real(descriptor, damaged, offset)

    source = tmp_path / "source"
    source.write_bytes(os.urandom(2 * MIB))
    monkeypatch.setattr(os, "pwrite", flip)
    with pytest.raises(CopyMismatchError, match="differs from the original"):
        copy(source, tmp_path / "target", in_kernel=False)


def test_a_write_that_got_lost_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(2 * MIB))
    monkeypatch.setattr(os, "pwrite", lambda _descriptor, data, _offset: len(data))
    with pytest.raises(CopyMismatchError):
        copy(source, tmp_path / "target", in_kernel=False)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


@BOTH_WAYS
@pytest.mark.parametrize(
    "change",
    [append, lambda path: os.truncate(path, 100), lambda path: os.utime(path, (5, 5))],
    ids=["longer", "shorter", "touched"],
)
def test_a_source_that_changes_meanwhile_is_a_conflict(
    tmp_path: Path, in_kernel: bool, change: Callable[[Path], None]
) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(copying.STEP_BYTES * 2))
    made = FileCopy(source, tmp_path / "target", in_kernel=in_kernel)
    made.open()
    made.step()
    change(source)
    with pytest.raises(ConflictError):
        run_through(made)
    made.discard()
    assert not (tmp_path / "target").exists()


def test_what_is_no_regular_file_is_not_copied(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(NotFoundError):
        copy(tmp_path / "pipe", tmp_path / "target", in_kernel=True)
    with pytest.raises(OSError, match="symbolic"):
        copy(tmp_path / "link", tmp_path / "target", in_kernel=True)
    assert not (tmp_path / "target").exists()


def test_a_file_in_the_place_of_the_target_is_neither_followed_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"data")
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "target").symlink_to(tmp_path / "victim")
    made = FileCopy(tmp_path / "source", tmp_path / "target", in_kernel=True)
    with pytest.raises(FileExistsError):
        made.open()
    made.discard()
    assert (tmp_path / "target").is_symlink()
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_copy_that_was_renamed_is_not_discarded(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"data")
    made = copy(tmp_path / "source", tmp_path / "target", in_kernel=True)
    (tmp_path / "target").rename(tmp_path / "final")
    made.discard()
    assert (tmp_path / "final").read_bytes() == b"data"


def test_a_finished_copy_can_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"data")
    made = FileCopy(tmp_path / "source", tmp_path / "target", in_kernel=False)
    made.open()
    run_through(made)
    assert made.look(lambda descriptor: os.pread(descriptor, 10, 0)) == b"data"
    made.close()
