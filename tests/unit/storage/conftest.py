# SPDX-License-Identifier: Apache-2.0
"""A directory store for tests of what happens on a store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ssvm_agent.storage.service import StoreService
from ssvm_agent.storage.stores import Store, StoreRef
from tests.fakes.machine import FakeClock, FakeRunner


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An opened store on a plain directory."""
    root = tmp_path / "store"
    root.mkdir()
    service = StoreService(mount_root=tmp_path / "mnt", runner=FakeRunner(), clock=FakeClock())
    yield await service.open(StoreRef(url=f"file://{root}"))
    await service.close()


@pytest.fixture
async def other_store(tmp_path: Path) -> AsyncIterator[Store]:
    """A second one."""
    root = tmp_path / "other"
    root.mkdir()
    service = StoreService(mount_root=tmp_path / "mnt", runner=FakeRunner(), clock=FakeClock())
    yield await service.open(StoreRef(url=f"file://{root}"))
    await service.close()
