# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from ssvm_agent.storage.layout import temporary_name
from ssvm_agent.storage.stores import Store
from ssvm_agent.storage.sweeps import sweep_own_temporaries

STARTED = datetime.now(UTC)
BEFORE = (STARTED - timedelta(minutes=5)).timestamp()


def leave(store: Store, directory: str, name: str, when: float = BEFORE) -> str:
    place = store.root / directory
    place.mkdir(parents=True, exist_ok=True)
    (place / name).touch()
    os.utime(place / name, (when, when))
    return f"{directory}/{name}"


async def test_own_temporaries_of_an_earlier_process_are_swept(store: Store) -> None:
    """requirements R13."""
    paths = [
        leave(store, "snapshots/2/5", temporary_name("s-1-VM", "a")),
        leave(store, "template/tmpl/2/205", temporary_name("s-1-VM", "b-0")),
        leave(store, "volumes/2/5", f"{temporary_name('s-1-VM', 'c')}.properties"),
    ]
    leave(store, "template/tmpl/2/205", "template.properties")
    swept = await sweep_own_temporaries(store, owner="s-1-VM", started=STARTED)
    assert sorted(swept) == sorted(paths)
    assert not (store.root / "template/tmpl/2/205").exists()
    assert (store.root / "template/tmpl/2").exists()


@pytest.mark.parametrize(
    "name",
    [
        temporary_name("s-2-VM", "a"),
        temporary_name("s-1-VM-x", "a"),
        temporary_name("s-1-VM", "keep-0"),
        "dnld123tmp_",
        "x.qcow2",
    ],
)
async def test_what_is_not_ours_or_goes_on_stays(store: Store, name: str) -> None:
    path = leave(store, "template/tmpl/2/205", name)
    leave(store, "template/tmpl/2/205", "template.properties")
    swept = await sweep_own_temporaries(store, owner="s-1-VM", started=STARTED, keep_jobs=["keep"])
    assert swept == []
    assert (store.root / path).exists()
    assert (store.root / "template/tmpl/2/205/template.properties").exists()


async def test_what_this_process_writes_stays(store: Store) -> None:
    later = (STARTED + timedelta(seconds=5)).timestamp()
    path = leave(store, "volumes/2/5", temporary_name("s-1-VM", "a"), when=later)
    assert await sweep_own_temporaries(store, owner="s-1-VM", started=STARTED) == []
    assert (store.root / path).exists()


async def test_a_complete_image_beside_a_temporary_stays(store: Store) -> None:
    leave(store, "volumes/2/5", temporary_name("s-1-VM", "a"))
    (store.root / "volumes/2/5/volume.properties").write_text("id=5")
    await sweep_own_temporaries(store, owner="s-1-VM", started=STARTED)
    assert [path.name for path in (store.root / "volumes/2/5").iterdir()] == ["volume.properties"]


async def test_a_mark_that_another_agent_needs_stays(store: Store) -> None:
    leave(store, "volumes/2/5", temporary_name("s-1-VM", "a"))
    leave(store, "volumes/2/5", temporary_name("s-2-VM", "b"))
    leave(store, "volumes/2/5", "volume.properties")
    await sweep_own_temporaries(store, owner="s-1-VM", started=STARTED)
    assert (store.root / "volumes/2/5/volume.properties").exists()
