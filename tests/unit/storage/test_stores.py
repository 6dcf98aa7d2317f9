# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest

from ssvm_agent.storage import stores
from ssvm_agent.storage.errors import NoSpaceError, StoreUnavailableError
from ssvm_agent.storage.stores import Life, Store, StoreRef
from tests.fakes.machine import until


def test_a_reference_does_not_print_its_password() -> None:
    ref = StoreRef(url="cifs://h/s?user=a&password=hush")
    assert "hush" not in repr(ref)
    assert "hush" not in ref.display


async def test_work_runs_in_threads_of_the_store(store: Store) -> None:
    thread = await store.run(threading.current_thread)
    assert thread.name.startswith("store ")
    assert await store.run(sorted, [2, 1], reverse=True) == [2, 1]


async def test_an_os_error_becomes_a_storage_error(store: Store) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(NoSpaceError, match="Unable to write volumes/2/5: no space"):
        await store.run(fail, what="write volumes/2/5")
    with pytest.raises(NoSpaceError, match="use the storage file:"):
        await store.run(fail)


async def test_a_late_answer_means_the_store_is_unavailable(store: Store) -> None:
    release = threading.Event()
    with pytest.raises(StoreUnavailableError, match="does not respond"):
        await store.run(release.wait, 10, deadline_s=0.01)
    assert store.stuck_threads == 1
    release.set()
    await until(lambda: store.stuck_threads == 0)


async def test_long_work_does_not_make_the_store_look_dead(store: Store) -> None:
    release = threading.Event()
    for _ in range(8):
        with pytest.raises(StoreUnavailableError):
            await store.run(release.wait, 10, deadline_s=0.01)
    with pytest.raises(StoreUnavailableError):
        await store.run(int)
    assert await store.probe() is Life.ALIVE
    assert (await store.statvfs()).f_frsize > 0
    release.set()
    await until(lambda: store.stuck_threads == 0)


async def test_fresh_threads_leave_the_stuck_ones_behind(store: Store) -> None:
    release = threading.Event()
    with pytest.raises(StoreUnavailableError):
        await store.run(release.wait, 10, deadline_s=0.01)
    store.attach(None, fresh_threads=True)
    assert store.stuck_threads == 0
    assert await store.run(int, "5") == 5
    release.set()


async def test_a_plain_directory_is_alive_while_it_exists(store: Store) -> None:
    assert await store.probe() is Life.ALIVE
    assert store.negotiated_version is None
    assert not store.is_mounted_here
    shutil.rmtree(store.root)
    assert await store.probe() is Life.NOT_MOUNTED


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ENOTCONN])
def test_a_handle_that_is_gone_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """requirements R12."""

    def fail(path: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "statvfs", fail)
    assert stores._probe(tmp_path, mounted=False) is Life.STALE


def test_a_refusal_is_no_sign_of_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: object) -> None:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(os, "statvfs", fail)
    with pytest.raises(PermissionError):
        stores._probe(tmp_path, mounted=False)


def test_a_directory_on_the_device_of_its_parent_is_not_mounted(tmp_path: Path) -> None:
    """requirements R12: the boundary of devices."""
    assert stores._probe(tmp_path, mounted=True) is Life.NOT_MOUNTED
    assert stores._probe(tmp_path / "missing", mounted=True) is Life.NOT_MOUNTED
