# SPDX-License-Identifier: Apache-2.0
"""Moving objects between stores and making templates of snapshots (storage-commands.md 3.15)."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.errors import AgentError
from ssvm_agent.storage import copier as copier_module
from ssvm_agent.storage import copies
from ssvm_agent.storage.catalog import list_templates, list_volumes
from ssvm_agent.storage.copier import copies_in_kernel
from ssvm_agent.storage.copies import Copied, CopyTools, Place, migrate, template_from_snapshot
from ssvm_agent.storage.copying import FileCopy
from ssvm_agent.storage.errors import (
    ConflictError,
    CorruptPropertiesError,
    IncompletePropertiesError,
    NoSpaceError,
    NotFoundError,
    PathEscapeError,
    StorageError,
)
from ssvm_agent.storage.layout import ImageKind, parse_store_url, parse_temporary
from ssvm_agent.storage.properties import ImageProperties, read_file, render
from ssvm_agent.storage.stores import Store
from tests.fakes.machine import FakeClock

NOW = datetime(2026, 11, 23, tzinfo=UTC)
TOOLS = CopyTools(owner="s-1-VM", clock=FakeClock())
TEMPLATE, VOLUME, SNAPSHOT = ImageKind.TEMPLATE, ImageKind.VOLUME, ImageKind.SNAPSHOT
DIRECTORY = "template/tmpl/2/205"
Tree = dict[str, bytes | None]
BARE: Tree = {"snapshots": None, "volumes": None}


class RefusedError(AgentError):
    """The check of these tests does not like an image."""


def check(name: str, descriptor: int) -> int:
    """What the first bytes say, for files that are images."""
    head = os.pread(descriptor, 16, 0)
    if head.startswith(b"unsafe"):
        raise RefusedError(f"{name} is unsafe")
    return 1 << 30 if head.startswith(b"image") else 0


def put(store: Store, path: str, data: bytes) -> Path:
    place = store.root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return place


def properties(**changes: Any) -> bytes:
    facts: dict[str, Any] = {
        "unique_name": "205-2-x", "id": 205, "file_name": "a.qcow2", "size_bytes": 10,
        "virtual_size_bytes": 1 << 30, "formats": ("qcow2",),
    }  # fmt: skip
    return render(ImageProperties(**{**facts, **changes}), now=NOW)


def put_template(store: Store, directory: str = DIRECTORY, **changes: Any) -> None:
    put(store, f"{directory}/a.qcow2", b"image data")
    put(store, f"{directory}/template.properties", properties(**changes))


def tree(store: Store) -> Tree:
    """Everything on a store; directories are None."""
    return {
        str(path.relative_to(store.root)): path.read_bytes() if path.is_file() else None
        for path in sorted(store.root.rglob("*"))
    }


def files(store: Store) -> list[str]:
    return [name for name, data in tree(store).items() if data is not None]


async def move(
    kind: ImageKind, source: Store, path: str, destination: Store, directory: str, **options: Any
) -> Copied:
    return await migrate(
        kind, Place(store=source, path=path), Place(store=destination, path=directory),
        **{"check": check, "tools": TOOLS, **options},
    )  # fmt: skip


async def make(source: Store, path: str, destination: Store, **options: Any) -> Copied:
    facts: dict[str, Any] = {
        "unique_name": "210-2-y", "extension": "qcow2", "check": check, "tools": TOOLS,
    }  # fmt: skip
    directory = options.pop("directory", "template/tmpl/2/210")
    return await template_from_snapshot(
        Place(store=source, path=path), Place(store=destination, path=directory),
        **{**facts, **options},
    )  # fmt: skip


async def outcome(copy: Coroutine[Any, Any, Copied]) -> Copied | AgentError:
    """How a copy ended."""
    try:
        return await copy
    except AgentError as error:
        return error


# --- what goes where ------------------------------------------------------------------------------


async def test_a_template_moves_with_its_properties(store: Store, other_store: Store) -> None:
    put_template(store)
    before = tree(store)
    copied = await move(TEMPLATE, store, f"{DIRECTORY}/a.qcow2", other_store, DIRECTORY)
    assert copied == Copied(
        path=f"{DIRECTORY}/a.qcow2", virtual_size_bytes=1 << 30, physical_size_bytes=10
    )
    assert tree(store) == before
    assert files(other_store) == files(store)
    assert (await list_templates(other_store)).keys() == {"205-2-x"}


async def test_everything_beside_an_image_comes_along(store: Store, other_store: Store) -> None:
    """storage-commands.md 3.15 a: the whole directory tree, times preserved."""
    put_template(store)
    for name in ("x.ovf", "KVMHA/hb-10.1.1.1", "disk.vmdk"):
        os.utime(put(store, f"{DIRECTORY}/{name}", b"beside"), (1e9, 1e9))
    await move(TEMPLATE, store, f"/{DIRECTORY}/a.qcow2", other_store, "template/tmpl/2/206")
    moved = other_store.root / "template/tmpl/2/206"
    assert (moved / "KVMHA/hb-10.1.1.1").stat().st_mtime == 1e9
    assert (moved / "x.ovf").stat().st_mode & 0o777 == 0o666
    assert (moved / "KVMHA").stat().st_mode & 0o777 == 0o777
    assert len(files(other_store)) == 5


async def test_temporaries_of_others_stay_where_they_are(store: Store, other_store: Store) -> None:
    put_template(store)
    for name in ("dnld.s-2-VM.j.tmp_", "dnld123tmp_", ".nfs0001"):
        put(store, f"{DIRECTORY}/{name}", b"half")
    await move(TEMPLATE, store, f"{DIRECTORY}/a.qcow2", other_store, DIRECTORY)
    assert len(files(other_store)) == 2


async def test_a_volume_without_properties_stays_without(store: Store, other_store: Store) -> None:
    """storage-commands.md 3.12: such a volume is not listed, which is intended."""
    put(store, "volumes/2/5/v.qcow2", b"image data")
    copied = await move(VOLUME, store, "volumes/2/5/v.qcow2", other_store, "volumes/2/5")
    assert copied.path == "volumes/2/5/v.qcow2"
    assert files(other_store) == ["volumes/2/5/v.qcow2"]
    assert await list_volumes(other_store) == {}


async def test_a_volume_that_is_a_directory_keeps_its_name(
    store: Store, other_store: Store
) -> None:
    """storage-commands.md 3.15 a: exactly four components."""
    put(store, "volumes/2/5/u/u.ovf", b"text")
    put(store, "volumes/2/5/u/u-disk0.vmdk", b"image data")
    copied = await move(VOLUME, store, "volumes/2/5/u", other_store, "volumes/3/5")
    assert copied == Copied(
        path="volumes/3/5/u", virtual_size_bytes=1 << 30, physical_size_bytes=14
    )
    assert files(other_store) == ["volumes/3/5/u/u-disk0.vmdk", "volumes/3/5/u/u.ovf"]


async def test_an_image_without_a_known_format_counts_by_its_length(
    store: Store, other_store: Store
) -> None:
    put(store, "volumes/2/5/v.bin", b"0123456789")
    copied = await move(VOLUME, store, "volumes/2/5/v.bin", other_store, "volumes/2/5")
    assert copied.virtual_size_bytes == 10


async def test_an_ova_that_need_not_exist_moves_as_its_parts(
    store: Store, other_store: Store
) -> None:
    """storage-commands.md 3.15 a, 3.18: "or it does not exist"."""
    put(store, f"{DIRECTORY}/disk.vmdk", b"image data")
    put(store, f"{DIRECTORY}/u.ova.meta", b"ova.filename=u.ova")
    facts = {"file_name": "u.ova", "formats": ("ova",), "size_bytes": 99}
    put(store, f"{DIRECTORY}/template.properties", properties(**facts))
    copied = await move(TEMPLATE, store, f"{DIRECTORY}/u.ova", other_store, DIRECTORY)
    assert copied == Copied(
        path=f"{DIRECTORY}/u.ova", virtual_size_bytes=1 << 30, physical_size_bytes=99
    )
    assert files(other_store) == files(store)


async def test_a_snapshot_that_is_a_file_goes_alone(store: Store, other_store: Store) -> None:
    put(store, "snapshots/2/7/s1", b"image data")
    put(store, "snapshots/2/7/s2", b"another")
    copied = await move(SNAPSHOT, store, "snapshots/2/7/s1", other_store, "snapshots/2/7")
    assert (copied.path, copied.physical_size_bytes) == ("snapshots/2/7/s1", 10)
    assert files(other_store) == ["snapshots/2/7/s1"]


async def test_a_snapshot_is_found_with_its_suffix(store: Store, other_store: Store) -> None:
    put(store, "snapshots/2/7/s1.vhd", b"data")
    copied = await move(SNAPSHOT, store, "snapshots/2/7/s1", other_store, "snapshots/2/7")
    assert copied.path == "snapshots/2/7/s1"
    assert files(other_store) == ["snapshots/2/7/s1.vhd"]


async def test_a_vmware_snapshot_moves_with_its_directory(store: Store, other_store: Store) -> None:
    """storage-commands.md 3.15 a: ``<destPath>/<dirname>/<dirname>``."""
    put(store, "snapshots/2/7/u/u.ovf", b"text")
    put(store, "snapshots/2/7/u/u-disk0.vmdk", b"image data")
    copied = await move(SNAPSHOT, store, "snapshots/2/7/u/u", other_store, "snapshots/2/8")
    assert (copied.path, copied.physical_size_bytes) == ("snapshots/2/8/u/u", 14)
    assert files(other_store) == ["snapshots/2/8/u/u-disk0.vmdk", "snapshots/2/8/u/u.ovf"]


async def test_a_copy_can_be_repeated(store: Store, other_store: Store) -> None:
    """Also with the path of the row that the first one filled: an existing file as destination."""
    put_template(store)
    path = f"{DIRECTORY}/a.qcow2"
    first = await move(TEMPLATE, store, path, other_store, DIRECTORY)
    before = tree(other_store)
    assert await move(TEMPLATE, store, path, other_store, DIRECTORY) == first
    assert await move(TEMPLATE, store, path, other_store, path) == first
    assert tree(other_store) == before


# --- what is refused ------------------------------------------------------------------------------

BAD_SOURCES = {
    "above": ("../x/y/z/a", PathEscapeError),
    "absolute": ("//etc/a/b/passwd", PathEscapeError),
    "nul": ("template/tmpl/2/205/\0", PathEscapeError),
    "empty": ("", PathEscapeError),
    "long": (f"template/tmpl/2/205/{'x' * 300}", PathEscapeError),
    "surrogate": ("template/tmpl/2/205/\ud800", PathEscapeError),
    "account": ("template/tmpl/2/a.qcow2", PathEscapeError),
    "account directory": ("template/tmpl/2", PathEscapeError),
    "other tree": ("volumes/2/5/a.qcow2", PathEscapeError),
    "missing directory": ("template/tmpl/2/404/a.qcow2", NotFoundError),
    "missing file": ("template/tmpl/2/205/other.qcow2", NotFoundError),
    "non-ascii": ("template/tmpl/2/205/ü.qcow2", NotFoundError),
}


@pytest.mark.parametrize("name", BAD_SOURCES)
async def test_a_bad_source_is_refused_with_a_reason(
    store: Store, other_store: Store, name: str
) -> None:
    path, error = BAD_SOURCES[name]
    put_template(store)
    put(store, "volumes/2/5/a.qcow2", b"image")
    before = tree(other_store)
    with pytest.raises(error) as caught:
        await move(TEMPLATE, store, path, other_store, DIRECTORY)
    assert caught.value.message
    assert tree(other_store) == before


@pytest.mark.parametrize(
    "directory",
    ["", "..", "template/tmpl/2", "volumes/2/5", "template/tmpl/2/../3", "template/tmpl/2/2\0"],
)
async def test_a_bad_destination_is_refused(
    store: Store, other_store: Store, directory: str
) -> None:
    put_template(store)
    before = tree(other_store)
    with pytest.raises(PathEscapeError):
        await move(TEMPLATE, store, f"{DIRECTORY}/a.qcow2", other_store, directory)
    assert tree(other_store) == before


async def test_links_are_never_followed(store: Store, other_store: Store, tmp_path: Path) -> None:
    put_template(store)
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    path = f"{DIRECTORY}/a.qcow2"
    (store.root / DIRECTORY / "planted").symlink_to(secret)
    with pytest.raises(PathEscapeError, match="symbolic link"):
        await move(TEMPLATE, store, path, other_store, DIRECTORY)
    (store.root / DIRECTORY / "planted").unlink()
    (other_store.root / "template").symlink_to(tmp_path)
    with pytest.raises(PathEscapeError, match="symbolic link"):
        await move(TEMPLATE, store, path, other_store, DIRECTORY)
    (other_store.root / "template").unlink()
    other_store.root.joinpath(DIRECTORY).mkdir(parents=True)
    other_store.root.joinpath(path).symlink_to(secret)
    with pytest.raises(PathEscapeError, match="symbolic link"):
        await move(TEMPLATE, store, path, other_store, DIRECTORY)
    assert secret.read_bytes() == b"secret"


async def test_devices_and_pipes_are_refused(store: Store, other_store: Store) -> None:
    put_template(store)
    os.mkfifo(store.root / DIRECTORY / "pipe")
    with pytest.raises(PathEscapeError, match="neither a file nor a directory"):
        await move(TEMPLATE, store, f"{DIRECTORY}/a.qcow2", other_store, DIRECTORY)


async def test_a_directory_in_the_place_of_a_file_is_a_conflict(
    store: Store, other_store: Store
) -> None:
    put_template(store)
    put(other_store, f"{DIRECTORY}/a.qcow2/inner", b"theirs")
    before = tree(other_store)
    with pytest.raises(ConflictError, match="directory is in the place"):
        await move(TEMPLATE, store, f"{DIRECTORY}/a.qcow2", other_store, DIRECTORY)
    assert tree(other_store) == before


async def test_an_object_is_not_copied_onto_itself(store: Store) -> None:
    """The server deletes the source afterwards, which then would be the only copy."""
    put_template(store)
    before = tree(store)
    with pytest.raises(ConflictError, match="source and destination"):
        await move(TEMPLATE, store, f"{DIRECTORY}/a.qcow2", store, DIRECTORY)
    assert tree(store) == before


@pytest.mark.parametrize(
    ("text", "error"),
    [(b"", IncompletePropertiesError), (b"uniquename=x\n", IncompletePropertiesError),
     (properties().replace(b"id=205", b"id=x"), CorruptPropertiesError)],
    ids=["empty", "half", "no id"],
)  # fmt: skip
async def test_what_is_not_installed_yet_is_not_copied(
    store: Store, other_store: Store, text: bytes, error: type[StorageError]
) -> None:
    put_template(store)
    put(store, f"{DIRECTORY}/template.properties", text)
    with pytest.raises(error):
        await move(TEMPLATE, store, f"{DIRECTORY}/a.qcow2", other_store, DIRECTORY)
    assert files(other_store) == []


async def test_an_empty_image_is_refused(store: Store, other_store: Store) -> None:
    """Requirements R20: an unknown size is a failure."""
    put(store, "volumes/2/5/v.qcow2", b"")
    with pytest.raises(StorageError, match="empty"):
        await move(VOLUME, store, "volumes/2/5/v.qcow2", other_store, "volumes/2/5")
    assert tree(other_store) == BARE


async def test_an_image_the_check_refuses_leaves_nothing(store: Store, other_store: Store) -> None:
    """Requirements S1: inspected before it becomes visible."""
    put_template(store)
    put(store, f"{DIRECTORY}/a.qcow2", b"unsafe")
    with pytest.raises(RefusedError):
        await move(TEMPLATE, store, f"{DIRECTORY}/a.qcow2", other_store, DIRECTORY)
    assert tree(other_store) == BARE
    put_template(other_store)
    before = tree(other_store)
    with pytest.raises(RefusedError):
        await move(TEMPLATE, store, f"{DIRECTORY}/a.qcow2", other_store, DIRECTORY)
    assert tree(other_store) == before


# --- all or nothing -------------------------------------------------------------------------------


@contextmanager
def failing_at(
    monkeypatch: pytest.MonkeyPatch, name: str, call: int, error: Exception
) -> Iterator[None]:
    real = getattr(os, name)
    calls = 0

    def fail(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise error
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        yield


@pytest.mark.parametrize("call", range(1, 4))
@pytest.mark.parametrize("name", ["copy_file_range", "fsync", "replace", "rename", "ftruncate"])
async def test_a_fault_at_any_step_leaves_the_destination_as_it_was(
    store: Store, other_store: Store, monkeypatch: pytest.MonkeyPatch, name: str, call: int
) -> None:
    put_template(store)
    put(store, f"{DIRECTORY}/x.ovf", b"text")
    path = f"{DIRECTORY}/a.qcow2"
    with failing_at(monkeypatch, name, call, OSError(28, "No space left on device")):
        ended = await outcome(move(TEMPLATE, store, path, other_store, DIRECTORY))
    if isinstance(ended, AgentError):
        assert isinstance(ended, NoSpaceError)
        assert tree(other_store) == BARE
    copied = await move(TEMPLATE, store, path, other_store, DIRECTORY)
    assert other_store.root.joinpath(copied.path).read_bytes() == b"image data"
    assert files(other_store) == files(store)


async def test_a_cancelled_copy_leaves_nothing(
    store: Store, other_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_template(store)
    began, loop = asyncio.Event(), asyncio.get_running_loop()
    real = FileCopy.step

    def step(self: FileCopy) -> bool:
        loop.call_soon_threadsafe(began.set)
        real(self)
        return True

    monkeypatch.setattr(FileCopy, "step", step)
    running = asyncio.create_task(
        move(TEMPLATE, store, f"{DIRECTORY}/a.qcow2", other_store, DIRECTORY)
    )
    await began.wait()
    listed = await list_templates(other_store)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert listed == {}
    assert tree(other_store) == BARE
    assert len(other_store.locks) == 0


async def test_temporaries_grow_where_they_are_swept(
    store: Store, other_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requirements R13: two levels below the tree, with owner and job."""
    put(store, "snapshots/2/7/u/u.ovf", b"text")
    put(store, "volumes/2/5/u/inner/x.vmdk", b"image data")
    seen: list[Path] = []
    real = FileCopy.open

    def opened(self: FileCopy) -> None:
        seen.append(self.target)
        real(self)

    monkeypatch.setattr(FileCopy, "open", opened)
    await move(SNAPSHOT, store, "snapshots/2/7/u/u", other_store, "snapshots/2/8")
    await move(VOLUME, store, "volumes/2/5/u", other_store, "volumes/2/6")
    places = [str(path.parent.relative_to(other_store.root)) for path in seen]
    assert places == ["snapshots/2/8", "volumes/2/6"]
    owners = [parse_temporary(path.name) for path in seen]
    assert {found.owner for found in owners if found} == {"s-1-VM"}


