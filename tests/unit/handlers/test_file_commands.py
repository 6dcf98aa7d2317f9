# SPDX-License-Identifier: Apache-2.0
"""Checksums, snapshot files, config drives and data disks through the executor."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.messages.base import Answer, Command
from ssvm_agent.messages.configdrive import HandleConfigDriveIsoAnswer, HandleConfigDriveIsoCommand
from ssvm_agent.messages.datadisk import (
    CreateDatadiskTemplateAnswer,
    CreateDatadiskTemplateCommand,
    GetDatadisksAnswer,
    GetDatadisksCommand,
)
from ssvm_agent.messages.files import (
    ComputeChecksumCommand,
    QuerySnapshotZoneCopyAnswer,
    QuerySnapshotZoneCopyCommand,
)
from ssvm_agent.messages.objects import SnapshotObjectTO, TemplateObjectTO, VolumeObjectTO
from ssvm_agent.messages.stores import S3TO, NfsTO
from tests.fakes.services import Rig
from tests.fixtures import hostile_images as make

PARENT = "template/tmpl/2/205"
ISO = b"CD001"


@pytest.fixture
def store(tmp_path: Path) -> NfsTO:
    (tmp_path / "store").mkdir()
    return NfsTO(url=f"file://{tmp_path / 'store'}", role="Image")


@pytest.fixture
def root(tmp_path: Path, store: NfsTO) -> Path:
    assert store.url
    return tmp_path / "store"


def put(root: Path, path: str, data: bytes) -> Path:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return place


async def ask(rig: Rig, command: Command) -> Answer:
    answer = await rig.ask(command)
    assert answer is not None
    return answer


# --- checksums ------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["SHA-512", "sha-512", "Sha512"])
async def test_a_checksum_carries_the_algorithm_as_given(
    rig: Rig, store: NfsTO, root: Path, algorithm: str
) -> None:
    """storage-commands.md 3.10: details are the checksum, word for word."""
    put(root, f"{PARENT}/a.qcow2", b"content")
    command = ComputeChecksumCommand(
        store=store, template_path=f"/{PARENT}/a.qcow2", algorithm=algorithm
    )
    answer = await ask(rig, command)
    expected = hashlib.sha512(b"content").hexdigest()
    assert answer == Answer(result=True, details=f"{{{algorithm}}}{expected}")


async def test_without_an_algorithm_it_is_md5(rig: Rig, store: NfsTO, root: Path) -> None:
    put(root, "a", b"content")
    answer = await ask(rig, ComputeChecksumCommand(store=store, template_path="a", algorithm=None))
    assert answer.details == f"{{MD5}}{hashlib.md5(b'content').hexdigest()}"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"store": None}, "can't handle non nfs data store"),
        ({"store": S3TO(bucket_name="b")}, "can't handle non nfs data store"),
        ({"template_path": None}, "templatePath"), ({"template_path": "../x"}, "leaves"),
        ({"template_path": "absent"}, "does not exist"), ({"template_path": "\0"}, "control"),
        ({"algorithm": "MD2"}, "not recognised: MD2"),
    ],
)  # fmt: skip
async def test_a_checksum_that_cannot_be_computed_says_why(
    rig: Rig, store: NfsTO, root: Path, changes: dict[str, Any], words: str
) -> None:
    put(root, "a", b"content")
    facts: dict[str, Any] = {"store": store, "template_path": "a", "algorithm": "MD5", **changes}
    answer = await ask(rig, ComputeChecksumCommand(**facts))
    assert type(answer) is Answer
    assert not answer.result
    assert words in (answer.details or "")


# --- files of a snapshot --------------------------------------------------------------------------


async def test_the_files_of_a_snapshot_are_told(rig: Rig, store: NfsTO, root: Path) -> None:
    put(root, "snapshots/2/44/a.vhd", b"x")
    put(root, "snapshots/2/44/b.vhd", b"x")
    snapshot = SnapshotObjectTO(data_store=store, path="snapshots/2/44/c")
    answer = await ask(rig, QuerySnapshotZoneCopyCommand(snapshot=snapshot))
    assert answer == QuerySnapshotZoneCopyAnswer(
        files=["snapshots/2/44/a.vhd", "snapshots/2/44/b.vhd"]
    )


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        (None, "snapshot"),
        (SnapshotObjectTO(), "snapshot.path"),
        (SnapshotObjectTO(path="snapshots/2/44/c"), "names no store"),
        (SnapshotObjectTO(path="snapshots/2/44/c", data_store=S3TO()), "object stores"),
    ],
)
async def test_a_snapshot_that_is_not_described_says_what_lacks(
    rig: Rig, snapshot: SnapshotObjectTO | None, words: str
) -> None:
    answer = await ask(rig, QuerySnapshotZoneCopyCommand(snapshot=snapshot))
    assert isinstance(answer, QuerySnapshotZoneCopyAnswer)
    assert not answer.result
    assert words in (answer.details or "")


async def test_a_kvm_snapshot_that_is_gone_has_no_files(rig: Rig, store: NfsTO, root: Path) -> None:
    put(root, "snapshots/2/44/other", b"x")
    snapshot = SnapshotObjectTO(data_store=store, path="snapshots/2/44/gone", hypervisor_type="KVM")
    assert not (await ask(rig, QuerySnapshotZoneCopyCommand(snapshot=snapshot))).result


# --- config drives --------------------------------------------------------------------------------


async def test_a_config_drive_comes_and_goes(rig: Rig, store: NfsTO, root: Path) -> None:
    """storage-commands.md 3.16: the server needs the class and the location."""
    path = "configdrive/i-2-17-VM/configdrive.iso"
    text = base64.b64encode(ISO).decode()
    create = HandleConfigDriveIsoCommand(
        iso_file=path, iso_data=text, create=True, dest_store=store
    )
    answer = await ask(rig, create)
    assert answer == HandleConfigDriveIsoAnswer(
        location="SECONDARY", details="Successfully saved config drive at secondary storage"
    )
    assert (root / path).read_bytes() == ISO
    delete = HandleConfigDriveIsoCommand(iso_file=path, create=False, dest_store=store)
    for _ in range(2):
        answer = await ask(rig, delete)
        assert isinstance(answer, HandleConfigDriveIsoAnswer)
        assert (answer.result, answer.location) == (True, "SECONDARY")
    assert not (root / path).exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"iso_data": None}, "Invalid config drive ISO data"),
        ({"iso_data": "%"}, "Invalid config drive ISO data"), ({"iso_file": None}, "isoFile"),
        ({"iso_file": "../a.iso"}, "leaves its store"), ({"dest_store": None}, "names no store"),
        ({"dest_store": S3TO()}, "object stores"),
    ],
)  # fmt: skip
async def test_a_config_drive_that_cannot_be_written_says_why(
    rig: Rig, store: NfsTO, root: Path, changes: dict[str, Any], words: str
) -> None:
    facts: dict[str, Any] = {
        "iso_file": "configdrive/a.iso", "iso_data": "Q0QwMDE=", "create": True,
        "dest_store": store, **changes,
    }  # fmt: skip
    answer = await ask(rig, HandleConfigDriveIsoCommand(**facts))
    assert isinstance(answer, HandleConfigDriveIsoAnswer)
    assert (answer.result, answer.location) == (False, "SECONDARY")
    assert words in (answer.details or "")
    assert not (root / "configdrive").exists()


# --- data disks -----------------------------------------------------------------------------------


async def test_the_disks_of_an_ova_get_templates(rig: Rig, store: NfsTO, root: Path) -> None:
    put(root, f"{PARENT}/u.ova", make.ova())
    template = TemplateObjectTO(image_data_store=store, path=f"{PARENT}/u.ova", name="205-2-x")
    answer = await ask(rig, GetDatadisksCommand(data=template))
    assert isinstance(answer, GetDatadisksAnswer)
    assert answer.result, answer.details
    (disk,) = answer.data_disk_details or []
    assert disk.path == str(root / PARENT / "disk1.vmdk")
    new = TemplateObjectTO(
        image_data_store=store, id=206, account_id=2, unique_name="206-2-d", size=disk.virtual_size
    )
    order = CreateDatadiskTemplateCommand(
        data_disk_template=new, path=disk.path, bootable=False, disk_id=disk.disk_id
    )
    made = await ask(rig, order)
    assert made == CreateDatadiskTemplateAnswer(
        data_disk_template=TemplateObjectTO(
            id=206, path="template/tmpl/2/206/206-2-d.ova", size=10 << 20,
            physical_size=len(make.vmdk()),
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "data"), (VolumeObjectTO(), "Only templates"), (TemplateObjectTO(), "data.path"),
        (TemplateObjectTO(path=f"{PARENT}/u.ova"), "names no store"),
        (TemplateObjectTO(path=f"{PARENT}/u.ova", image_data_store=S3TO()), "object stores"),
    ],
)  # fmt: skip
async def test_disks_that_cannot_be_listed_say_why_with_a_list(
    rig: Rig, data: Any, words: str
) -> None:
    """storage-commands.md 1.1: always a list."""
    answer = await ask(rig, GetDatadisksCommand(data=data))
    assert isinstance(answer, GetDatadisksAnswer)
    assert (answer.result, answer.data_disk_details) == (False, [])
    assert words in (answer.details or "")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_disk_template": None}, "dataDiskTemplate"), ({"path": None}, "path"),
        ({"data_disk_template": VolumeObjectTO()}, "Only a template"),
        ({"path": "/etc/passwd"}, "Create Datadisk template failed due to"),
    ],
)  # fmt: skip
async def test_a_disk_template_that_cannot_be_made_says_why(
    rig: Rig, store: NfsTO, root: Path, changes: dict[str, Any], words: str
) -> None:
    template = TemplateObjectTO(image_data_store=store, id=206, account_id=2, unique_name="u")
    facts: dict[str, Any] = {"data_disk_template": template, "path": "/x", **changes}
    answer = await ask(rig, CreateDatadiskTemplateCommand(**facts))
    assert isinstance(answer, CreateDatadiskTemplateAnswer)
    assert not answer.result
    assert words in (answer.details or "")
    assert not (root / "template").exists()
