# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest

from ssvm_agent.storage import sweeps
from ssvm_agent.storage.layout import temporary_name
from ssvm_agent.storage.stores import Store
from ssvm_agent.storage.sweeps import sweep_own_temporaries

# The process begins in a minute: what is there now is from an earlier one.
LATER = -60.0
LONG_AGO = 1_000_000_000.0


def leave(store: Store, directory: str, name: str) -> str:
    place = store.root / directory
    place.mkdir(parents=True, exist_ok=True)
    (place / name).touch()
    return f"{directory}/{name}"


async def test_own_temporaries_of_an_earlier_process_are_swept(store: Store) -> None:
    """requirements R13."""
    paths = [
        leave(store, "snapshots/2/5", temporary_name("s-1-VM", "a")),
        leave(store, "template/tmpl/2/205", temporary_name("s-1-VM", "b-0")),
        leave(store, "volumes/2/5", f"{temporary_name('s-1-VM', 'c')}.properties"),
    ]
    leave(store, "template/tmpl/2/205", "template.properties")
    swept = await sweep_own_temporaries(store, owner="s-1-VM", running_s=LATER)
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
    swept = await sweep_own_temporaries(store, owner="s-1-VM", running_s=LATER, keep_jobs=["keep"])
    assert swept == []
    assert (store.root / path).exists()
    assert (store.root / "template/tmpl/2/205/template.properties").exists()


async def test_what_this_process_writes_stays(store: Store) -> None:
    path = leave(store, "volumes/2/5", temporary_name("s-1-VM", "a"))
    # A copy that is finished but for its name has the modification time of its source.
    os.utime(store.root / path, (LONG_AGO, LONG_AGO))
    assert await sweep_own_temporaries(store, owner="s-1-VM", running_s=60) == []
    assert [entry.name for entry in (store.root / "volumes/2/5").iterdir()] == [path[12:]]


async def test_work_that_has_just_begun_keeps_its_mark(store: Store) -> None:
    """Between the mark and the temporary of new work, a leftover beside it is swept."""
    path = leave(store, "volumes/2/5", temporary_name("s-1-VM", "a"))
    mark = leave(store, "volumes/2/5", "volume.properties")
    changes = {store.root / path: LONG_AGO}

    def last_change(place: Path) -> float:
        return changes.get(place) or sweeps_last_change(place)

    sweeps_last_change = sweeps.last_change
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeps, "last_change", last_change)
        swept = await sweep_own_temporaries(store, owner="s-1-VM", running_s=60)
    assert swept == [path]
    assert (store.root / mark).exists()


async def test_a_complete_image_beside_a_temporary_stays(store: Store) -> None:
    leave(store, "volumes/2/5", temporary_name("s-1-VM", "a"))
    (store.root / "volumes/2/5/volume.properties").write_text("id=5")
    await sweep_own_temporaries(store, owner="s-1-VM", running_s=LATER)
    assert [path.name for path in (store.root / "volumes/2/5").iterdir()] == ["volume.properties"]


async def test_a_mark_that_another_agent_needs_stays(store: Store) -> None:
    leave(store, "volumes/2/5", temporary_name("s-1-VM", "a"))
    leave(store, "volumes/2/5", temporary_name("s-2-VM", "b"))
    leave(store, "volumes/2/5", "volume.properties")
    await sweep_own_temporaries(store, owner="s-1-VM", running_s=LATER)
    assert (store.root / "volumes/2/5/volume.properties").exists()
