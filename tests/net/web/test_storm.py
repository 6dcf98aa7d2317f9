# SPDX-License-Identifier: Apache-2.0
"""Everything bad at once against an agent process, by either way in: nothing of it stays.

The agent takes what it needs with the first storms: threads, modules, buffers of the allocator.
What counts is that further ones add nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import SystemRunner
from ssvm_agent.simulator.public_side import PublicSide
from ssvm_agent.simulator.server import ManagementServer
from ssvm_agent.simulator.uploads import UploadTicket
from ssvm_agent.web.apache import ApachePublisher, ApacheSite
from ssvm_agent.web.apache_files import Patience
from ssvm_agent.web.certificates import make_own
from tests.fixtures.agents import LIVELY, AgentProcess, RunAgent, StartServer
from tests.fixtures.apache import ApacheHome
from tests.fixtures.ports import free_port
from tests.net.end_to_end.test_images import files_below
from tests.net.web.rig import form, post, raw, status_of
from tests.net.web.test_uploads import qcow2, until

_PART = b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\nx\r\n'
# Pages the allocator keeps or gives back as it likes. Over three storms the bodies alone would be
# 30 MiB, and the connections as much.
_NOISE_BYTES = 16 << 20


@pytest.fixture(params=["builtin", pytest.param("apache", marks=pytest.mark.needs("apache2"))])
async def way_in(request: pytest.FixtureRequest, home: Path) -> AsyncIterator[tuple[int, int]]:
    """The port clients come to and the one the agent listens on for it."""
    port = free_port()
    if request.param == "builtin":
        yield port, port
        return
    async with AsyncExitStack() as stack:
        pool, public = WorkPool("local disk"), free_port()
        stack.callback(pool.close)
        apache = ApacheHome(home / "apache", home / "mnt")
        stack.callback(apache.stop)
        site = ApacheSite(
            address="127.0.0.1",
            name="s-1-VM",
            http_port=public,
            https_port=free_port(),
            upload_port=port,
            upload_https=False,
            patience=Patience(head_s=1),
        )
        publisher = ApachePublisher(
            layout=apache.layout,
            site=site,
            control=apache.control,
            runner=SystemRunner(),
            pool=pool,
        )
        await publisher.start(())
        await publisher.serve_certificate(make_own(["127.0.0.1"], datetime.now(UTC)))
        yield public, port


@pytest.fixture
async def agent(
    start_server: StartServer, run_agent: RunAgent, tmp_path: Path, way_in: tuple[int, int]
) -> tuple[ManagementServer, AgentProcess]:
    """A server and its agent, whose uploads come by the way in."""
    (tmp_path / "store").mkdir()
    server = await start_server(stores=[f"file://{tmp_path / 'store'}"], timing=LIVELY)
    public, port = way_in
    listens: dict[str, Any] = {"public": {"http_port": port}} if public == port else {}
    process = await run_agent(
        server,
        **listens,
        upload={"use_https": False, "listen_port": 0 if public == port else port},
    )
    await server.wait_for_status()
    return server, process


def head(uuid: str, headers: dict[str, str], *lines: str) -> bytes:
    """The head of an upload."""
    everything = [
        f"POST /upload/{uuid} HTTP/1.1",
        "Host: 127.0.0.1",
        *(f"{name}: {value}" for name, value in headers.items()),
        "Content-Type: multipart/form-data; boundary=b",
        *lines,
    ]
    return ("\r\n".join(everything) + "\r\n\r\n").encode()


def bad_requests(ticket: UploadTicket) -> list[tuple[bytes, int]]:
    """Requests, and the status each deserves; 0: it is cut off by the client."""
    uuid, headers = ticket.uuid, ticket.headers()
    body, _ = form(qcow2())
    boundary = body[2 : body.index(b"\r\n")]
    body = body.replace(boundary, b"b")
    tiny = _PART * 10_000 + b"--b--\r\n"
    whole = f"Content-Length: {len(body)}"
    return [
        (head(uuid, {**headers, "X-signature": "AAAA"}, whole) + body, 400),
        (head(uuid, {}, whole) + body, 400),
        (head(str(uuid4()), headers, whole) + body, 400),
        (head(uuid, headers, "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
        (
            head(uuid, headers, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
            400,
        ),
        (head(uuid, headers, f"Content-Length: {len(tiny)}") + tiny, 500),
        (head(uuid, headers, f"Content-Length: {len(_PART) + 7}") + _PART + b"--b--\r\n", 422),
        (head(uuid, headers, f"Content-Length: {len(body) - 30}") + body[:-30], 500),
        (head(uuid, headers, whole) + body[: len(body) // 2], 0),
        (head(uuid, headers, whole) + body[:-1], 0),
        (b"POST /upload/x HTTP/1.1\r\nHost: ", 0),
    ]


async def send(port: int, request: bytes, expected: int) -> None:
    """Send one; those without an answer are cut off."""
    if expected:
        # A refusal may come before everything is sent, and its end with a reset.
        answer = await raw(port, request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        assert status_of(answer) == expected, (request[:600], answer[:300])
        return
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    writer.transport.abort()


async def storm(server: ManagementServer, port: int) -> None:
    """All bad requests, 4 good uploads and 500 heads without an end, at the same time."""
    side, store = PublicSide(server), server.zone.stores[0]
    at = f"http://127.0.0.1:{port}"
    good = [side.order_upload(name="good", store=store, at=at)[1] for _ in range(4)]
    count = len(bad_requests(good[0]))
    bad = [side.order_upload(name="bad", store=store, at=at)[1] for _ in range(count)]
    slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(500)]
    for _, writer in slow:
        writer.write(b"GET /upload/x HTTP/1.1\r\nHost: ")
    async with asyncio.TaskGroup() as group:
        replies = [group.create_task(post(one.post_url, one, qcow2())) for one in good]
        for number, ticket in enumerate(bad):
            group.create_task(send(port, *bad_requests(ticket)[number]))
    assert [(one.result().status, one.result().text) for one in replies] == [
        (200, "upload successful.")
    ] * 4
    for _, writer in slow:
        writer.transport.abort()


def descriptors(process: AgentProcess) -> int:
    return sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir())


@pytest.mark.timeout(120)
async def test_a_storm_leaves_nothing_behind(
    agent: tuple[ManagementServer, AgentProcess], way_in: tuple[int, int], tmp_path: Path
) -> None:
    """Requirements R6, S10."""
    server, process = agent
    idle = descriptors(process)
    for _ in range(2):
        await storm(server, way_in[0])
    # A thread for the store, and a connection or two that are on their way.
    await until(lambda: descriptors(process) <= idle + 4, wait_s=30)
    open_before, memory_before = descriptors(process), process.memory_bytes()
    for _ in range(3):
        await storm(server, way_in[0])
    await until(lambda: descriptors(process) <= open_before, wait_s=30)
    assert process.memory_bytes() <= memory_before + _NOISE_BYTES
    images = [name for name in files_below(tmp_path / "store") if name.endswith(".qcow2")]
    assert len(images) == 5 * 4
    assert len(files_below(tmp_path / "store")) == 2 * len(images)
    assert server.violations == []
