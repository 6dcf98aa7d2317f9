# SPDX-License-Identifier: Apache-2.0
"""Lists, statistics, deletions, moves and browsing as the management server sees them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from ssvm_agent.ingest.job import Job, JobKey
from ssvm_agent.ingest.jobs import store_key
from ssvm_agent.messages.base import Answer, Command, DataTO
from ssvm_agent.messages.delete import (
    BackupDeleteAnswer,
    DeleteCommand,
    DeleteSnapshotsDirCommand,
)
from ssvm_agent.messages.files import MoveVolumeCommand
from ssvm_agent.messages.listing import (
    GetStorageStatsAnswer,
    GetStorageStatsCommand,
    ListDataStoreObjectsAnswer,
    ListDataStoreObjectsCommand,
    ListTemplateAnswer,
    ListTemplateCommand,
    ListVolumeAnswer,
    ListVolumeCommand,
)
from ssvm_agent.messages.objects import (
    BackupDeltaTO,
    SnapshotObjectTO,
    TemplateObjectTO,
    VolumeObjectTO,
)
from ssvm_agent.messages.stores import S3TO, NfsTO, PrimaryDataStoreTO, SwiftTO
from ssvm_agent.storage.layout import ImageKind, parse_store_url
from ssvm_agent.storage.properties import ImageProperties, write_file
from tests.fakes.machine import beside_the_loop
from tests.fakes.services import Rig

A = TypeVar("A", bound=Answer)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "store"
    made.mkdir()
    return made


@pytest.fixture
def store(root: Path) -> NfsTO:
    return NfsTO(url=f"file://{root}", role="Image")


async def ask(rig: Rig, command: Command, kind: type[A]) -> A:
    answer = await rig.ask(command)
    assert type(answer) is kind
    return answer


def fill(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"12345")


def describe(root: Path, directory: str, name: str, image_id: int) -> None:
    properties = ImageProperties(
        unique_name=name, id=image_id, file_name="x.qcow2", size_bytes=5,
        virtual_size_bytes=1000, formats=("qcow2",),
    )  # fmt: skip
    marker = "volume.properties" if directory.startswith("volumes") else "template.properties"
    (root / directory).mkdir(parents=True, exist_ok=True)
    now = datetime(2026, 11, 23, tzinfo=UTC)
    beside_the_loop(write_file, root / directory / marker, properties, now=now)


async def test_templates_are_listed_with_their_sizes(rig: Rig, root: Path, store: NfsTO) -> None:
    """storage-commands.md 3.11."""
    describe(root, "template/tmpl/2/205", "205-2-x", 205)
    answer = await ask(rig, ListTemplateCommand(store=store), ListTemplateAnswer)
    assert (answer.result, answer.details, answer.sec_url) == (True, "success", store.url)
    assert answer.template_infos is not None
    entry = answer.template_infos["205-2-x"]
    assert entry.template_name == "205-2-x"
    assert entry.install_path == "template/tmpl/2/205/x.qcow2"
    assert (entry.size, entry.physical_size, entry.id) == (1000, 5, 205)
    assert entry.is_public
    assert not entry.is_corrupted


async def test_a_list_with_a_doubt_is_a_failure(rig: Rig, root: Path, store: NfsTO) -> None:
    """requirements R8."""
    describe(root, "template/tmpl/2/205", "205-2-x", 205)
    path = root / "template/tmpl/2/205/template.properties"
    path.write_text(path.read_text().replace("id=205", "id="))
    answer = await ask(rig, ListTemplateCommand(store=store), ListTemplateAnswer)
    assert not answer.result
    assert "205-2-x" in (answer.details or "")
    assert answer.template_infos is None


async def test_volumes_are_listed_by_id_from_the_secondary_url(
    rig: Rig, root: Path, store: NfsTO
) -> None:
    """storage-commands.md 3.12: the place of an NFS store is taken from ``secUrl``."""
    describe(root, "volumes/2/5", "vol", 5)
    elsewhere = NfsTO(url="nfs://192.0.2.1/never/asked", role="Image")
    for command in (
        ListVolumeCommand(store=elsewhere, sec_url=store.url),
        ListVolumeCommand(store=store),
        ListVolumeCommand(sec_url=store.url),
    ):
        answer = await ask(rig, command, ListVolumeAnswer)
        assert answer.result
        assert list(answer.template_infos or {}) == [5]


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (ListTemplateCommand, ListTemplateAnswer),
        (ListVolumeCommand, ListVolumeAnswer),
        (GetStorageStatsCommand, GetStorageStatsAnswer),
        (ListDataStoreObjectsCommand, ListDataStoreObjectsAnswer),
    ],
)
@pytest.mark.parametrize(
    "where",
    [
        None,
        NfsTO(),
        NfsTO(url="   "),
        NfsTO(url="gopher://x/y"),
        NfsTO(url="file:///no/such/directory"),
        S3TO(bucket_name="b"),
        SwiftTO(url="http://x"),
        PrimaryDataStoreTO(uuid="u"),
    ],
    ids=["none", "no url", "blank", "scheme", "missing", "s3", "swift", "primary"],
)
async def test_a_store_that_cannot_be_used_is_a_failure_with_a_reason(
    rig: Rig, command: type[ListTemplateCommand], kind: type[Answer], where: object
) -> None:
    answer = await ask(rig, command(store=where), kind)  # type: ignore[arg-type]
    assert not answer.result
    assert answer.details


async def test_a_password_in_a_store_url_is_not_sent_back(rig: Rig) -> None:
    store = NfsTO(url="cifs://192.0.2.1/s?user=a&password=hush&x=,")
    answer = await ask(rig, ListTemplateCommand(store=store), ListTemplateAnswer)
    assert "hush" not in (answer.details or "")


async def test_statistics_carry_the_names_of_all_versions(rig: Rig, store: NfsTO) -> None:
    """storage-commands.md 3.9, 12."""
    command = GetStorageStatsCommand(store=store, nfs_version="null")
    answer = await ask(rig, command, GetStorageStatsAnswer)
    assert answer.result
    assert answer.capacity_bytes > answer.used_bytes > 0
    assert (answer.capacity, answer.used) == (answer.capacity_bytes, answer.used_bytes)
    assert answer.capacity_iops is None


async def test_failed_statistics_are_a_failure_not_an_empty_store(rig: Rig) -> None:
    """requirements R22."""
    command = GetStorageStatsCommand(store=NfsTO(url="file:///no/such/directory"))
    answer = await ask(rig, command, GetStorageStatsAnswer)
    assert not answer.result
    assert "is not there" in (answer.details or "")


async def test_a_directory_is_browsed_page_by_page(rig: Rig, root: Path, store: NfsTO) -> None:
    """storage-commands.md 3.19."""
    fill(root, "volumes/2/5/b.qcow2", "volumes/2/5/a.qcow2", "volumes/2/5/c/d")
    command = ListDataStoreObjectsCommand(
        store=store, path="/volumes/2/5", start_index=1, page_size=2
    )
    answer = await ask(rig, command, ListDataStoreObjectsAnswer)
    assert answer.path_exists
    assert answer.count == 3
    assert answer.names == ["b.qcow2", "c"]
    assert answer.paths == ["/volumes/2/5/b.qcow2", "/volumes/2/5/c"]
    assert answer.abs_paths == [f"{root}/volumes/2/5/b.qcow2", f"{root}/volumes/2/5/c"]
    assert answer.is_dirs == [False, True]
    assert (answer.sizes or [])[0] == 5
    assert (answer.last_modified or [])[0] > 1_600_000_000_000


async def test_browsing_a_missing_path_succeeds_with_nothing(rig: Rig, store: NfsTO) -> None:
    command = ListDataStoreObjectsCommand(store=store, path="nowhere", page_size=20)
    answer = await ask(rig, command, ListDataStoreObjectsAnswer)
    assert (answer.result, answer.path_exists, answer.count, answer.names) == (True, False, 0, [])


async def test_browsing_outside_the_store_is_a_failure(rig: Rig, store: NfsTO) -> None:
    command = ListDataStoreObjectsCommand(store=store, path="../..", page_size=20)
    answer = await ask(rig, command, ListDataStoreObjectsAnswer)
    assert not answer.result
    assert answer.details == "The path leaves its store"


OBJECTS: list[tuple[str, type[DataTO], str]] = [
    ("template/tmpl/2/5/x.qcow2", TemplateObjectTO, "template parent directory 5 doesn't exist"),
    ("volumes/2/5/x.qcow2", VolumeObjectTO, "volume parent directory 5 doesn't exist"),
    ("snapshots/2/5/x", SnapshotObjectTO, "snapshot directory 5 doesn't exist"),
    ("backups/2/5/x", BackupDeltaTO, "backup directory 5 doesn't exist"),
]


def delete(kind: type[DataTO], path: str | None, store: NfsTO, **fields: object) -> DeleteCommand:
    where = "image_data_store" if kind is TemplateObjectTO else "data_store"
    values = {"path": path, "id": 5, where: store, **fields}
    return DeleteCommand(data=kind(**values))


@pytest.mark.parametrize(("path", "kind", "absent"), OBJECTS, ids=lambda value: str(value)[:12])
async def test_an_object_is_deleted_and_deleting_it_again_is_fine(
    rig: Rig, root: Path, store: NfsTO, path: str, kind: type[DataTO], absent: str
) -> None:
    """storage-commands.md 3.13."""
    neighbour = path.replace("/5/", "/50/")
    fill(root, path, neighbour)
    answer = await ask(rig, delete(kind, path, store), Answer)
    assert (answer.result, answer.details) == (True, None)
    assert not (root / path).exists()
    assert (root / neighbour).exists()
    answer = await ask(rig, delete(kind, path, store), Answer)
    assert (answer.result, answer.details) == (True, absent)


@pytest.mark.parametrize("path", [None, "", "  "])
async def test_an_object_without_a_path_needs_no_deletion(
    rig: Rig, store: NfsTO, path: str | None
) -> None:
    """storage-commands.md 3.13; an empty name matches nothing."""
    answer = await ask(rig, delete(TemplateObjectTO, path, store), Answer)
    assert answer.result
    assert answer.details == (
        "Object with null install path does not exist on image store , no need to delete"
    )


@pytest.mark.parametrize("kind", [TemplateObjectTO, VolumeObjectTO, SnapshotObjectTO])
@pytest.mark.parametrize("path", ["../../etc", "volumes", "/", "template/tmpl/2", "a\0b", "x/y/z"])
async def test_a_hostile_path_is_a_failure_with_a_reason(
    rig: Rig, root: Path, store: NfsTO, kind: type[DataTO], path: str
) -> None:
    fill(root, "template/tmpl/2/5/x", "volumes/2/5/x", "snapshots/2/5/x")
    answer = await ask(rig, delete(kind, path, store), Answer)
    assert not answer.result
    assert answer.details
    for tree in ("template/tmpl", "volumes", "snapshots"):
        assert (root / tree / "2/5/x").exists()


async def test_a_failed_deletion_of_a_backup_has_its_own_answer(rig: Rig, store: NfsTO) -> None:
    """storage-commands.md 3.13."""
    answer = await ask(rig, delete(BackupDeltaTO, "backups", store, id=77), BackupDeleteAnswer)
    assert not answer.result
    assert answer.backup_id == 77


async def test_a_deletion_without_an_object_is_a_failure(rig: Rig) -> None:
    answer = await ask(rig, DeleteCommand(), Answer)
    assert (answer.result, answer.details) == (False, "The command lacks the field data")


async def test_a_checkpoint_goes_with_its_snapshot(rig: Rig, root: Path, store: NfsTO) -> None:
    fill(root, "snapshots/2/5/x", "checkpoints/2/5/x")
    command = delete(
        SnapshotObjectTO, "snapshots/2/5/x", store, checkpoint_path="checkpoints/2/5/x"
    )
    assert (await ask(rig, command, Answer)).result
    assert not (root / "checkpoints/2/5").exists()


async def test_a_download_into_what_is_deleted_is_stopped(
    rig: Rig, root: Path, store: NfsTO, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = store_key(parse_store_url(str(store.url)))
    jobs = [
        Job(
            job_id=str(number), key=JobKey(store=key, directory=directory),
            kind=ImageKind.TEMPLATE, fingerprint="",
        )
        for number, directory in enumerate(["template/tmpl/2/5", "template/tmpl/2/50"])
    ]  # fmt: skip
    stopped: list[str] = []

    async def abort(job: Job) -> None:
        stopped.append(job.job_id)

    monkeypatch.setattr(Job, "is_running", True)
    monkeypatch.setattr(rig.services.jobs, "all", lambda: tuple(jobs))
    monkeypatch.setattr(rig.services.jobs, "abort", abort)
    fill(root, "template/tmpl/2/5/x.qcow2")
    await ask(rig, delete(TemplateObjectTO, "template/tmpl/2/5/x.qcow2", store), Answer)
    assert stopped == ["0"]


async def test_all_snapshots_of_a_volume_are_deleted(rig: Rig, root: Path, store: NfsTO) -> None:
    """storage-commands.md 3.14."""
    fill(root, "snapshots/2/5/a", "snapshots/2/5/b/c", "snapshots/2/50/d")
    command = DeleteSnapshotsDirCommand(store=store, directory="snapshots/2/5")
    answer = await ask(rig, command, Answer)
    assert (answer.result, answer.details) == (True, None)
    assert not (root / "snapshots/2/5").exists()
    assert (root / "snapshots/2/50/d").exists()
    answer = await ask(rig, command, Answer)
    assert (answer.result, answer.details) == (True, "snapshot directory 5 doesn't exist")


@pytest.mark.parametrize("directory", [None, "", "snapshots/2", "volumes/2/5"])
async def test_only_the_snapshots_of_one_volume_are_deleted(
    rig: Rig, root: Path, store: NfsTO, directory: str | None
) -> None:
    fill(root, "snapshots/2/5/a", "volumes/2/5/a")
    command = DeleteSnapshotsDirCommand(store=store, directory=directory)
    assert not (await ask(rig, command, Answer)).result
    assert (root / "snapshots/2/5/a").exists()
    assert (root / "volumes/2/5/a").exists()


async def test_a_volume_moves_to_another_account(rig: Rig, root: Path, store: NfsTO) -> None:
    """storage-commands.md 3.19."""
    fill(root, "volumes/2/5/x")
    command = MoveVolumeCommand(
        src_path="volumes/2/5", dest_path="volumes/7/5", volume_name="data", volume_uuid="u",
        datastore_uri=store.url,
    )  # fmt: skip
    answer = await ask(rig, command, Answer)
    assert answer.details == "Moved volume [data] from [volumes/2/5] to [volumes/7/5]."
    assert (root / "volumes/7/5/x").exists()
    answer = await ask(rig, command, Answer)
    assert not answer.result
    assert "does not exist" in (answer.details or "")


@pytest.mark.parametrize("missing", ["src_path", "dest_path", "datastore_uri"])
async def test_a_move_needs_all_its_fields(rig: Rig, store: NfsTO, missing: str) -> None:
    whole = MoveVolumeCommand(
        src_path="volumes/2/5", dest_path="volumes/7/5", datastore_uri=store.url
    )
    command = msgspec.structs.replace(whole, **{missing: None})
    answer = await ask(rig, command, Answer)
    assert not answer.result
    assert answer.details
