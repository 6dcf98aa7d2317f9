# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import os

import pytest

from ssvm_agent.storage.errors import StorageError, StoreUnavailableError
from ssvm_agent.storage.stores import Store
from ssvm_agent.storage.usage import UsageIndex, capacity
from tests.fakes.machine import FakeClock, until


async def test_used_is_what_even_root_cannot_have(store: Store) -> None:
    """storage-commands.md 1.5: space reserved for root counts as free."""
    found = await capacity(store)
    expected = os.statvfs(store.root)
    assert found.total_bytes == expected.f_blocks * expected.f_frsize
    taken = (expected.f_blocks - expected.f_bfree) * expected.f_frsize
    assert abs(found.used_bytes - taken) < 1 << 30


async def test_a_store_without_figures_has_no_capacity(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requirements R22: never 0 for unknown."""

    def fail(path: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "statvfs", fail)
    with pytest.raises(StoreUnavailableError):
        await capacity(store)


def fill(store: Store, path: str, size_bytes: int) -> None:
    (store.root / path).parent.mkdir(parents=True, exist_ok=True)
    (store.root / path).write_bytes(os.urandom(size_bytes))


async def test_usage_is_unknown_until_it_was_measured(store: Store) -> None:
    """requirements R23: nothing is walked on request."""
    assert UsageIndex(FakeClock()).of(store) is None


async def test_usage_adds_up_per_account(store: Store) -> None:
    fill(store, "template/tmpl/2/205/x", 100_000)
    fill(store, "volumes/2/5/deep/y", 50_000)
    fill(store, "snapshots/7/5/z", 70_000)
    fill(store, "template/tmpl/not-an-account/x", 70_000)
    clock = FakeClock()
    index = UsageIndex(clock)
    await index.refresh(store)
    found = index.of(store)
    assert found is not None
    assert set(found.bytes_by_account) == {2, 7}
    assert 150_000 <= found.bytes_by_account[2] < 200_000
    assert 70_000 <= found.bytes_by_account[7] < 100_000
    assert found.measured == clock.now()


async def test_room_taken_counts_not_length(store: Store) -> None:
    fill(store, "volumes/2/5/sparse", 0)
    os.truncate(store.root / "volumes/2/5/sparse", 1 << 30)
    usage = await UsageIndex(FakeClock()).refresh(store)
    assert usage.bytes_by_account[2] < 1 << 20


async def test_a_failed_refresh_keeps_the_earlier_figures(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, "volumes/2/5/x", 1000)
    index = UsageIndex(FakeClock())
    earlier = await index.refresh(store)

    def fail(*arguments: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("ssvm_agent.storage.usage._used", fail)
    with pytest.raises(StorageError):
        await index.refresh(store)
    assert index.of(store) is earlier


async def test_the_index_is_kept_fresh_and_survives_a_bad_store(
    store: Store, other_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, "volumes/2/5/x", 1000)
    index = UsageIndex(FakeClock())
    real = index.refresh

    async def refresh(which: Store) -> object:
        if which is other_store:
            raise StorageError("broken")
        return await real(which)

    monkeypatch.setattr(index, "refresh", refresh)
    task = asyncio.create_task(index.keep_fresh(lambda: (other_store, store)))
    await until(lambda: index.of(store))
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
