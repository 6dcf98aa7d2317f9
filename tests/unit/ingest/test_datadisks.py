# SPDX-License-Identifier: Apache-2.0
"""Disks of OVAs and templates of them (storage-commands.md 3.17, 3.18, 3.20)."""

from __future__ import annotations

import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.errors import AgentError
from ssvm_agent.images.errors import ArchiveRefusedError, ImageError, UnsafeImageError
from ssvm_agent.ingest.datadisks import (
    DiskList,
    DiskTemplate,
    DiskTemplateMade,
    list_disks,
    make_disk_template,
)
from ssvm_agent.ingest.ova_files import pack_ova
from ssvm_agent.javaproperties import parse
from ssvm_agent.storage.catalog import list_templates
from ssvm_agent.storage.copies import CopyTools
from ssvm_agent.storage.errors import NotFoundError, PathEscapeError, StorageError
from ssvm_agent.storage.properties import read_file
from ssvm_agent.storage.service import StoreService
from ssvm_agent.storage.stores import Store, StoreRef
from tests.fakes.machine import FakeClock, FakeRunner
from tests.fixtures import hostile_images as make

TOOLS = CopyTools(owner="s-1-VM", clock=FakeClock())
PARENT = "template/tmpl/2/205"
MIB = 1 << 20
DESCRIPTOR = make.ovf(
    files=[("f1", "boot.vmdk"), ("f2", "data.vmdk"), ("f3", "tools.iso")],
    disks=[("d1", "f1", "10"), ("d2", "f2", "5")],
)
BOOT, DATA, TOOLS_ISO = make.vmdk(), make.vmdk(capacity=10240), make.iso()
OVA = make.tar_archive(
    make.tar_member("vm.ovf", DESCRIPTOR),
    make.tar_member("boot.vmdk", BOOT),
    make.tar_member("data.vmdk", DATA),
    make.tar_member("tools.iso", TOOLS_ISO),
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    root = tmp_path / "store"
    (root / PARENT).mkdir(parents=True)
    service = StoreService(mount_root=tmp_path / "mnt", runner=FakeRunner(), clock=FakeClock())
    yield await service.open(StoreRef(url=f"file://{root}"))
    await service.close()


def put(store: Store, name: str, data: bytes) -> Path:
    place = store.root / PARENT / name
    place.write_bytes(data)
    return place


def names(store: Store, directory: str = PARENT) -> list[str]:
    return sorted(path.name for path in (store.root / directory).iterdir())


def snapshot(store: Store) -> dict[str, bytes]:
    return {
        str(path.relative_to(store.root)): path.read_bytes()
        for path in store.root.rglob("*")
        if path.is_file()
    }


async def listed(store: Store, path: str = f"{PARENT}/u.ova", **options: Any) -> DiskList:
    facts = {"name": None, "configuration_id": None, **options}
    return await list_disks(store, path, tools=TOOLS, **facts)


async def made(store: Store, disk: str, **changes: Any) -> DiskTemplateMade:
    facts: dict[str, Any] = {
        "disk_path": str(store.root / PARENT / disk), "account_id": 2, "template_id": 206,
        "unique_name": "206-2-disk", "virtual_size_bytes": 5 * MIB, "bootable": False,
    }  # fmt: skip
    return await make_disk_template(store, DiskTemplate(**{**facts, **changes}), tools=TOOLS)


# --- which disks there are ------------------------------------------------------------------------


async def test_the_disks_of_an_ova_are_listed_then_its_isos(store: Store) -> None:
    put(store, "u.ova", OVA)
    found = await listed(store)
    assert found.directory == store.root / PARENT
    facts = [
        (d.file_name, d.virtual_size_bytes, d.disk_id, d.bootable, d.is_iso, d.number)
        for d in found.disks
    ]
    assert facts == [
        ("boot.vmdk", 10 * MIB, "d1", True, False, 0),
        ("data.vmdk", 5 * MIB, "d2", False, False, 1),
        ("tools.iso", len(TOOLS_ISO), "f3", False, True, 2),
    ]
    assert names(store) == [
        "boot.vmdk", "data.vmdk", "tools.iso", "u.ova", "vm.ovf", "vm.ovf.orig",
    ]  # fmt: skip


async def test_a_single_disk_gets_a_list_too(store: Store) -> None:
    """storage-commands.md 3.17: the server needs it to finish any OVA template."""
    put(store, "u.ova", make.ova())
    assert [disk.file_name for disk in (await listed(store)).disks] == ["disk1.vmdk"]


async def test_a_directory_and_a_name_will_do(store: Store) -> None:
    put(store, "u.ova", make.ova())
    assert (await listed(store, PARENT, name="u")).disks
    assert (await listed(store, PARENT, name=None)).disks


async def test_an_ova_that_is_unpacked_is_not_unpacked_again(store: Store) -> None:
    put(store, "VM.OVF", DESCRIPTOR)
    for name, data in (("boot.vmdk", BOOT), ("data.vmdk", DATA), ("tools.iso", TOOLS_ISO)):
        put(store, name, data)
    assert len((await listed(store)).disks) == 3


async def test_a_missing_disk_is_named(store: Store) -> None:
    """storage-commands.md 7.3."""
    put(store, "vm.ovf", DESCRIPTOR)
    with pytest.raises(ArchiveRefusedError, match=r"does not exists boot\.vmdk"):
        await listed(store)


async def test_an_unsafe_disk_in_an_ova_leaves_nothing(store: Store) -> None:
    """Requirements S1, S5."""
    put(store, "u.ova", make.ova(disk=make.vmdk_descriptor(extents=['RW 1 FLAT "/etc/shadow" 0'])))
    with pytest.raises(ImageError):
        await listed(store)
    assert names(store) == ["u.ova"]


@pytest.mark.parametrize(
    "member",
    [
        make.tar_member("../x", b"x"),
        make.tar_header(b"link", 0, kind=b"2", link=b"/etc/passwd"),
        make.tar_member("template.properties", b"id=1"),
        make.tar_member("u.ova", b"x"),
    ],
    ids=["escape", "link", "properties", "itself"],
)
async def test_a_hostile_member_leaves_nothing(store: Store, member: bytes) -> None:
    """Requirements S5, H10."""
    put(store, "u.ova", make.ova(member))
    with pytest.raises(ImageError):
        await listed(store)
    assert names(store) == ["u.ova"]


async def test_a_descriptor_with_entities_is_refused(store: Store) -> None:
    """Requirements R31, H13."""
    put(store, "vm.ovf", make.ovf(doctype='<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'))
    with pytest.raises(UnsafeImageError):
        await listed(store)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("", PathEscapeError), ("..", PathEscapeError), ("template/tmpl/2", PathEscapeError),
        ("template/tmpl/u.ova", PathEscapeError), ("volumes/2/5/u.ova", PathEscapeError),
        (f"{PARENT}/\0.ova", PathEscapeError), (f"{PARENT}/absent.ova", NotFoundError),
        ("template/tmpl/2/404/u.ova", NotFoundError), (PARENT, NotFoundError),
        ("p", PathEscapeError),
    ],
)  # fmt: skip
async def test_a_bad_path_is_refused(store: Store, path: str, error: type[StorageError]) -> None:
    with pytest.raises(error) as caught:
        await listed(store, path)
    assert caught.value.message


