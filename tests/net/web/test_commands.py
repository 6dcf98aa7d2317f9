# SPDX-License-Identifier: Apache-2.0
"""The commands of links and uploads against the running HTTP side."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar, cast
from uuid import uuid4

import aiohttp
import pytest

from ssvm_agent.errors import AgentError
from ssvm_agent.handlers import entity_url, ftp_upload, upload_status
from ssvm_agent.handlers.base import Services
from ssvm_agent.host.clock import SystemClock
from ssvm_agent.messages.base import Answer, Command
from ssvm_agent.messages.entity_url import (
    CreateEntityDownloadURLAnswer,
    CreateEntityDownloadURLCommand,
    DeleteEntityDownloadURLCommand,
)
from ssvm_agent.messages.names import BrowserUploadStatus, ExtractType, FtpUploadStatus
from ssvm_agent.messages.upload import (
    UploadAnswer,
    UploadCommand,
    UploadProgressCommand,
    UploadStatusAnswer,
    UploadStatusCommand,
)
from tests.fixtures import hostile_images
from tests.net.web.rig import Order, Rig, post
from tests.net.web.test_uploads import qcow2, start_half, until

A = TypeVar("A", bound=Answer)
C = TypeVar("C", bound=Command)


async def tell(
    handler: Callable[[C, Services], Awaitable[Answer | None]],
    command: C,
    rig: Rig,
    answer_class: type[A],
) -> A:
    """Have a command carried out; its answer is of this class."""
    answer = await handler(command, services(rig))
    assert isinstance(answer, answer_class)
    return answer


def services(rig: Rig) -> Services:
    """What these handlers look at."""
    return cast("Services", SimpleNamespace(web=rig.web, stores=rig.stores, clock=SystemClock()))


def put(rig: Rig, path: str, content: bytes = b"content") -> Path:
    file = rig.data / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


async def fetch(url: str) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.read()


def create(rig: Rig, **fields: str) -> CreateEntityDownloadURLCommand:
    wanted = {
        "install_path": "volumes/2/55/x.qcow2",
        "parent": rig.store.directory_name,
        "filepath_in_extract_url": str(uuid4()),
        "filename_in_extract_url": "ROOT-5.qcow2",
        **fields,
    }
    return CreateEntityDownloadURLCommand(**wanted)  # type: ignore[arg-type] # texts all


async def test_a_link_lives_from_create_to_delete(rig: Rig) -> None:
    """storage-commands.md 3.7, 3.8."""
    file = put(rig, "volumes/2/55/x.qcow2")
    command = create(rig)
    answer = await tell(entity_url.create, command, rig, CreateEntityDownloadURLAnswer)
    assert (answer.result, answer.details) == (True, "")
    path = f"/userdata/{command.filepath_in_extract_url}/{command.filename_in_extract_url}"
    assert await fetch(rig.http + path) == (200, b"content")
    delete = DeleteEntityDownloadURLCommand(
        path="volumes/2/55/x.qcow2",
        extract_url=f"https://1-2-3-4.example.com{path}",
        type=ExtractType.VOLUME,
        parent_path=rig.store.directory_name,
    )
    assert (await tell(entity_url.delete, delete, rig, Answer)).result
    assert not file.exists()
    assert (await fetch(rig.http + path))[0] == 404
    assert (await tell(entity_url.delete, delete, rig, Answer)).result


async def test_the_older_form_of_a_link(rig: Rig) -> None:
    """storage-commands.md 12: 4.5 sends one name."""
    put(rig, "template/tmpl/2/7/a.iso")
    command = CreateEntityDownloadURLCommand(
        install_path="template/tmpl/2/7/a.iso",
        parent=rig.store.directory_name,
        extract_link_uuid="0f1e.iso",
    )
    assert (await tell(entity_url.create, command, rig, CreateEntityDownloadURLAnswer)).result
    assert (await fetch(f"{rig.http}/userdata/0f1e.iso"))[0] == 200
    gone = DeleteEntityDownloadURLCommand(extract_url="http://x/userdata/0f1e.iso", type="ISO")
    assert (await tell(entity_url.delete, gone, rig, Answer)).result
    assert (await fetch(f"{rig.http}/userdata/0f1e.iso"))[0] == 404
    assert (rig.data / "template/tmpl/2/7/a.iso").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"install_path": "volumes/2/55/missing.qcow2"},
        {"install_path": "volumes/2/55"},
        {"install_path": "../../etc/passwd"},
        {"install_path": ""},
        {"parent": "no-such-store"},
        {"parent": "../x"},
        {"filename_in_extract_url": "../x"},
        {"filepath_in_extract_url": ".."},
    ],
)
async def test_what_cannot_be_published_is_told(rig: Rig, fields: dict[str, str]) -> None:
    put(rig, "volumes/2/55/x.qcow2")
    with pytest.raises(AgentError):
        await tell(entity_url.create, create(rig, **fields), rig, CreateEntityDownloadURLAnswer)
    assert len(rig.web.links) == 0


async def test_a_missing_file_has_the_known_text(rig: Rig) -> None:
    """storage-commands.md 3.7."""
    with pytest.raises(AgentError, match="Error in finding the file "):
        await tell(entity_url.create, create(rig), rig, CreateEntityDownloadURLAnswer)


async def test_a_flattened_snapshot_is_deleted_and_the_snapshot_stays(rig: Rig) -> None:
    """storage-commands.md 3.8."""
    kept = put(rig, "snapshots/2/9/snap")
    flattened = put(rig, "snapshots/2/9/snap_temp")
    for path in ("snapshots/2/9/snap", "snapshots/2/9/snap_temp"):
        command = DeleteEntityDownloadURLCommand(
            path=path, type=ExtractType.SNAPSHOT, parent_path=rig.store.directory_name
        )
        assert (await tell(entity_url.delete, command, rig, Answer)).result
        assert kept.exists()
        assert not flattened.exists()


@pytest.mark.parametrize("path", ["volumes/2/55", "volumes", "template/tmpl/2/5/x", "../x", "/"])
async def test_only_files_of_the_full_depth_are_deleted(rig: Rig, path: str) -> None:
    """Requirement S8."""
    file = put(rig, "volumes/2/55/x.qcow2")
    command = DeleteEntityDownloadURLCommand(
        path=path, type=ExtractType.VOLUME, parent_path=rig.store.directory_name
    )
    with pytest.raises(AgentError, match="Error in deleting volume "):
        await tell(entity_url.delete, command, rig, Answer)
    assert file.exists()


async def test_links_survive_a_restart(rig: Rig) -> None:
    put(rig, "volumes/2/55/x.qcow2")
    command = create(rig)
    await tell(entity_url.create, command, rig, CreateEntityDownloadURLAnswer)
    path = f"/userdata/{command.filepath_in_extract_url}/{command.filename_in_extract_url}"
    if rig.apache is None:
        await rig.web.stop(1)
        await rig.web.start()
    assert (await fetch(_base(rig) + path))[0] == 200


def _base(rig: Rig) -> str:
    return rig.http if rig.apache else f"http://127.0.0.1:{rig.web.ports.http}"


async def test_dangling_links_are_swept(rig: Rig) -> None:
    """storage-commands.md 11.11."""
    file = put(rig, "volumes/2/55/x.qcow2")
    await tell(entity_url.create, create(rig), rig, CreateEntityDownloadURLAnswer)
    await rig.web.sweep()
    assert len(rig.web.links) == 1
    file.unlink()
    await rig.web.sweep()
    assert len(rig.web.links) == 0
    if rig.apache is not None:
        assert [path for path in rig.apache.layout.userdata.rglob("*") if path.is_symlink()] == []


async def ask(rig: Rig, uuid: str, *, abort: bool | None = None) -> UploadStatusAnswer:
    command = UploadStatusCommand(entity_uuid=uuid, entity_type="Template", abort=abort)
    return await tell(upload_status.handle, command, rig, UploadStatusAnswer)


async def test_the_server_follows_an_upload_to_its_end(rig: Rig) -> None:
    """storage-commands.md 5.6; ends are repeated."""
    order = Order(rig=rig)
    assert (await ask(rig, order.uuid)).status == BrowserUploadStatus.UNKNOWN
    writer = await start_half(rig, order)
    answer = await ask(rig, order.uuid)
    assert answer.status == BrowserUploadStatus.IN_PROGRESS
    assert 40 <= answer.download_percent <= 50
    assert answer.result
    writer.transport.abort()
    await until(lambda: rig.web.uploads.running == 0)
    for _ in range(2):
        answer = await ask(rig, order.uuid)
        assert (answer.status, answer.result) == (BrowserUploadStatus.ERROR, False)
        assert answer.details == "file receive failed or connection closed prematurely."


async def test_a_completed_upload_tells_sizes_and_path(rig: Rig) -> None:
    order = Order(rig=rig)
    content = qcow2()
    await post(f"{rig.http}/upload/{order.uuid}", order, content)
    for _ in range(2):
        answer = await ask(rig, order.uuid)
        assert (answer.status, answer.download_percent) == (BrowserUploadStatus.COMPLETED, 100)
        assert answer.virtual_size == 1 << 24
        assert answer.physical_size == len(content)
        assert answer.install_path is not None
        assert answer.install_path.startswith("template/tmpl/2/205/")


async def test_the_server_stops_an_upload_over_the_quota(rig: Rig) -> None:
    """storage-commands.md 5.6 (4.23)."""
    order = Order(rig=rig)
    writer = await start_half(rig, order)
    answer = await ask(rig, order.uuid, abort=True)
    assert (answer.status, answer.details) == (BrowserUploadStatus.ERROR, "Upload Entity aborted")
    await until(lambda: rig.leftovers() == [])
    # The client's connection ends as well.
    await until(lambda: rig.web.public_connections == 0)
    writer.close()


async def test_ftp_uploads_are_refused_with_what_to_do_instead(rig: Rig) -> None:
    """storage-commands.md 3.6."""
    command = UploadCommand(url="ftp://x/y")
    first = await tell(ftp_upload.upload, command, rig, UploadAnswer)
    assert first.upload_status == FtpUploadStatus.UPLOAD_ERROR
    assert "download over HTTPS" in (first.error_string or "")
    progress = UploadProgressCommand(url="ftp://x/y", job_id="j", request="GET_STATUS")
    assert (await tell(ftp_upload.progress, progress, rig, UploadAnswer)).job_id == "j"


async def test_without_an_http_side_commands_say_so(rig: Rig) -> None:
    bare = cast("Services", SimpleNamespace(web=None, stores=rig.stores, clock=SystemClock()))
    with pytest.raises(AgentError, match="serves no files"):
        await entity_url.create(create(rig), bare)
    command = UploadStatusCommand(entity_uuid="u", entity_type="Volume")
    answer = await upload_status.handle(command, bare)
    assert isinstance(answer, UploadStatusAnswer)
    assert answer.status == BrowserUploadStatus.UNKNOWN


async def test_an_uploaded_ova_tells_its_disks(rig: Rig) -> None:
    """storage-commands.md 5.6: ovfInformationTO."""
    order = Order(rig=rig, metadata={"imageFormat": "OVA"})
    reply = await post(
        f"{rig.http}/upload/{order.uuid}", order, hostile_images.ova(), name="vm.ova"
    )
    assert (reply.status, reply.text) == (200, "upload successful.")
    answer = await ask(rig, order.uuid)
    assert answer.ovf_information is not None
    await rig.web.stop(1)
    await rig.web.start()
    assert await ask(rig, order.uuid) == answer
    (disk,) = answer.ovf_information.disks or []
    assert disk.path == str(rig.data / "template/tmpl/2/205/disk1.vmdk")
    assert disk.virtual_size == 10 << 20


@pytest.mark.parametrize(
    ("image_format", "kind", "name"),
    [("ISO", "TEMPLATE", None), ("QCOW2", "VOLUME", ".qcow2")],
)
async def test_names_and_properties_of_uploads(
    rig: Rig, image_format: str, kind: str, name: str | None
) -> None:
    """storage-commands.md 5.5 end, 6.4."""
    volume = kind == "VOLUME"
    content = hostile_images.iso() if image_format == "ISO" else qcow2()
    directory = "volumes/2/77" if volume else "template/tmpl/2/205"
    order = Order(
        rig=rig,
        metadata={
            "imageFormat": image_format,
            "type": kind,
            "absolutePath": directory,
            "checksum": hashlib.md5(content).hexdigest(),
        },
    )
    reply = await post(f"{rig.http}/upload/{order.uuid}", order, content)
    assert (reply.status, reply.text) == (200, "upload successful.")
    answer = await ask(rig, order.uuid)
    assert answer.install_path is not None
    assert answer.install_path.endswith(name or f"/{order.uuid}.iso")
    properties = "volume.properties" if volume else "template.properties"
    text = (rig.data / directory / properties).read_text()
    assert f"uniquename={order.entity_id}-2-upload" in text
    assert ("checksum=" in text) is volume


async def test_a_wrong_checksum_is_refused(rig: Rig) -> None:
    order = Order(rig=rig, metadata={"checksum": "{SHA-256}" + "0" * 64})
    reply = await post(f"{rig.http}/upload/{order.uuid}", order, qcow2())
    assert reply.status == 500
    assert "didn't match the given value" in reply.text
    assert rig.leftovers() == []