async def test_a_store_that_hangs_ends_the_copy(
    store: Store, other_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that does not come back is given up; its thread belongs to the copy alone."""
    import threading

    put_template(store)
    release = threading.Event()
    monkeypatch.setattr(FileCopy, "step", lambda _self: release.wait(20))
    monkeypatch.setattr(copier_module, "STEP_DEADLINE_S", 0.05)
    monkeypatch.setattr(copier_module, "_CLEAN_UP_DEADLINE_S", 0.05)
    try:
        with pytest.raises(StorageError, match="does not respond"):
            await move(TEMPLATE, store, f"{DIRECTORY}/a.qcow2", other_store, DIRECTORY)
    finally:
        release.set()
    assert (store.stuck_threads, other_store.stuck_threads) == (0, 0)


async def test_copies_of_one_object_take_turns(
    store: Store, other_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_template(store)
    at_work = most = 0
    real = FileCopy.open, FileCopy.close

    def opened(self: FileCopy) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        real[0](self)

    def closed(self: FileCopy) -> None:
        nonlocal at_work
        at_work -= 1
        real[1](self)

    monkeypatch.setattr(FileCopy, "open", opened)
    monkeypatch.setattr(FileCopy, "close", closed)
    path = f"{DIRECTORY}/a.qcow2"
    results = await asyncio.gather(
        *(move(TEMPLATE, store, path, other_store, DIRECTORY) for _ in range(4))
    )
    assert len(set(results)) == 1
    assert most == 1
    assert files(other_store) == files(store)


async def test_what_cannot_fit_is_refused_at_once(
    store: Store, other_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_template(store)

    async def full() -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 10, 0, 0, 10, 0, 0, 0, 255))

    monkeypatch.setattr(other_store, "statvfs", full)
    monkeypatch.setattr(copies, "copies_in_kernel", lambda *_: False)
    with pytest.raises(NoSpaceError, match="bytes are needed and 0 are free"):
        await move(TEMPLATE, store, f"{DIRECTORY}/a.qcow2", other_store, DIRECTORY)
    assert tree(other_store) == BARE


async def test_the_log_tells_start_progress_and_end(
    store: Store, other_store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Requirements R24, R26."""
    put(store, "volumes/2/5/v.qcow2", b"image" + os.urandom(40 << 20))
    with caplog.at_level(logging.INFO, logger="ssvm_agent.storage.copier"):
        await move(VOLUME, store, "volumes/2/5/v.qcow2", other_store, "volumes/2/5")
    texts = [record.getMessage() for record in caplog.records]
    assert texts[0] == "copy started"
    assert texts[-1] == "copy done"
    assert texts.count("copying") >= 2


# --- which way ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "expected"),
    [("3", False), ("4", False), ("4.0", False), ("4.1", False), ("4.2", True), (None, False)],
)
def test_only_a_server_that_copies_by_itself_is_trusted_to(
    store: Store, monkeypatch: pytest.MonkeyPatch, version: str | None, expected: bool
) -> None:
    assert copies_in_kernel(store, store)
    monkeypatch.setattr(type(store), "negotiated_version", version)
    monkeypatch.setattr(store, "url", parse_store_url("nfs://10.1.1.5/export"))
    assert copies_in_kernel(store, store) is expected


