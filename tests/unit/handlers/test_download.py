# SPDX-License-Identifier: Apache-2.0
"""DownloadCommand and DownloadProgressCommand on the wire (storage-commands.md 4.1-4.4)."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.messages.download import (
    DownloadAnswer,
    DownloadCommand,
    DownloadProgressCommand,
    PasswordAuth,
    Proxy,
)
from ssvm_agent.messages.names import DownloadStatus, RequestType
from ssvm_agent.messages.stores import S3TO, NfsTO
from tests.fakes.hostile_origin import Behaviour, HostileOrigin, hostile_origin
from tests.fakes.services import Rig, handler_rig
from tests.fixtures import hostile_images as make

MIB = 1 << 20
BODY = os.urandom(MIB + 17)
PATH = "template/tmpl/2/201"


@pytest.fixture
async def origin() -> AsyncIterator[HostileOrigin]:
    async with hostile_origin() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Path:
    root = tmp_path / "store"
    root.mkdir()
    return root


def fields(root: Path, url: str | None, **changes: Any) -> dict[str, Any]:
    return {
        "url": url, "format": "RAW", "account_id": 2, "name": "201-2-0a5b", "hvm": True,
        "description": "Debian 12", "id": 201, "resource_type": "TEMPLATE", "install_path": PATH,
        "store": NfsTO(url=f"file://{root}", role="Image"), "max_download_size_in_bytes": 1 << 30,
        **changes,
    }  # fmt: skip


async def download(rig: Rig, store: Path, url: str, **changes: Any) -> DownloadAnswer:
    answer = await rig.ask(DownloadCommand(**fields(store, url, **changes)))
    assert isinstance(answer, DownloadAnswer)
    assert answer.result
    assert answer.details == answer.error_string
    return answer


async def progress(
    rig: Rig, store: Path, url: str, request: RequestType, job_id: str | None, **changes: Any
) -> DownloadAnswer:
    command = DownloadProgressCommand(
        job_id=job_id, request=request, **fields(store, url, **changes)
    )
    answer = await rig.ask(command)
    assert isinstance(answer, DownloadAnswer)
    assert answer.result
    return answer


async def finished(rig: Rig, store: Path, url: str, answer: DownloadAnswer) -> DownloadAnswer:
    """Wait for the end of a job and ask for its state."""
    job = rig.services.jobs.get(answer.job_id or "")
    assert job is not None
    await job.settled(20)
    return await progress(rig, store, url, RequestType.GET_STATUS, answer.job_id)


async def test_a_small_template_is_downloaded_in_the_first_answer(
    rig: Rig, origin: HostileOrigin, store: Path
) -> None:
    packed = gzip.compress(BODY)
    url = origin.serve("/i.raw.gz", Behaviour(body=packed))
    answer = await download(rig, store, url)
    assert answer.download_status == DownloadStatus.DOWNLOADED
    assert answer.download_pct == 100
    assert (answer.template_size, answer.template_physical_size) == (len(BODY), len(BODY))
    assert answer.check_sum == f"{{SHA-512}}{hashlib.sha512(packed).hexdigest()}"
    assert answer.install_path is not None
    assert answer.install_path.startswith(f"{PATH}/")
    assert (store / answer.install_path).read_bytes() == BODY
    assert answer.download_path is not None
    assert answer.download_path.startswith(f"{store}/{PATH}/dnld")
    assert answer.error_string is not None
    assert answer.error_string.startswith("Install completed successfully at ")
    assert answer.ovf_information is None


async def test_a_download_that_will_take_long_is_answered_at_once(
    rig: Rig, origin: HostileOrigin, store: Path
) -> None:
    """storage-commands.md 11.1: the answer need not wait for what will not come in time."""
    started = time.monotonic()
    url = origin.serve(
        "/i.raw",
        Behaviour(body=bytes(2 * MIB), content_length=str(1 << 30), stall_after=2 * MIB),
    )
    answer = await download(rig, store, url, max_download_size_in_bytes=2 << 30)
    assert answer.download_status == DownloadStatus.DOWNLOAD_IN_PROGRESS
    assert answer.job_id
    assert time.monotonic() - started < 2
    await progress(rig, store, url, RequestType.ABORT, answer.job_id)


async def test_polls_abort_and_purge(rig: Rig, origin: HostileOrigin, store: Path) -> None:
    url = origin.serve("/i.raw", Behaviour(body=bytes(4 * MIB), stall_after=2 * MIB))
    first = await download(rig, store, url)
    assert first.download_status == DownloadStatus.DOWNLOAD_IN_PROGRESS
    assert first.install_path == PATH
    again = await download(rig, store, url)
    assert again.job_id == first.job_id
    poll = await progress(rig, store, url, RequestType.GET_STATUS, first.job_id)
    assert poll.download_pct == 50
    # Compat: 4.23 charges the bytes so far (storage-commands.md 4.4).
    assert poll.template_physical_size == 2 * MIB
    assert (poll.error_string, poll.check_sum) == (" ", None)
    aborted = await progress(rig, store, url, RequestType.ABORT, first.job_id)
    assert aborted.download_status == DownloadStatus.NOT_DOWNLOADED
    assert not (store / PATH).exists()
    purged = await progress(rig, store, url, RequestType.PURGE, first.job_id)
    assert purged.job_id == first.job_id
    gone = await progress(rig, store, url, RequestType.GET_STATUS, first.job_id)
    assert (gone.download_status, gone.error_string, gone.job_id) == (
        DownloadStatus.DOWNLOAD_ERROR, "Cannot find job", first.job_id,
    )  # fmt: skip


async def test_get_or_restart_starts_what_is_unknown_and_what_failed(
    rig: Rig, origin: HostileOrigin, store: Path
) -> None:
    """storage-commands.md 4.3."""
    url = origin.serve("/i.raw", Behaviour(body=b"x", status=404))
    failed = await download(rig, store, url)
    assert failed.download_status == DownloadStatus.DOWNLOAD_ERROR
    assert failed.error_string == "HTTP Server returned 404 (expected 200 OK)"
    origin.serve("/i.raw", Behaviour(body=BODY))
    known = await progress(rig, store, url, RequestType.GET_OR_RESTART, failed.job_id)
    assert (known.download_status, known.job_id) == (DownloadStatus.DOWNLOADED, failed.job_id)
    unknown = await progress(rig, store, url, RequestType.GET_OR_RESTART, "an-old-id")
    assert unknown.download_status == DownloadStatus.DOWNLOADED
    assert unknown.job_id not in {None, "an-old-id", failed.job_id}
    restarted = await progress(rig, store, url, RequestType.RESTART, known.job_id)
    assert (restarted.download_status, restarted.job_id) == (
        DownloadStatus.DOWNLOADED, known.job_id,
    )  # fmt: skip


async def test_an_old_job_id_is_taken_up_by_the_next_process(
    tmp_path: Path, origin: HostileOrigin, store: Path
) -> None:
    """requirements R35."""
    body = os.urandom(4 * MIB)
    stalled = Behaviour(body=body, stall_after=3 * MIB)
    url = origin.serve("/i.raw", stalled)
    async with handler_rig(tmp_path) as rig:
        first = await download(rig, store, url)
        await rig.services.jobs.close()
    origin.serve("/i.raw", Behaviour(body=body))
    async with handler_rig(tmp_path) as rig:
        poll = await progress(rig, store, url, RequestType.GET_STATUS, first.job_id)
        assert poll.job_id == first.job_id
        assert poll.download_status != DownloadStatus.DOWNLOAD_ERROR
        done = await finished(rig, store, url, first)
        assert done.download_status == DownloadStatus.DOWNLOADED
        assert (store / (done.install_path or "")).read_bytes() == body
        assert done.check_sum == f"{{SHA-512}}{hashlib.sha512(body).hexdigest()}"
    last = origin.requests[-1].headers
    assert last["range"].startswith("bytes=2")
    assert last["if-range"] == '"v1"'


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"url": None}, "Template is corrupted on storage due to an invalid url , cannot download"),
        ({"url": None, "resource_type": "VOLUME"}, "Volume is corrupted on storage"),
        ({"name": None}, "Invalid Name"),
        ({"checksum": "{CRC}00"}, "recognised: CRC"),
        ({"checksum": "beef"}, "invalid algorithm: beef"),
        ({"url": "ftp://h/x"}, "Scheme is not supported ftp://h/x"),
        ({"url": "http://h/a b"}, "URI is incorrect: http://h/a b"),
        ({"url": "http://169.254.169.254/x"}, "Illegal host specified in URL."),
        ({"url": "http://a/x\nhttp://b/y"}, "for snapshots"),
        ({"store": S3TO()}, "Unsupported image data store"),
        ({"store": None}, "no store"),
        ({"install_path": "../x"}, "leaves its store"),
        ({"install_path": None}, "empty"),
        ({"format": None}, "no image format"),
        ({"format": "QCOW9"}, "no image format"),
        ({"max_download_size_in_bytes": 5}, "Download file size is too large"),
        ({"format": "QCOW2"}, "mismatch between selected format and template content"),
    ],
)
async def test_every_refusal_is_a_download_answer_with_a_reason(
    rig: Rig, origin: HostileOrigin, store: Path, changes: dict[str, Any], text: str
) -> None:
    """The server ignores any other class of answer and waits for its time-out (4.3)."""
    changes = {"url": origin.serve("/i.raw", Behaviour(body=BODY)), **changes}
    answer = await rig.ask(DownloadCommand(**fields(store, **changes)))
    assert isinstance(answer, DownloadAnswer)
    assert answer.result
    assert answer.download_status == DownloadStatus.DOWNLOAD_ERROR
    assert text in (answer.error_string or "")
    assert not (store / PATH).exists()


async def test_credentials_proxy_and_redirects_reach_the_client(
    rig: Rig, origin: HostileOrigin, store: Path
) -> None:
    token = "Basic " + base64.b64encode(b"cloud:pw").decode()
    there = origin.serve("/i.raw", Behaviour(body=BODY, need_auth=token))
    url = origin.serve("/hop", Behaviour(status=302, location=there, need_auth=token))
    auth = PasswordAuth(user_name="cloud", password="pw")
    refused = await download(rig, store, url, auth=auth)
    assert "due to redirection, response code: 302" in (refused.error_string or "")
    answer = await download(rig, store, url, auth=auth, follow_redirects=True)
    assert answer.download_status == DownloadStatus.DOWNLOADED
    proxy = Proxy(host="127.0.0.1", port=origin.port, user_name="u", password="p")
    origin.serve("http://images.invalid/i.raw", Behaviour(body=BODY))
    answer = await download(rig, store, "http://images.invalid/i.raw", proxy=proxy)
    assert answer.download_status == DownloadStatus.DOWNLOADED
    assert "proxy-authorization" in origin.requests[-1].headers


async def test_a_volume_gets_its_own_properties(
    rig: Rig, origin: HostileOrigin, store: Path
) -> None:
    url = origin.serve("/v.raw", Behaviour(body=BODY))
    answer = await download(
        rig, store, url, resource_type="VOLUME", install_path="/volumes/2/9/", id=9,
        description="-",
    )  # fmt: skip
    assert (answer.install_path or "").startswith("volumes/2/9/")
    text = (store / "volumes/2/9/volume.properties").read_text()
    assert "id=9\n" in text
    assert "description=\n" in text


async def test_snapshots_keep_their_names(rig: Rig, origin: HostileOrigin, store: Path) -> None:
    """storage-commands.md 4.10, "SNAPSHOT install"."""
    changes = {"resource_type": "SNAPSHOT", "install_path": "snapshots/2/7", "format": None}
    url = origin.serve("/userdata/1234/abc_temp", Behaviour(body=BODY))
    one = await download(rig, store, url, **changes)
    assert one.install_path == "snapshots/2/7/abc"
    assert (one.template_size, one.template_physical_size) == (0, len(BODY))
    assert one.check_sum is None
    ovf = origin.serve("/s/u/u.ovf", Behaviour(body=b"<Envelope/>"))
    disk = origin.serve("/s/u/u-disk.raw", Behaviour(body=BODY))
    several = await download(rig, store, f"{ovf}\n{disk}", **changes)
    assert several.download_status == DownloadStatus.DOWNLOADED
    assert several.install_path == "snapshots/2/7/u/u"
    assert (store / "snapshots/2/7/u/u-disk.raw").read_bytes() == BODY


async def test_an_ova_is_unpacked_and_described_in_the_purge_answer(
    rig: Rig, origin: HostileOrigin, store: Path
) -> None:
    """storage-commands.md 4.4, 7.3."""
    url = origin.serve("/a.ova", Behaviour(body=make.ova()))
    answer = await download(rig, store, url, format="OVA")
    assert answer.download_status == DownloadStatus.DOWNLOADED, answer.error_string
    assert answer.ovf_information is None
    assert answer.template_size > answer.template_physical_size
    names = {path.name for path in (store / PATH).iterdir()}
    file_name = (answer.install_path or "").rpartition("/")[2]
    assert names == {file_name, "template.properties", "vm.ovf", "disk1.vmdk"}
    purged = await progress(rig, store, url, RequestType.PURGE, answer.job_id)
    assert purged.ovf_information is not None
    [disk] = purged.ovf_information.disks or []
    assert disk.path == f"{store}/{PATH}/disk1.vmdk"
    assert disk.virtual_size == answer.template_size
    assert disk.bootable


async def test_a_hostile_ova_leaves_nothing(rig: Rig, origin: HostileOrigin, store: Path) -> None:
    """requirements S5."""
    for name in ("template.properties", "../x"):
        archive = make.ova(make.tar_member(name, b"x"))
        url = origin.serve("/a.ova", Behaviour(body=archive))
        answer = await download(rig, store, url, format="OVA")
        assert answer.download_status == DownloadStatus.DOWNLOAD_ERROR
        assert not (store / PATH).exists()


async def test_a_store_that_cannot_be_opened_fails_the_job_with_its_reason(
    rig: Rig, origin: HostileOrigin, tmp_path: Path
) -> None:
    url = origin.serve("/i.raw", Behaviour(body=BODY))
    answer = await download(rig, tmp_path / "nowhere", url)
    assert answer.download_status == DownloadStatus.DOWNLOAD_ERROR
    assert "is not there" in (answer.error_string or "")
    assert not origin.requests
