# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from ssvm_agent.storage.errors import ConflictError, NotFoundError, PathEscapeError
from ssvm_agent.storage.moves import move_volume
from ssvm_agent.storage.stores import Store


@pytest.fixture
def filled(store: Store) -> Store:
    (store.root / "volumes/2/5").mkdir(parents=True)
    (store.root / "volumes/2/5/a.qcow2").write_bytes(b"data")
    return store


async def test_a_volume_moves_to_another_account(filled: Store) -> None:
    """storage-commands.md 3.19: parents are made."""
    await move_volume(filled, "volumes/2/5", "/volumes/7/5")
    assert (filled.root / "volumes/7/5/a.qcow2").read_bytes() == b"data"
    assert not (filled.root / "volumes/2/5").exists()


@pytest.mark.parametrize("target", ["volumes/7/5", "volumes/2/5"])
async def test_nothing_is_overwritten(filled: Store, target: str) -> None:
    (filled.root / "volumes/7/5").mkdir(parents=True)
    with pytest.raises(ConflictError):
        await move_volume(filled, "volumes/2/5", target)
    assert (filled.root / "volumes/2/5/a.qcow2").exists()


async def test_a_volume_that_is_not_there_cannot_move(filled: Store) -> None:
    with pytest.raises(NotFoundError):
        await move_volume(filled, "volumes/2/6", "volumes/7/6")
    assert not (filled.root / "volumes/7").exists()


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("volumes/2", "volumes/7/2"),
        ("volumes/2/5", "volumes/7"),
        ("volumes/2/5", "template/tmpl/7/5"),
        ("volumes/2/5", "volumes/7/../../x"),
        ("", "volumes/7/5"),
    ],
)
async def test_only_whole_volumes_move_within_the_volumes(
    filled: Store, source: str, target: str
) -> None:
    with pytest.raises(PathEscapeError):
        await move_volume(filled, source, target)
    assert (filled.root / "volumes/2/5/a.qcow2").exists()
