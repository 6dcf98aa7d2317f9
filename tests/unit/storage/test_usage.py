# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os

import pytest

from ssvm_agent.storage.errors import StoreUnavailableError
from ssvm_agent.storage.stores import Store
from ssvm_agent.storage.usage import capacity


async def test_used_is_what_even_root_cannot_have(store: Store) -> None:
    """storage-commands.md 1.5: space reserved for root counts as free."""
    found = await capacity(store)
    expected = os.statvfs(store.root)
    assert found.total_bytes == expected.f_blocks * expected.f_frsize
    taken = (expected.f_blocks - expected.f_bfree) * expected.f_frsize
    assert abs(found.used_bytes - taken) < 1 << 28


async def test_a_store_without_figures_has_no_capacity(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requirements R22: never 0 for unknown."""

    def fail(path: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "statvfs", fail)
    with pytest.raises(StoreUnavailableError):
        await capacity(store)
