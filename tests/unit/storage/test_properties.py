# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ssvm_agent.storage import properties
from ssvm_agent.storage.errors import (
    CorruptPropertiesError,
    IncompletePropertiesError,
    NotFoundError,
)
from ssvm_agent.storage.layout import ImageKind
from ssvm_agent.storage.properties import ImageProperties

NOW = datetime(2026, 11, 23, 3, 11, 0, tzinfo=UTC)
TINY = ImageProperties(
    unique_name="205-2-8a7f",
    id=205,
    file_name="1b9d.qcow2",
    size_bytes=65568,
    virtual_size_bytes=1073741824,
    formats=("qcow2",),
    description="tiny",
    hvm=True,
)
COMPLETE = """\
#
#Mon Nov 23 03:11:00 UTC 2026
uniquename=205-2-8a7f
qcow2.filename=1b9d.qcow2
qcow2.virtualsize=1073741824
description=tiny
qcow2.size=65568
filename=1b9d.qcow2
size=65568
public=true
id=205
virtualsize=1073741824
hvm=true
qcow2=true
"""


def without(*keys: str) -> str:
    lines = (line for line in COMPLETE.splitlines() if line.partition("=")[0] not in keys)
    return "\n".join(lines)


def test_a_complete_file_is_understood() -> None:
    """storage-commands.md appendix A."""
    assert properties.load(COMPLETE) == TINY


def test_what_is_written_is_read_again() -> None:
    text = properties.render(TINY, now=NOW).decode()
    assert text.startswith("#\n#Mon Nov 23 03:11:00 UTC 2026\n")
    assert sorted(text.splitlines()[2:]) == sorted(COMPLETE.splitlines()[2:])
    assert properties.load(text) == TINY


def test_the_checksum_is_left_out_or_empty_or_given() -> None:
    """storage-commands.md 6.4."""
    assert b"checksum" not in properties.render(TINY, now=NOW)
    assert b"checksum=\n" in properties.render(replace(TINY, checksum=""), now=NOW)
    given = replace(TINY, checksum="{SHA-256}ab")
    assert properties.load(properties.render(given, now=NOW).decode()).checksum == "{SHA-256}ab"


def test_a_description_cannot_inject_keys() -> None:
    """storage-commands.md 10: properties are always written escaped."""
    hostile = replace(TINY, description="x\nid=1\\\nfilename=../../y ü €")
    assert properties.load(properties.render(hostile, now=NOW).decode("latin-1")) == hostile


def test_foreign_keys_survive_a_rewrite() -> None:
    """storage-commands.md 6.4."""
    text = COMPLETE + "snapshot.name=11_23_2026\nvolume.name=ROOT-5\nova=false\n"
    loaded = properties.load(text)
    assert loaded.formats == ("qcow2",)
    assert dict(loaded.extra) == {
        "snapshot.name": "11_23_2026",
        "volume.name": "ROOT-5",
        "ova": "false",
    }
    assert properties.load(properties.render(loaded, now=NOW).decode()) == loaded


@pytest.mark.parametrize(
    "keys", [("uniquename",), ("virtualsize",), ("qcow2",), ("qcow2.filename",)]
)
def test_without_its_last_keys_an_installation_is_not_finished(keys: tuple[str, ...]) -> None:
    """storage-commands.md 6.3."""
    with pytest.raises(IncompletePropertiesError):
        properties.load(without(*keys))


def test_an_empty_file_is_an_installation_going_on() -> None:
    with pytest.raises(IncompletePropertiesError):
        properties.load("")


def test_a_format_counts_whatever_its_value_is() -> None:
    """storage-commands.md 6.3: any value, even ``false``."""
    text = (
        "filename=d.ova\ndescription=privateTemplate\nhvm=false\nsize=5\nova=false\nid=7\n"
        "ova.filename=d.ova\nuniquename=u\nova.virtualsize=9\nvirtualsize=9\nova.size=5\n"
        "checksum=\npublic=false"
    )
    loaded = properties.load(text)
    assert (loaded.formats, loaded.is_public, loaded.checksum) == (("ova",), False, "")
    assert not loaded.is_corrupted


@pytest.mark.parametrize("value", ["", "x", "5 5", "0x5", "99999999999999999999", "\uff15"])
def test_an_unusable_id_is_an_error_not_a_gap(value: str) -> None:
    """storage-commands.md 3.11, requirements R8."""
    with pytest.raises(CorruptPropertiesError, match="205-2-8a7f"):
        properties.load(without("id") + f"\nid={value}")


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "..", "\\u0000"])
def test_a_file_name_that_is_a_path_is_an_error(name: str) -> None:
    with pytest.raises(CorruptPropertiesError):
        properties.load(without("filename") + f"\nfilename={name}")


def test_the_file_name_of_the_format_steps_in() -> None:
    assert properties.load(without("filename")).file_name == "1b9d.qcow2"


@pytest.mark.parametrize("key", ["qcow2.size", "qcow2.virtualsize", "size", "virtualsize"])
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_a_size_that_is_not_positive_marks_corruption(key: str, value: str) -> None:
    """storage-commands.md 6.3."""
    assert properties.load(without(key) + f"\n{key}={value}").is_corrupted


@pytest.mark.parametrize("key", ["qcow2.size", "qcow2.virtualsize", "size"])
def test_a_missing_size_marks_corruption(key: str) -> None:
    assert properties.load(without(key)).is_corrupted


def test_a_file_is_written_for_everybody_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "template.properties"
    properties.write_file(path, TINY, now=NOW, temporary_name="dnld.me.job.tmp_")
    assert path.stat().st_mode & 0o777 == 0o666
    assert properties.read_file(path) == TINY
    assert [entry.name for entry in tmp_path.iterdir()] == ["template.properties"]


def test_something_else_than_a_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "directory").mkdir()
    for name in ("fifo", "link", "directory"):
        with pytest.raises(NotFoundError):
            properties.read_file(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        properties.read_file(tmp_path / "missing")


def test_an_endless_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(COMPLETE.encode() + b"#" * 70000)
    with pytest.raises(CorruptPropertiesError, match="too long"):
        properties.read_file(tmp_path / "p")


def test_work_in_progress_is_marked_by_an_empty_file(tmp_path: Path) -> None:
    properties.mark_in_progress(tmp_path, ImageKind.TEMPLATE)
    properties.mark_in_progress(tmp_path, ImageKind.VOLUME)
    properties.mark_in_progress(tmp_path, ImageKind.SNAPSHOT)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "template.properties",
        "volume.properties",
    ]
    assert (tmp_path / "template.properties").stat().st_mode & 0o777 == 0o666
    assert (tmp_path / "template.properties").stat().st_size == 0


def test_a_mark_does_not_empty_what_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "template.properties"
    properties.write_file(path, TINY, now=NOW)
    properties.mark_in_progress(tmp_path, ImageKind.TEMPLATE)
    assert properties.read_file(path) == TINY
