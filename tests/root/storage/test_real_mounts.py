# SPDX-License-Identifier: Apache-2.0
"""The life of a store on the mounts of a real kernel (requirements R12)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ssvm_agent.host.errors import HostError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import SystemRunner
from ssvm_agent.storage.catalog import list_templates
from ssvm_agent.storage.errors import NoSpaceError, ReadOnlyStoreError, StoreUnavailableError
from ssvm_agent.storage.mounts import Mounter
from ssvm_agent.storage.service import StoreService
from ssvm_agent.storage.stores import Life, StoreRef
from ssvm_agent.storage.usage import capacity
from tests.fakes.machine import beside_the_loop
from tests.root.storage.conftest import TmpfsRunner

pytestmark = pytest.mark.needs_root

REF = StoreRef(url="nfs://10.1.1.5/export/secondary")
Sh = Callable[..., None]


async def test_a_mounted_store_is_on_another_device_and_reports_its_size(
    service: StoreService,
) -> None:
    store = await service.open(REF)
    assert await store.probe() is Life.ALIVE
    assert (await capacity(store)).total_bytes == 16 << 20
    assert store.negotiated_version is None


async def test_a_mount_that_vanished_is_made_again_not_written_beneath(
    service: StoreService, runner: TmpfsRunner, sh: Sh
) -> None:
    store = await service.open(REF)
    sh("umount", store.root)
    assert await store.probe() is Life.NOT_MOUNTED
    with pytest.raises(StoreUnavailableError):
        await list_templates(store)
    await service.open(REF)
    assert await list_templates(store) == {}
    assert [call[0] for call in runner.calls] == ["mount", "mount"]


async def test_a_mount_in_use_is_detached(service: StoreService, runner: TmpfsRunner) -> None:
    store = await service.open(REF)
    file = await store.run((store.root / "volumes/open").open, "wb")
    await Mounter(SystemRunner(), WorkPool("local")).unmount(store.root)
    assert await store.probe() is Life.NOT_MOUNTED
    beside_the_loop(file.close)
    with pytest.raises(HostError):
        await Mounter(SystemRunner(), WorkPool("local")).unmount(store.root)


async def test_a_full_store_says_so(service: StoreService) -> None:
    store = await service.open(REF)
    with pytest.raises(NoSpaceError, match="no space is left"):
        await store.run((store.root / "volumes/big").write_bytes, b"x" * (17 << 20))


async def test_a_read_only_store_is_opened_and_listed_but_not_written(
    service: StoreService, runner: TmpfsRunner, sh: Sh
) -> None:
    store = await service.open(REF)
    await list_templates(store)
    sh("mount", "-o", "remount,ro", store.root)
    await service.open(REF)
    assert await list_templates(store) == {}
    with pytest.raises(ReadOnlyStoreError, match="mounted read-only"):
        await store.run((store.root / "volumes/x").write_bytes, b"x")


async def test_a_store_that_is_read_only_from_the_start_is_opened(
    service: StoreService, runner: TmpfsRunner, caplog: pytest.LogCaptureFixture
) -> None:
    runner.options = "ro"
    await service.open(REF)
    assert "store lacks directories" in caplog.text


async def test_a_directory_bound_over_the_store_is_not_taken_for_it(
    service: StoreService, tmp_path: Path, sh: Sh
) -> None:
    """The boundary of devices tells a mount from a directory of this machine."""
    store = await service.open(REF)
    sh("umount", store.root)
    (tmp_path / "local").mkdir()
    sh("mount", "--bind", tmp_path / "local", store.root)
    assert await store.probe() is Life.NOT_MOUNTED


async def test_an_error_of_the_program_is_told(service: StoreService, runner: TmpfsRunner) -> None:
    runner.options = "no-such-option"
    with pytest.raises(Exception, match=r"Unable to mount 10\.1\.1\.5:/export") as caught:
        await service.open(REF)
    assert "tmpfs" in str(caught.value) or "wrong fs type" in str(caught.value)
