# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import ProgramResult
from ssvm_agent.storage import stores
from ssvm_agent.storage.errors import (
    MountFailedError,
    NotFoundError,
    StoreUnavailableError,
    UnsupportedStoreError,
)
from ssvm_agent.storage.layout import mount_directory_name
from ssvm_agent.storage.mounts import Mounter
from ssvm_agent.storage.service import Patience, StoreService
from ssvm_agent.storage.stores import Life, Store, StoreRef
from tests.fakes.machine import FakeClock, FakeRunner

NAME = "665d3814-9fdc-3bca-8727-7c2d56b42bd1"
REF = StoreRef(url="nfs://10.1.1.5/export/secondary")


@dataclass
class FakeKernel:
    """A machine on which mounting works, fails or yields mounts that die."""

    root: Path
    mounted: dict[str, str] = field(default_factory=dict)
    life: dict[str, Life | Callable[[], Life]] = field(default_factory=dict)
    passing: list[Life] = field(default_factory=list)
    refusal: str = ""
    clock: FakeClock = field(default_factory=FakeClock)
    attached: list[Store] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)
    lookups: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runner = FakeRunner(self._react)
        self.table.write_text("")

    @property
    def table(self) -> Path:
        return self.root / "mountinfo"

    @property
    def programs(self) -> list[str]:
        return [call[0] for call in self.runner.calls]

    def _react(self, call: list[str]) -> ProgramResult | None:
        name = Path(call[-1]).name
        if call[0] == "umount":
            self.mounted.pop(name)
        elif self.refusal:
            return ProgramResult(returncode=32, stdout=b"", stderr=self.refusal.encode())
        else:
            self.mounted[name] = call[-2]
            self.life[name] = Life.ALIVE
        self.write_table()
        return None

    def write_table(self) -> None:
        lines = [
            f"9 1 0:4 / {self.root}/mnt/{name} rw - nfs4 {source} rw,vers=4.2\n"
            for name, source in self.mounted.items()
        ]
        self.table.write_text("".join(lines))

    def probe(self, root: Path, mounted: bool) -> Life:
        if not mounted:
            return Life.ALIVE if root.is_dir() else Life.NOT_MOUNTED
        if root.name not in self.mounted:
            return Life.NOT_MOUNTED
        if self.passing:
            return self.passing.pop()
        life = self.life[root.name]
        return life if isinstance(life, Life) else life()

    def resolve(self, host: str) -> str:
        self.lookups.append(host)
        if host not in self.addresses and not host[:1].isdigit():
            raise OSError("no such host")
        return self.addresses.get(host, host)

    def service(self, **options: object) -> StoreService:
        return StoreService(
            mount_root=self.root / "mnt",
            runner=self.runner,
            clock=self.clock,
            mounter=Mounter(self.runner, WorkPool("local"), mountinfo=self.table),
            resolve=self.resolve,
            on_attached=self.attached.append,
            patience=Patience(probe_s=0.2, failure_s=5, release_s=300),
            **options,  # type: ignore[arg-type]
        )


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    made = FakeKernel(tmp_path)
    monkeypatch.setattr(stores, "_probe", made.probe)
    return made


@pytest.fixture
async def service(kernel: FakeKernel) -> AsyncIterator[StoreService]:
    made = kernel.service()
    yield made
    await made.close()


async def test_a_store_is_mounted_once_and_completed(
    kernel: FakeKernel, service: StoreService
) -> None:
    """storage-commands.md 8."""
    store = await service.open(REF)
    assert store is await service.open(REF)
    assert store.directory_name == NAME
    assert store.root == kernel.root / "mnt" / NAME
    assert store.negotiated_version == "4.2"
    assert kernel.programs == ["mount"]
    assert kernel.attached == [store]
    assert service.known() == (store,)
    for name in ("snapshots", "volumes"):
        assert (store.root / name).stat().st_mode & 0o777 == 0o777
    assert store.root.stat().st_mode & 0o777 == 0o777


async def test_two_names_of_one_server_are_one_store(
    kernel: FakeKernel, service: StoreService
) -> None:
    kernel.addresses["storage.example"] = "10.1.1.5"
    first = await service.open(REF)
    assert first is await service.open(StoreRef(url="nfs://storage.example/export/secondary"))
    assert kernel.programs == ["mount"]


async def test_commands_at_the_same_time_mount_once(
    kernel: FakeKernel, service: StoreService
) -> None:
    found = await asyncio.gather(*(service.open(REF) for _ in range(20)))
    assert len(set(found)) == 1
    assert kernel.programs == ["mount"]