def test_two_file_systems_never_copy_in_the_kernel(
    store: Store, other_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(other_store, "root", Path("/proc"))
    assert not copies_in_kernel(store, other_store)


# --- templates of snapshots -----------------------------------------------------------------------


async def test_a_snapshot_becomes_a_template(store: Store, other_store: Store) -> None:
    """storage-commands.md 3.15 b, 6.4: named after the snapshot, id 1, public."""
    put(store, "snapshots/2/7/s1", b"image data")
    copied = await make(store, "snapshots/2/7/s1", other_store)
    assert copied == Copied(
        path="template/tmpl/2/210/s1.qcow2", virtual_size_bytes=1 << 30, physical_size_bytes=10
    )
    made = read_file(other_store.root / "template/tmpl/2/210/template.properties")
    assert made == ImageProperties(
        unique_name="210-2-y", id=1, file_name="s1.qcow2", size_bytes=10,
        virtual_size_bytes=1 << 30, formats=("qcow2",), is_public=True,
    )  # fmt: skip
    assert files(store) == ["snapshots/2/7/s1"]


@pytest.mark.parametrize("suffix", [".qcow2", ".vhd", ".ova", ".vmdk"])
async def test_a_snapshot_for_a_template_is_found_with_its_suffix(
    store: Store, other_store: Store, suffix: str
) -> None:
    put(store, f"snapshots/2/7/s1{suffix}", b"image data")
    copied = await make(store, "/snapshots/2/7/s1", other_store)
    assert copied.path == f"template/tmpl/2/210/s1{suffix}.qcow2"


async def test_a_template_can_be_made_on_the_store_of_its_snapshot(store: Store) -> None:
    put(store, "snapshots/2/7/s1", b"image data")
    copied = await make(store, "snapshots/2/7/s1", store)
    assert (await list_templates(store))["210-2-y"].install_path == copied.path


@pytest.mark.parametrize("name", ["s1_temp", "s1_temp.qcow2"])
async def test_a_flattened_copy_is_used_up_by_success_only(
    store: Store, other_store: Store, name: str
) -> None:
    """storage-commands.md 3.15 b; requirements R33: never delete a source on doubt."""
    put(store, f"snapshots/2/7/{name}", b"unsafe")
    with pytest.raises(RefusedError):
        await make(store, f"snapshots/2/7/{name}", other_store)
    assert files(store) == [f"snapshots/2/7/{name}"]
    put(store, f"snapshots/2/7/{name}", b"image data")
    await make(store, f"snapshots/2/7/{name}", other_store)
    assert files(store) == []


async def test_a_name_with_temp_in_its_path_is_not_used_up(
    store: Store, other_store: Store
) -> None:
    put(store, "snapshots/2/7_temp/s_temp1", b"image data")
    await make(store, "snapshots/2/7_temp/s_temp1", other_store)
    assert files(store) == ["snapshots/2/7_temp/s_temp1"]


@pytest.mark.parametrize("content", [b"unsafe", b"", b"plain"])
async def test_what_is_no_sound_image_becomes_no_template(
    store: Store, other_store: Store, content: bytes
) -> None:
    put(store, "snapshots/2/7/s1", content)
    with pytest.raises(AgentError) as caught:
        await make(store, "snapshots/2/7/s1", other_store)
    assert caught.value.message
    assert tree(other_store) == BARE


async def test_a_snapshot_that_is_gone_is_said_to_be(store: Store, other_store: Store) -> None:
    with pytest.raises(NotFoundError, match="snapshots/2/7/s1 does not exist"):
        await make(store, "snapshots/2/7/s1", other_store)
    assert (tree(store), tree(other_store)) == (BARE, BARE)


@pytest.mark.parametrize("directory", ["template/tmpl/2", "snapshots/2/7", "../x", ""])
async def test_a_template_needs_a_directory_of_its_own(
    store: Store, other_store: Store, directory: str
) -> None:
    put(store, "snapshots/2/7/s1", b"image data")
    with pytest.raises(PathEscapeError):
        await make(store, "snapshots/2/7/s1", other_store, directory=directory)


@pytest.mark.parametrize("call", range(1, 4))
@pytest.mark.parametrize("name", ["fsync", "replace"])
async def test_a_fault_while_a_template_is_made_leaves_nothing(
    store: Store, other_store: Store, monkeypatch: pytest.MonkeyPatch, name: str, call: int
) -> None:
    put(store, "snapshots/2/7/s1", b"image data")
    with failing_at(monkeypatch, name, call, OSError(30, "Read-only file system")):
        ended = await outcome(make(store, "snapshots/2/7/s1", other_store))
    if isinstance(ended, AgentError):
        assert "read-only" in ended.message
        assert tree(other_store) == BARE
    else:
        assert (await list_templates(other_store)).keys() == {"210-2-y"}
