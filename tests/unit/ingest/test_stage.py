# SPDX-License-Identifier: Apache-2.0
"""The temporary file: decompress, inspect, write once."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from ssvm_agent.images.errors import ImageError, UnsafeImageError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.ingest.errors import AbortedError, TooBigError
from ssvm_agent.ingest.stage import Stage, Treatment

MIB = 1 << 20


def stage_at(path: Path, **changes: object) -> Stage:
    options: dict[str, object] = {"declared": ImageFormat.RAW, "max_size_bytes": 64 * MIB}
    stage = Stage(path, **(options | changes))  # type: ignore[arg-type]
    stage.create()
    return stage


def feed(stage: Stage, *blocks: bytes) -> None:
    for block in blocks:
        more = stage.feed(block)
        while more:
            more = stage.step()


def test_bytes_are_written_and_counted(tmp_path: Path) -> None:
    stage = stage_at(tmp_path / "f")
    body = os.urandom(2 * MIB)
    feed(stage, body[:MIB], body[MIB:])
    report = stage.finish()
    stage.close()
    assert (tmp_path / "f").read_bytes() == body
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o666
    assert report.physical_size_bytes == stage.bytes_written == 2 * MIB


def test_compression_is_taken_off_by_content(tmp_path: Path) -> None:
    """requirements R16."""
    body = b"".join(b"%d " % number for number in range(MIB))
    stage = stage_at(tmp_path / "f")
    feed(stage, gzip.compress(body))
    stage.finish()
    assert (tmp_path / "f").read_bytes() == body
    assert not stage.is_resumable


def test_one_call_does_a_bounded_amount_of_work(tmp_path: Path) -> None:
    """A megabyte may decompress to a terabyte; each step stays short."""
    stage = stage_at(tmp_path / "f")
    more = stage.feed(gzip.compress(bytes(48 * MIB)))
    steps = 0
    while more:
        assert stage.bytes_written <= (steps + 1) * 6 * MIB
        more = stage.step()
        steps += 1
    assert steps >= 8
    assert stage.bytes_written == 48 * MIB


@pytest.mark.parametrize("compressed", [False, True])
def test_the_limit_is_exact_to_the_byte(tmp_path: Path, compressed: bool) -> None:
    """requirements R15."""
    body = os.urandom(MIB)
    stream = gzip.compress(body) if compressed else body
    exact = stage_at(tmp_path / "exact", max_size_bytes=MIB)
    feed(exact, stream)
    exact.finish()
    short = stage_at(tmp_path / "short", max_size_bytes=MIB - 1)
    with pytest.raises((TooBigError, ImageError)):
        feed(short, stream)


def test_zeros_of_a_raw_disk_become_holes(tmp_path: Path) -> None:
    stage = stage_at(tmp_path / "f")
    body = os.urandom(MIB) + bytes(8 * MIB) + os.urandom(MIB) + bytes(4 * MIB)
    feed(stage, *(body[at : at + MIB] for at in range(0, len(body), MIB)))
    stage.finish()
    assert (tmp_path / "f").read_bytes() == body
    assert (tmp_path / "f").stat().st_blocks * 512 < 4 * MIB


def test_other_formats_are_written_as_they_are(tmp_path: Path) -> None:
    stage = stage_at(tmp_path / "f", treatment=Treatment.NONE, declared=None)
    feed(stage, bytes(4 * MIB))
    report = stage.finish()
    assert report.physical_size_bytes == (tmp_path / "f").stat().st_size == 4 * MIB


def test_unsafe_content_is_refused_while_it_streams(tmp_path: Path) -> None:
    """requirements S1."""
    stage = stage_at(tmp_path / "f", declared=ImageFormat.QCOW2)
    header = b"QFI\xfb" + (3).to_bytes(4, "big") + (4096).to_bytes(8, "big") + bytes(88)
    with pytest.raises(ImageError):
        feed(stage, header + bytes(MIB))


def test_snapshots_are_inspected_without_being_decompressed(tmp_path: Path) -> None:
    stage = stage_at(tmp_path / "f", declared=None, treatment=Treatment.INSPECT)
    with pytest.raises(UnsafeImageError, match="still compressed"):
        feed(stage, gzip.compress(os.urandom(MIB)))


def test_a_restart_forgets_everything(tmp_path: Path) -> None:
    stage = stage_at(tmp_path / "f")
    feed(stage, gzip.compress(os.urandom(MIB))[: MIB // 2])
    stage.restart()
    assert stage.bytes_written == 0
    feed(stage, b"plain" * 1000)
    stage.finish()
    assert (tmp_path / "f").read_bytes() == b"plain" * 1000


def test_a_file_is_taken_up_where_it_is_known_to_be_good(tmp_path: Path) -> None:
    """requirements R35."""
    body = os.urandom(3 * MIB)
    first = stage_at(tmp_path / "f")
    feed(first, body[: 2 * MIB])
    assert first.sync() == 2 * MIB
    assert first.is_resumable
    first.close()
    (tmp_path / "f").write_bytes(body[: 2 * MIB] + b"torn")
    second = Stage(tmp_path / "f", declared=ImageFormat.RAW, max_size_bytes=64 * MIB)
    second.reopen(2 * MIB)
    seen = b""
    while second.bytes_written < 2 * MIB:
        seen += second.read_back(2 * MIB)
    assert seen == body[: 2 * MIB]
    feed(second, body[2 * MIB :])
    assert second.finish().physical_size_bytes == 3 * MIB
    assert (tmp_path / "f").read_bytes() == body


def test_a_file_that_is_too_short_is_not_taken_up(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    stage = Stage(tmp_path / "f", declared=ImageFormat.RAW, max_size_bytes=MIB)
    with pytest.raises(FileNotFoundError):
        stage.reopen(2)


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "f").symlink_to(tmp_path / "victim")
    stage = Stage(tmp_path / "f", declared=ImageFormat.RAW, max_size_bytes=MIB)
    with pytest.raises(OSError, match="Too many levels"):
        stage.reopen(1)
    stage.create()
    feed(stage, b"new")
    stage.finish()
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_nothing_is_written_after_the_end(tmp_path: Path) -> None:
    stage = stage_at(tmp_path / "f")
    stage.discard()
    stage.discard()
    assert not (tmp_path / "f").exists()
    with pytest.raises(AbortedError):
        stage.feed(b"late")