async def test_a_mount_of_an_earlier_process_is_used(
    kernel: FakeKernel, service: StoreService
) -> None:
    kernel.mounted[NAME], kernel.life[NAME] = "10.1.1.5:/export/secondary", Life.ALIVE
    kernel.write_table()
    store = await service.open(REF)
    assert kernel.programs == []
    assert store.negotiated_version == "4.2"


async def test_the_version_of_the_command_goes_before_the_configured_one(
    kernel: FakeKernel,
) -> None:
    service = kernel.service(nfs_version="4.1")
    await service.open(REF)
    await service.open(StoreRef(url="nfs://10.1.1.6/e", nfs_version="3"))
    await service.open(StoreRef(url="nfs://10.1.1.7/e", nfs_version="null"))
    assert [call[4].rpartition("vers=")[2] for call in kernel.runner.calls] == ["4.1", "3", "4.1"]
    with pytest.raises(UnsupportedStoreError):
        await service.open(StoreRef(url="nfs://10.1.1.8/e", nfs_version="5"))
    await service.close()


async def test_the_address_of_a_mounted_store_is_not_looked_up_again(
    kernel: FakeKernel, service: StoreService
) -> None:
    kernel.addresses["storage.example"] = "10.1.1.5"
    ref = StoreRef(url="nfs://storage.example/export/secondary")
    store = await service.open(ref)
    kernel.addresses["storage.example"] = "10.1.1.99"
    assert await service.open(ref) is store
    assert kernel.lookups == ["storage.example"]


async def test_a_host_that_moved_is_found_after_its_old_address_failed(
    kernel: FakeKernel, service: StoreService
) -> None:
    kernel.addresses["storage.example"] = "10.1.1.5"
    ref = StoreRef(url="nfs://storage.example/export/secondary")
    await service.open(ref)
    kernel.addresses["storage.example"] = "10.1.1.99"
    kernel.life[NAME] = Life.STALE
    kernel.refusal = "no route"
    with pytest.raises(MountFailedError):
        await service.open(ref)
    kernel.refusal = ""
    moved = await service.open(ref)
    assert moved.directory_name == mount_directory_name("10.1.1.99", "/export/secondary")


async def test_a_host_without_address_is_an_unavailable_store(service: StoreService) -> None:
    with pytest.raises(StoreUnavailableError, match=r"storage\.example cannot be resolved"):
        await service.open(StoreRef(url="nfs://storage.example/e"))


async def test_an_error_that_passes_detaches_nothing(
    kernel: FakeKernel, service: StoreService
) -> None:
    """Downloads and copies work on the mount meanwhile."""
    store = await service.open(REF)
    kernel.passing = [Life.STALE]
    assert await service.open(REF) is store
    assert kernel.programs == ["mount"]
    assert kernel.attached == [store]


async def test_a_stale_mount_is_detached_and_mounted_again(
    kernel: FakeKernel, service: StoreService
) -> None:
    """requirements R12."""
    store = await service.open(REF)
    kernel.life[NAME] = Life.STALE
    assert await service.open(REF) is store
    assert kernel.programs == ["mount", "umount", "mount"]
    assert kernel.attached == [store, store]


async def test_a_mount_that_vanished_is_made_again(
    kernel: FakeKernel, service: StoreService
) -> None:
    await service.open(REF)
    kernel.mounted.clear()
    await service.open(REF)
    assert kernel.programs == ["mount", "mount"]


async def test_a_mount_that_is_stale_again_at_once_is_an_error(
    kernel: FakeKernel, service: StoreService
) -> None:
    """requirements R12: one retry."""
    await service.open(REF)
    react = kernel.runner.react
    assert react is not None

    def mount_something_dead(call: list[str]) -> ProgramResult | None:
        result = react(call)
        kernel.life[NAME] = Life.STALE
        return result

    kernel.life[NAME] = Life.STALE
    kernel.runner.react = mount_something_dead
    with pytest.raises(StoreUnavailableError, match="stale after mounting"):
        await service.open(REF)
    assert kernel.programs == ["mount", "umount", "mount"]


async def test_a_stale_mount_that_cannot_be_detached_is_an_error(
    kernel: FakeKernel, service: StoreService
) -> None:
    await service.open(REF)
    kernel.life[NAME] = Life.STALE
    kernel.runner.react = lambda call: ProgramResult(returncode=1, stdout=b"", stderr=b"busy")
    with pytest.raises(StoreUnavailableError, match="cannot be detached"):
        await service.open(REF)