async def test_links_are_not_followed(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside.ova"
    outside.write_bytes(OVA)
    (store.root / PARENT / "u.ova").symlink_to(outside)
    with pytest.raises(PathEscapeError):
        await listed(store)
    assert names(store) == ["u.ova"]


# --- a template of one disk -----------------------------------------------------------------------


async def test_a_data_disk_moves_into_a_template_of_its_own(store: Store) -> None:
    put(store, "u.ova", OVA)
    await listed(store)
    answer = await made(store, "data.vmdk")
    assert answer == DiskTemplateMade(
        path="template/tmpl/2/206/206-2-disk.ova", virtual_size_bytes=5 * MIB,
        physical_size_bytes=len(DATA),
    )  # fmt: skip
    assert names(store, "template/tmpl/2/206") == [
        "206-2-disk.ova.meta", "data.vmdk", "template.properties", "vm.ovf", "vm.ovf.orig",
    ]  # fmt: skip
    assert "data.vmdk" not in names(store)
    new = store.root / "template/tmpl/2/206"
    assert (new / "vm.ovf.orig").read_bytes() == DESCRIPTOR
    reduced = (new / "vm.ovf").read_bytes()
    assert b"data.vmdk" in reduced
    assert b"boot.vmdk" not in reduced
    assert parse((new / "206-2-disk.ova.meta").read_text()) == {
        "ova.filename": "206-2-disk.ova", "version": "1.0", "ovf": "vm.ovf", "numDisks": "1",
        "disk1.name": "data.vmdk", "disk1.size": str(len(DATA)),
    }  # fmt: skip


async def test_its_properties_are_those_of_a_data_disk(store: Store) -> None:
    """storage-commands.md 6.4, last paragraph."""
    put(store, "u.ova", OVA)
    await listed(store)
    await made(store, "data.vmdk")
    found = read_file(store.root / "template/tmpl/2/206/template.properties")
    assert (found.file_name, found.description, found.id) == (
        "206-2-disk.ova",
        "privateTemplate",
        206,
    )
    assert (found.is_public, found.hvm, found.checksum) == (False, False, "")
    assert (found.size_bytes, found.virtual_size_bytes) == (len(DATA), 5 * MIB)
    assert (await list_templates(store))["206-2-disk"].is_corrupted is False


async def test_the_boot_disk_stays_and_its_template_becomes_one_of_it(store: Store) -> None:
    put(store, "u.ova", OVA)
    await listed(store)
    await made(store, "data.vmdk")
    answer = await made(
        store, "boot.vmdk", bootable=True, template_id=205, unique_name="205-2-x",
        virtual_size_bytes=10 * MIB,
    )  # fmt: skip
    assert answer.path == f"{PARENT}/205-2-x.ova"
    assert {"boot.vmdk", "205-2-x.ova.meta", "template.properties"} <= set(names(store))
    assert b"data.vmdk" not in (store.root / PARENT / "vm.ovf").read_bytes()
    assert (store.root / PARENT / "vm.ovf.orig").read_bytes() == DESCRIPTOR
    # The server asks again on its next synchronisation.
    assert [disk.file_name for disk in (await listed(store, PARENT)).disks] == ["boot.vmdk"]


async def test_an_iso_becomes_a_template_of_itself(store: Store) -> None:
    put(store, "u.ova", OVA)
    await listed(store)
    answer = await made(store, "tools.iso", virtual_size_bytes=0)
    assert answer.path == "template/tmpl/2/206/tools.iso"
    found = (await list_templates(store))["206-2-disk"]
    assert found.install_path == answer.path
    assert found.size_bytes == len(TOOLS_ISO)


async def test_a_size_that_is_not_told_comes_from_the_descriptor(store: Store) -> None:
    put(store, "u.ova", OVA)
    await listed(store)
    assert (await made(store, "data.vmdk", virtual_size_bytes=0)).virtual_size_bytes == 5 * MIB


async def test_an_order_can_be_repeated(store: Store) -> None:
    put(store, "u.ova", OVA)
    await listed(store)
    first = await made(store, "data.vmdk")
    before = snapshot(store)
    assert await made(store, "data.vmdk") == first
    assert snapshot(store) == before


@pytest.mark.parametrize("call", range(1, 12))
@pytest.mark.parametrize("bootable", [False, True])
async def test_a_fault_at_any_step_leaves_the_templates_as_they_were(
    store: Store, monkeypatch: pytest.MonkeyPatch, call: int, bootable: bool
) -> None:
    put(store, "u.ova", OVA)
    await listed(store)
    before = snapshot(store)
    real, calls = os.fsync, 0

    def fail(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(28, "No space left on device")
        real(descriptor)

    disk, number = ("boot.vmdk", 205) if bootable else ("data.vmdk", 206)
    monkeypatch.setattr(os, "fsync", fail)
    try:
        await made(store, disk, bootable=bootable, template_id=number)
    except AgentError:
        assert snapshot(store) == before
        assert (store.root / "template/tmpl/2/206").exists() is False
    else:
        assert "206-2-disk" in await list_templates(store)


@pytest.mark.parametrize(
    "changes",
    [
        {"disk_path": "/etc/passwd"}, {"disk_path": "relative/x"}, {"disk_path": ""},
        {"disk_path": "\0"}, {"account_id": 0}, {"template_id": -1}, {"unique_name": "../x"},
        {"unique_name": ""}, {"unique_name": "x" * 300},
    ],
)  # fmt: skip
async def test_a_bad_order_changes_nothing(store: Store, changes: dict[str, Any]) -> None:
    put(store, "u.ova", OVA)
    await listed(store)
    before = snapshot(store)
    with pytest.raises(AgentError) as caught:
        await made(store, "data.vmdk", **changes)
    assert caught.value.message
    assert snapshot(store) == before


async def test_paths_that_climb_out_of_the_store_are_refused(store: Store) -> None:
    put(store, "u.ova", OVA)
    for path in (f"{store.root}/../x/y/z/a", f"{store.root}/template/tmpl/2/data.vmdk"):
        with pytest.raises(PathEscapeError):
            await made(store, "x", disk_path=path)


async def test_a_disk_that_is_gone_is_said_to_be(store: Store) -> None:
    put(store, "vm.ovf", DESCRIPTOR)
    with pytest.raises(NotFoundError, match=r"data\.vmdk does not exist"):
        await made(store, "data.vmdk")


# --- packing --------------------------------------------------------------------------------------


async def test_an_ova_is_packed_from_its_parts_on_request(store: Store, tmp_path: Path) -> None:
    put(store, "u.ova", OVA)
    await listed(store)
    path = (await made(store, "data.vmdk")).path
    assert await pack_ova(store, path, owner="s-1-VM") == path
    with tarfile.open(store.root / path) as archive:
        assert archive.getnames() == ["vm.ovf", "data.vmdk"]
        member = archive.extractfile("data.vmdk")
        assert member is not None
        assert member.read() == DATA
    stamp = (store.root / path).stat().st_mtime_ns
    await pack_ova(store, path, owner="s-1-VM")
    assert (store.root / path).stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("meta", "error"),
    [
        (None, NotFoundError),
        (b"", ImageError),
        (b"ova.filename=other.ova\novf=vm.ovf\nnumDisks=1\ndisk1.name=d\n", ArchiveRefusedError),
        (b"ova.filename=u.ova\novf=../x\nnumDisks=1\ndisk1.name=d\n", ArchiveRefusedError),
        (b"ova.filename=u.ova\novf=vm.ovf\nnumDisks=1\ndisk1.name=absent\n", NotFoundError),
    ],
)
async def test_parts_that_do_not_fit_make_no_ova(
    store: Store, meta: bytes | None, error: type[AgentError]
) -> None:
    put(store, "vm.ovf", DESCRIPTOR)
    if meta is not None:
        put(store, "u.ova.meta", meta)
    before = snapshot(store)
    with pytest.raises(error):
        await pack_ova(store, f"{PARENT}/u.ova", owner="s-1-VM")
    assert snapshot(store) == before
