# SPDX-License-Identifier: Apache-2.0
"""CopyCommand through the executor: which copy is meant, what the server reads in the answer."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.dispatch.registry import MAX_WAIT_S
from ssvm_agent.handlers.base import REGISTRY
from ssvm_agent.messages.base import Answer, DataStoreTO, DataTO, UnsupportedAnswer
from ssvm_agent.messages.copy import CopyCmdAnswer, CopyCommand
from ssvm_agent.messages.objects import (
    BackupDeltaTO,
    SnapshotObjectTO,
    TemplateObjectTO,
    VolumeObjectTO,
)
from ssvm_agent.messages.stores import S3TO, NfsTO, PrimaryDataStoreTO, SwiftTO
from tests.fakes.services import Rig
from tests.fixtures import hostile_images as make

MIB = 1 << 20
QCOW2 = make.qcow2(size=10 * MIB)
SNAPSHOT = "snapshots/2/44/8e1f0b6c"
OBJECT_STORES = [S3TO(bucket_name="b", access_key="k"), SwiftTO(account="a")]


@pytest.fixture
def stores(tmp_path: Path) -> tuple[NfsTO, NfsTO]:
    found = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        found.append(NfsTO(url=f"file://{tmp_path / name}", role="Image"))
    return found[0], found[1]


def root(store: NfsTO) -> Path:
    assert store.url is not None
    return Path(store.url.removeprefix("file://"))


def put(store: NfsTO, path: str, data: bytes) -> None:
    place = root(store) / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)


def files(store: NfsTO) -> list[str]:
    return sorted(str(p.relative_to(root(store))) for p in root(store).rglob("*") if p.is_file())


def template(
    store: DataStoreTO | None, path: str | None = "template/tmpl/2/210", **more: Any
) -> TemplateObjectTO:
    facts = {"name": "210-2-x", "id": 210, "account_id": 2, **more}
    return TemplateObjectTO(image_data_store=store, path=path, **facts)


def volume(
    store: DataStoreTO | None, path: str | None = "volumes/2/5", **more: Any
) -> VolumeObjectTO:
    return VolumeObjectTO(data_store=store, path=path, **more)


def snapshot(
    store: DataStoreTO | None, path: str | None = SNAPSHOT, **more: Any
) -> SnapshotObjectTO:
    facts = {"hypervisor_type": "KVM", "volume": VolumeObjectTO(format="QCOW2"), **more}
    return SnapshotObjectTO(data_store=store, path=path, **facts)


async def ask(rig: Rig, source: DataTO | None, target: DataTO | None, **more: Any) -> Answer:
    answer = await rig.ask(CopyCommand(src=source, dest=target, **more))
    assert answer is not None
    return answer


async def copied(rig: Rig, source: DataTO, target: DataTO) -> DataTO:
    answer = await ask(rig, source, target)
    assert isinstance(answer, CopyCmdAnswer)
    assert answer.result, answer.details
    assert answer.new_data is not None
    return answer.new_data


# --- case a: to another store ---------------------------------------------------------------------


async def test_a_template_that_moved_is_told_with_its_sizes_and_format(
    rig: Rig, stores: tuple[NfsTO, NfsTO]
) -> None:
    """storage-commands.md 3.15: size is mandatory, and never a name."""
    first, second = stores
    put(first, "template/tmpl/2/205/a.qcow2", QCOW2)
    found = await copied(
        rig, template(first, "template/tmpl/2/205/a.qcow2"), template(second, "template/tmpl/2/205")
    )
    assert found == TemplateObjectTO(
        path="template/tmpl/2/205/a.qcow2", size=10 * MIB, physical_size=len(QCOW2), format="QCOW2"
    )
    assert files(second) == ["template/tmpl/2/205/a.qcow2"]


async def test_an_iso_that_moved_has_no_format(rig: Rig, stores: tuple[NfsTO, NfsTO]) -> None:
    """storage-commands.md 3.15: the format would overwrite that of the template."""
    first, second = stores
    put(first, "template/tmpl/2/206/tools.iso", make.iso())
    found = await copied(
        rig,
        template(first, "template/tmpl/2/206/tools.iso"),
        template(second, "template/tmpl/2/206"),
    )
    assert isinstance(found, TemplateObjectTO)
    assert (found.format, found.size, found.name) == (None, len(make.iso()), None)


@pytest.mark.parametrize(
    ("name", "data", "image_format"),
    [
        ("a.vhd", make.dynamic_vhd(), "VHD"), ("a.vhdx", make.vhdx(), "VHDX"),
        ("a.ova", make.ova(), "OVA"), ("a.vmdk", make.vmdk(), "VMDK"), ("a.vdi", make.vdi(), "VDI"),
        ("a.raw", bytes(4096), "RAW"), ("a.img", bytes(4096), "RAW"),
        ("a.tar", make.tar_archive(make.tar_member("x", b"x")), "TAR"),
    ],
)  # fmt: skip
async def test_formats_are_told_by_the_extension(
    rig: Rig, stores: tuple[NfsTO, NfsTO], name: str, data: bytes, image_format: str
) -> None:
    first, second = stores
    put(first, f"template/tmpl/2/205/{name}", data)
    found = await copied(
        rig, template(first, f"template/tmpl/2/205/{name}"), template(second, "template/tmpl/2/205")
    )
    assert isinstance(found, TemplateObjectTO)
    assert found.format == image_format
    assert found.size
    assert found.physical_size == len(data)


async def test_a_volume_that_moved_is_told_with_its_size(
    rig: Rig, stores: tuple[NfsTO, NfsTO]
) -> None:
    first, second = stores
    put(first, "volumes/2/5/v.qcow2", QCOW2)
    found = await copied(rig, volume(first, "volumes/2/5/v.qcow2"), volume(second))
    assert found == VolumeObjectTO(path="volumes/2/5/v.qcow2", size=10 * MIB)


async def test_a_snapshot_that_moved_keeps_its_parent(
    rig: Rig, stores: tuple[NfsTO, NfsTO]
) -> None:
    """storage-commands.md 3.15: an absent parentSnapshotPath resets the link."""
    first, second = stores
    put(first, SNAPSHOT, QCOW2)
    source = snapshot(first, parent_snapshot_path="snapshots/2/44/before")
    found = await copied(rig, source, snapshot(second, "snapshots/2/44"))
    assert found == SnapshotObjectTO(
        path=SNAPSHOT, physical_size=len(QCOW2), parent_snapshot_path="snapshots/2/44/before"
    )


async def test_an_incremental_snapshot_may_name_its_parent(
    rig: Rig, stores: tuple[NfsTO, NfsTO]
) -> None:
    first, second = stores
    put(first, SNAPSHOT, make.qcow2(backing=b"before"))
    refused = await ask(rig, snapshot(first), snapshot(second, "snapshots/2/44"))
    assert not refused.result
    source = snapshot(first, kvm_incremental_snapshot=True)
    await copied(rig, source, snapshot(second, "snapshots/2/44"))


async def test_a_difference_of_xenserver_moves_as_it_is(
    rig: Rig, stores: tuple[NfsTO, NfsTO]
) -> None:
    first, second = stores
    put(first, f"{SNAPSHOT}.vhd", make.dynamic_vhd(disk_type=4, parent_name="p.vhd"))
    source = snapshot(first, hypervisor_type="XenServer")
    found = await copied(rig, source, snapshot(second, "snapshots/2/44"))
    assert isinstance(found, SnapshotObjectTO)
    assert found.path == SNAPSHOT


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.qcow2", make.qcow2(backing=b"/etc/shadow")), ("a.raw", QCOW2),
        ("a.qcow2", b"no image at all" * 100), ("a.vhd", make.dynamic_vhd(disk_type=4)),
    ],
)  # fmt: skip
async def test_an_unsafe_image_does_not_move(
    rig: Rig, stores: tuple[NfsTO, NfsTO], name: str, data: bytes
) -> None:
    """Requirements S1: inspected by whichever way it comes."""
    first, second = stores
    put(first, f"template/tmpl/2/205/{name}", data)
    answer = await ask(
        rig, template(first, f"template/tmpl/2/205/{name}"), template(second, "template/tmpl/2/205")
    )
    assert isinstance(answer, CopyCmdAnswer)
    assert not answer.result
    assert answer.details
    assert files(second) == []


# --- case b: templates of snapshots ---------------------------------------------------------------


async def test_a_snapshot_of_kvm_becomes_a_template(rig: Rig, stores: tuple[NfsTO, NfsTO]) -> None:
    first, second = stores
    put(first, SNAPSHOT, QCOW2)
    found = await copied(rig, snapshot(first), template(second))
    assert found == TemplateObjectTO(
        path="template/tmpl/2/210/8e1f0b6c.qcow2", size=10 * MIB, physical_size=len(QCOW2),
        format="QCOW2",
    )  # fmt: skip
    assert (
        "uniquename=210-2-x"
        in (root(second) / "template/tmpl/2/210/template.properties").read_text()
    )


@pytest.mark.parametrize("role", ["Image", "ImageCache", "Primary"])
async def test_the_snapshot_may_be_on_a_store_of_these_roles(
    rig: Rig, stores: tuple[NfsTO, NfsTO], role: str
) -> None:
    first, second = stores
    put(first, SNAPSHOT, QCOW2)
    await copied(rig, snapshot(NfsTO(url=first.url, role=role)), template(second))


async def test_source_and_destination_may_be_one_store(
    rig: Rig, stores: tuple[NfsTO, NfsTO]
) -> None:
    first, _ = stores
    put(first, SNAPSHOT, bytes(1 << 20))
    raw = snapshot(first, volume=VolumeObjectTO(format="RAW"))
    found = await copied(rig, raw, template(first))
    assert isinstance(found, TemplateObjectTO)
    assert (found.format, found.path) == ("RAW", "template/tmpl/2/210/8e1f0b6c.raw")


async def test_without_a_volume_the_format_is_qcow2(rig: Rig, stores: tuple[NfsTO, NfsTO]) -> None:
    """storage-commands.md 3.15 b."""
    first, second = stores
    put(first, SNAPSHOT, QCOW2)
    found = await copied(rig, snapshot(first, volume=None), template(second))
    assert isinstance(found, TemplateObjectTO)
    assert found.format == "QCOW2"


@pytest.mark.parametrize(
    ("more", "data", "words"),
    [
        ({}, make.qcow2(backing=b"/secrets.img"), "backing file"),
        ({}, b"nothing like it" * 99, "QCOW2"),
        ({"volume": VolumeObjectTO(format="VMDK")}, QCOW2, "Unknown image format VMDK"),
        ({"hypervisor_type": "VMware"}, QCOW2, "VMware"),
        ({"hypervisor_type": None}, QCOW2, "unnamed hypervisor"),
        ({"path": "snapshots/2/44/gone"}, QCOW2, "does not exist"),
        ({"path": None}, QCOW2, "srcTO.path"),
    ],
)  # fmt: skip
async def test_a_snapshot_that_cannot_become_a_template_says_why(
    rig: Rig, stores: tuple[NfsTO, NfsTO], more: dict[str, Any], data: bytes, words: str
) -> None:
    first, second = stores
    put(first, SNAPSHOT, data)
    answer = await ask(rig, snapshot(first, **{"path": SNAPSHOT, **more}), template(second))
    assert isinstance(answer, CopyCmdAnswer)
    assert not answer.result
    assert words in (answer.details or "")
    assert files(second) == []


async def test_xenserver_without_vhd_util_says_so(
    rig: Rig, stores: tuple[NfsTO, NfsTO], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ssvm_agent.host.errors import ProgramMissingError

    async def missing(argv: list[object], **_: object) -> None:
        raise ProgramMissingError(str(argv[0]))

    first, second = stores
    put(first, f"{SNAPSHOT}.vhd", make.dynamic_vhd())
    monkeypatch.setattr(rig.services.runner, "run", missing)
    answer = await ask(rig, snapshot(first, hypervisor_type="XenServer"), template(second))
    assert "vhd-util" in (answer.details or "")


async def test_only_a_template_of_xenserver_gets_a_name(
    rig: Rig, stores: tuple[NfsTO, NfsTO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """storage-commands.md 3.15: with a name the server overwrites its unique name."""
    from ssvm_agent.host.run import ProgramResult

    async def no_parent(*_: object, **__: object) -> ProgramResult:
        return ProgramResult(returncode=0, stdout=b"x.vhd has no parent\n", stderr=b"")

    first, second = stores
    put(first, f"{SNAPSHOT}.vhd", make.dynamic_vhd())
    monkeypatch.setattr(rig.services.runner, "run", no_parent)
    found = await copied(rig, snapshot(first, hypervisor_type="XenServer"), template(second))
    assert isinstance(found, TemplateObjectTO)
    assert found.path == f"template/tmpl/2/210/{found.name}.vhd"
    assert found.format == "VHD"


# --- all other cases ------------------------------------------------------------------------------


async def test_object_stores_are_named_as_the_reason(rig: Rig, stores: tuple[NfsTO, NfsTO]) -> None:
    """Cases b, c and d with an object store: CopyCmdAnswer, false, a clear text."""
    first, _ = stores
    cache = NfsTO(url=first.url, role="ImageCache")
    for store in OBJECT_STORES:
        pairs: list[tuple[DataTO, DataTO]] = [
            (snapshot(store), template(first)),
            (snapshot(first), template(store)),
            (template(store), template(cache)),
            (template(cache), template(store)),
            (volume(cache), volume(store)),
        ]
        for source, target in pairs:
            answer = await ask(rig, source, target)
            assert isinstance(answer, CopyCmdAnswer)
            assert not answer.result
            assert "object stores" in (answer.details or "")


async def test_every_other_combination_is_unsupported(
    rig: Rig, stores: tuple[NfsTO, NfsTO]
) -> None:
    """storage-commands.md 3.15 e."""
    first, _ = stores
    primary = PrimaryDataStoreTO(uuid="u", pool_type="NetworkFilesystem")
    backup = NfsTO(url=first.url, role="Backup")
    pairs: list[tuple[DataTO, DataTO]] = [
        (volume(primary), volume(first)),
        (volume(first), template(first)),
        (template(first), snapshot(first)),
        (snapshot(primary), template(first)),
        (snapshot(backup), template(first)),
        (template(first), template(OBJECT_STORES[0])),
        (BackupDeltaTO(data_store=first, path="b"), BackupDeltaTO(data_store=first, path="c")),
    ]
    for source, target in pairs:
        answer = await ask(rig, source, target)
        assert isinstance(answer, UnsupportedAnswer), (source, answer)


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        (None, None, "srcTO"),
        (template(None), template(None), "dataStore"),
        (template(NfsTO(url="file:///tmp", role="Image")), None, "destTO"),
        (template(NfsTO(role="Image")), template(NfsTO(role="Image")), "no URL"),
        (
            template(NfsTO(url="nfs://", role="Image")),
            template(NfsTO(url="nfs://", role="Image")),
            "host",
        ),
        (
            template(NfsTO(url="http://x/y", role="Image")),
            template(NfsTO(url="x", role="Image")),
            "scheme",
        ),
    ],
)
async def test_a_field_that_is_missing_is_named_in_the_own_class(
    rig: Rig, source: DataTO | None, target: DataTO | None, words: str
) -> None:
    answer = await ask(rig, source, target)
    assert isinstance(answer, CopyCmdAnswer)
    assert not answer.result
    assert words in (answer.details or "")


BAD_PATHS = [
    None,
    "",
    " ",
    "..",
    "/",
    "../../etc",
    "//etc/passwd",
    "a\0b",
    "x" * 5000,
    "ü",
    "template",
]


@pytest.mark.parametrize("kind", [template, volume, snapshot])
async def test_bad_paths_change_nothing(rig: Rig, stores: tuple[NfsTO, NfsTO], kind: Any) -> None:
    first, second = stores
    put(first, "template/tmpl/2/205/a.qcow2", QCOW2)
    put(first, "volumes/2/5/v.qcow2", QCOW2)
    put(first, SNAPSHOT, QCOW2)
    before = files(first)
    for source, target in itertools.product(BAD_PATHS, BAD_PATHS[:6]):
        answer = await ask(rig, kind(first, source), kind(second, target))
        assert isinstance(answer, CopyCmdAnswer)
        assert not answer.result
        assert answer.details
    assert (files(first), files(second)) == (before, [])


async def test_the_wait_of_the_command_is_its_deadline_within_reason() -> None:
    """storage-commands.md 3.15: data migration passes minutes*60*1000."""
    entry = REGISTRY.entry_for(CopyCommand)
    assert entry is not None
    assert entry.deadline_of(CopyCommand(wait=7200)) == 7200
    assert entry.deadline_of(CopyCommand(wait=12 * 60 * 60 * 1000)) == MAX_WAIT_S
    assert entry.deadline_of(CopyCommand(wait=-5)) == entry.deadline_s