async def test_a_refused_mount_leaves_no_directory_and_answers_waiters(
    kernel: FakeKernel, service: StoreService
) -> None:
    """storage-commands.md 8: the directory is removed."""
    kernel.refusal = "access denied"
    results = await asyncio.gather(*(service.open(REF) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, MountFailedError) for result in results)
    assert {str(result) for result in results} == {
        (
            f"Unable to mount 10.1.1.5:/export/secondary at {kernel.root}/mnt/{NAME} "
            "due to access denied"
        )
    }
    assert kernel.programs == ["mount"]
    assert not (kernel.root / "mnt" / NAME).exists()
    kernel.refusal = ""
    kernel.clock.advance(6)
    await service.open(REF)


async def test_a_silent_server_is_an_error_at_once_and_hurts_nobody_else(
    kernel: FakeKernel, service: StoreService
) -> None:
    """requirements R12."""
    store = await service.open(REF)
    release = threading.Event()

    def hang() -> Life:
        release.wait(20)
        return Life.ALIVE

    kernel.life[NAME] = hang
    with pytest.raises(StoreUnavailableError):
        await service.open(REF)
    assert await service.open(StoreRef(url="nfs://10.1.1.6/e")) is not store
    kernel.clock.advance(10)
    with pytest.raises(StoreUnavailableError):
        await service.open(REF)
    kernel.clock.advance(10)
    with pytest.raises(StoreUnavailableError, match="does not respond"):
        await service.open(REF)
    assert kernel.programs == ["mount", "mount"]
    kernel.clock.advance(300)
    assert await service.open(REF) is store
    assert kernel.programs == ["mount", "mount", "umount", "mount"]
    release.set()


async def test_a_silent_server_that_comes_back_goes_on(
    kernel: FakeKernel, service: StoreService
) -> None:
    store = await service.open(REF)
    release = threading.Event()

    def answer_late() -> Life:
        release.wait(20)
        return Life.ALIVE

    kernel.life[NAME] = answer_late
    with pytest.raises(StoreUnavailableError):
        await service.open(REF)
    release.set()
    kernel.clock.advance(6)
    assert await service.open(REF) is store
    kernel.clock.advance(1000)
    assert await service.open(REF) is store
    assert kernel.programs == ["mount"]


async def test_a_mount_root_that_cannot_be_made_is_a_mount_failure(
    kernel: FakeKernel, service: StoreService
) -> None:
    """storage-commands.md 8."""
    (kernel.root / "mnt").touch()
    with pytest.raises(MountFailedError, match="Unable to create local folder for"):
        await service.open(REF)


async def test_a_store_that_cannot_be_completed_is_still_opened(
    kernel: FakeKernel, service: StoreService, caplog: pytest.LogCaptureFixture
) -> None:
    """storage-commands.md 8: failures to make the first directories are only logged."""
    (kernel.root / "mnt" / NAME).mkdir(parents=True)
    (kernel.root / "mnt" / NAME / "volumes").touch()
    await service.open(REF)
    assert "store lacks directories" in caplog.text


async def test_a_directory_store_needs_its_directory(
    kernel: FakeKernel, service: StoreService
) -> None:
    ref = StoreRef(url=f"file://{kernel.root}/plain")
    with pytest.raises(StoreUnavailableError, match="is not there"):
        await service.open(ref)
    (kernel.root / "plain").mkdir()
    kernel.clock.advance(6)
    store = await service.open(ref)
    assert store.root == kernel.root / "plain"
    assert kernel.programs == []
    assert await service.find(store.directory_name) is store


async def test_a_store_is_found_by_its_directory(kernel: FakeKernel, service: StoreService) -> None:
    store = await service.open(REF)
    assert await service.find(NAME) is store


@pytest.mark.parametrize("source", ["10.1.1.5:/export/a b", "[2001:db8::1]:/export"])
async def test_a_store_mounted_by_an_earlier_process_is_found(
    kernel: FakeKernel, service: StoreService, source: str
) -> None:
    address, _, path = source.rpartition(":/")
    name = mount_directory_name(address.strip("[]"), f"/{path}")
    kernel.mounted[name], kernel.life[name] = source.replace(" ", "\\040"), Life.ALIVE
    kernel.addresses["2001:db8::1"] = "2001:db8::1"
    kernel.write_table()
    assert (await service.find(name)).directory_name == name
    assert kernel.programs == []


@pytest.mark.parametrize("name", ["", "..", NAME, "../mnt"])
async def test_an_unknown_directory_is_not_found(
    kernel: FakeKernel, service: StoreService, name: str
) -> None:
    kernel.mounted["other"] = "10.1.1.5:/x"
    kernel.write_table()
    with pytest.raises(NotFoundError):
        await service.find(name)
