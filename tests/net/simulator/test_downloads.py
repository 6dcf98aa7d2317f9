# SPDX-License-Identifier: Apache-2.0
"""The watch over downloads, as storage-commands.md 4.4 tells it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ssvm_agent.simulator.errors import DownloadFailedError
from ssvm_agent.simulator.model import HostStatus
from ssvm_agent.simulator.server import ManagementServer
from tests.fakes.agent import API, ENVELOPE, Answers, answer_to, fake_agent
from tests.fixtures.agents import StartServer

STORES = ["nfs://10.1.40.2/export/sec"]


def download_answer(status: str, job_id: str | None, **more: Any) -> Answers:
    fields = {"downloadStatus": status, "jobId": job_id, "downloadPct": 0, "result": True}
    return [{API + "storage.DownloadAnswer": {**fields, **more, **ENVELOPE}}]


class Downloader:
    """Answers downloads from a script, everything else well."""

    def __init__(self, *script: Answers | None) -> None:
        self.script: Iterator[Answers | None] = iter(script)
        self.asked: list[str] = []

    def __call__(self, name: str, fields: dict[str, Any]) -> Answers | None:
        if not name.startswith("Download"):
            return answer_to(name, fields)
        self.asked.append(fields.get("request", "START"))
        return next(self.script)


async def run(server: ManagementServer, downloader: Downloader) -> Any:
    async with fake_agent(server.port, startup={}, answer=downloader):
        await server.wait_for_status(HostStatus.UP)
        download = server.register(name="tiny", url="http://203.0.113.9/tiny.qcow2.bz2")
        await server.wait_until(lambda: download.is_done)
        return download


async def test_a_download_is_polled_and_purged(start_server: StartServer) -> None:
    server: ManagementServer = await start_server(stores=STORES)
    downloader = Downloader(
        download_answer("DOWNLOAD_IN_PROGRESS", "job"),
        download_answer("DOWNLOAD_IN_PROGRESS", "JOB", downloadPct=40),
        download_answer("DOWNLOADED", "job", downloadPct=100, installPath="template/tmpl/2/200/x"),
        download_answer("DOWNLOADED", "job", downloadPct=100, installPath="template/tmpl/2/200/x"),
    )
    download = await run(server, downloader)
    assert downloader.asked == ["START", "GET_STATUS", "GET_STATUS", "PURGE"]
    assert download.purge_answer["installPath"] == "template/tmpl/2/200/x"
    assert download.percent == 100
    assert server.violations == []


async def test_an_answer_with_another_job_id_is_dropped(start_server: StartServer) -> None:
    server: ManagementServer = await start_server(stores=STORES)
    downloader = Downloader(
        download_answer("DOWNLOAD_IN_PROGRESS", "job"),
        download_answer("DOWNLOADED", "another"),
        download_answer("DOWNLOADED", "job"),
        download_answer("DOWNLOADED", "job"),
    )
    download = await run(server, downloader)
    assert download.dropped_answers == 1
    assert download.status == "DOWNLOADED"


async def test_silence_ends_in_a_time_out(start_server: StartServer) -> None:
    server: ManagementServer = await start_server(stores=STORES)
    downloader = Downloader(download_answer("DOWNLOAD_IN_PROGRESS", "job"), None, None)
    download = await run(server, downloader)
    assert downloader.asked == ["START", "GET_STATUS", "GET_STATUS"]
    assert download.error == "Timeout waiting for response from storage host"


@pytest.mark.parametrize("status", ["DOWNLOAD_ERROR", "UNKNOWN"])
async def test_an_error_carries_the_agents_text(start_server: StartServer, status: str) -> None:
    server: ManagementServer = await start_server(stores=STORES)
    download = await run(server, Downloader(download_answer(status, "job", errorString="no disk")))
    assert download.error == "no disk"


async def test_what_is_not_listed_is_downloaded_at_the_next_connect(
    start_server: StartServer,
) -> None:
    """agent-lifecycle.md 2.5 i."""
    server: ManagementServer = await start_server(stores=STORES)
    downloader = Downloader(download_answer("DOWNLOADED", "j"), download_answer("DOWNLOADED", "j"))
    download = server.register(name="tiny", url="http://203.0.113.9/tiny.qcow2")
    async with fake_agent(server.port, startup={}, answer=downloader):
        await download.result(deadline_s=10)
    assert downloader.asked == ["START", "PURGE"]


async def test_what_is_listed_needs_no_download(start_server: StartServer) -> None:
    """agent-lifecycle.md 2.5 i: an agent may have installed it without having said so."""
    server = await start_server(stores=STORES)
    downloader = Downloader()

    def answer(name: str, fields: dict[str, Any]) -> Answers | None:
        if name != "ListTemplateCommand":
            return downloader(name, fields)
        entry = {"installPath": "template/tmpl/2/200/x", "size": 5, "physicalSize": 3}
        fields = {"templateInfos": {"tiny": entry}, "result": True}
        return [{API + "storage.ListTemplateAnswer": {**fields, **ENVELOPE}}]

    download = server.register(name="tiny", url="http://203.0.113.9/tiny.qcow2")
    async with fake_agent(server.port, startup={}, answer=answer):
        found = await download.result(deadline_s=10)
    assert (found["installPath"], found["templateSize"]) == ("template/tmpl/2/200/x", 5)
    assert (downloader.asked, server.unknown_images) == ([], set())


async def test_a_poll_that_finds_no_agent_fails_the_download(start_server: StartServer) -> None:
    """agent-lifecycle.md 3.3."""
    server: ManagementServer = await start_server(stores=STORES)
    downloader = Downloader(download_answer("DOWNLOAD_IN_PROGRESS", "job"))
    async with fake_agent(server.port, startup={}, answer=downloader):
        await server.wait_for_status(HostStatus.UP)
        download = server.register(name="tiny", url="http://203.0.113.9/tiny.qcow2")
        await server.wait_until(lambda: download.job_id is not None)
    with pytest.raises(DownloadFailedError, match="disconnected"):
        await download.result(deadline_s=10)
