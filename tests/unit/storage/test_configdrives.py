# SPDX-License-Identifier: Apache-2.0
"""Config drives: written in one step, deleted without a trace (storage-commands.md 3.16)."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from ssvm_agent.masking import Secret
from ssvm_agent.storage import configdrives
from ssvm_agent.storage.configdrives import delete_config_drive, write_config_drive
from ssvm_agent.storage.errors import (
    ConflictError,
    NoSpaceError,
    PathEscapeError,
    StorageError,
)
from ssvm_agent.storage.stores import Store

ISO = b"CD001" * 1000
PLACES = pytest.mark.parametrize(
    "path", ["configdrive/i-2-7-VM.iso", "/configdrive/i-2-17-VM/configdrive.iso"]
)


async def write(store: Store, path: str, text: str | None = None) -> None:
    data = Secret(base64.b64encode(ISO).decode() if text is None else text)
    await write_config_drive(store, path, data, owner="s-1-VM")


def files(store: Store) -> list[str]:
    return sorted(
        str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file()
    )


@PLACES
async def test_a_drive_is_written_for_everybody_and_replaced(store: Store, path: str) -> None:
    await write(store, path, base64.b64encode(b"earlier").decode())
    await write(store, path)
    assert files(store) == [path.lstrip("/")]
    place = store.root / path.lstrip("/")
    assert place.read_bytes() == ISO
    assert place.stat().st_mode & 0o777 == 0o666


@PLACES
async def test_a_drive_is_deleted_twice(store: Store, path: str) -> None:
    """Requirements R13: idempotent delete."""
    await write(store, path)
    for _ in range(2):
        await delete_config_drive(store, path)
    assert files(store) == []
    assert [one.name for one in (store.root / "configdrive").iterdir()] == []


@pytest.mark.parametrize("text", ["", "  ", "!!!!", "Q0QwM", "Q0Qw=MDE", "ü", "\0"])
async def test_what_is_no_base64_is_refused(store: Store, text: str) -> None:
    with pytest.raises(StorageError, match="Invalid config drive ISO data"):
        await write(store, "configdrive/a.iso", text)
    assert files(store) == []


async def test_lines_in_the_text_do_not_matter(store: Store) -> None:
    await write(store, "configdrive/a.iso", base64.encodebytes(ISO).decode())
    assert (store.root / "configdrive/a.iso").read_bytes() == ISO


@pytest.mark.parametrize(
    "path",
    [
        "", "configdrive", "configdrive/", "a.iso", "volumes/2/a.iso", "configdrive/../a.iso",
        "configdrive/x/y/a.iso", "configdrive/a", "configdrive/a.qcow2", "//etc/a.iso",
        "configdrive/\0.iso", f"configdrive/{'x' * 300}.iso",
    ],
)  # fmt: skip
async def test_other_paths_are_refused(store: Store, path: str) -> None:
    """Requirements S8."""
    with pytest.raises(PathEscapeError):
        await write(store, path)
    with pytest.raises(PathEscapeError):
        await delete_config_drive(store, path)
    assert files(store) == []


async def test_links_are_not_followed(store: Store, tmp_path: Path) -> None:
    victim = tmp_path / "victim.iso"
    victim.write_bytes(b"precious")
    (store.root / "configdrive").mkdir()
    (store.root / "configdrive/a.iso").symlink_to(victim)
    with pytest.raises(PathEscapeError):
        await write(store, "configdrive/a.iso")
    with pytest.raises(PathEscapeError):
        await delete_config_drive(store, "configdrive/a.iso")
    assert victim.read_bytes() == b"precious"


async def test_a_directory_of_that_name_is_a_conflict(store: Store) -> None:
    (store.root / "configdrive/a.iso/inner").mkdir(parents=True)
    with pytest.raises(ConflictError):
        await write(store, "configdrive/a.iso")
    assert [one.name for one in (store.root / "configdrive").iterdir()] == ["a.iso"]


@PLACES
async def test_a_full_store_keeps_what_it_had(
    store: Store, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(NoSpaceError):
            await write(store, path)
        assert files(store) == []
    await write(store, path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(NoSpaceError):
            await write(store, path, base64.b64encode(b"new").decode())
    assert (store.root / path.lstrip("/")).read_bytes() == ISO


async def test_a_drive_is_small(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configdrives, "_MAX_BYTES", 1000)
    with pytest.raises(StorageError, match="too large"):
        await write(store, "configdrive/a.iso")
