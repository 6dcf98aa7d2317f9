# SPDX-License-Identifier: Apache-2.0
"""Clients that hold connections instead of using them, in both ways of publishing (S10).

Where Apache holds the connections, its own patience and its own words count.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from ssvm_agent.web.entrance import Limits
from ssvm_agent.web.upload_table import UploadState
from ssvm_agent.web.uploads import UploadLimits
from tests.net.web.conftest import open_rig, traces
from tests.net.web.rig import Order, Rig, form, post, raw, status_of
from tests.net.web.test_uploads import qcow2, request_lines, start_half, until


@asynccontextmanager
async def little_patience(home: Path, *, apache: bool) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        rig = await open_rig(
            stack,
            home,
            apache=apache,
            apache_head_s=1,
            limits=Limits(head_s=0.3, linger_s=0.3, connections=100),
            upload_limits=UploadLimits(running=2, idle_timeout_s=0.4, answer_wait_s=5),
            idle_timeout_s=0.4,
        )
        yield rig
    assert traces(rig) == []


@pytest.fixture
async def tight(home: Path) -> AsyncIterator[Rig]:
    """A rig with little patience that serves the public ports itself."""
    async with little_patience(home, apache=False) as rig:
        yield rig


@pytest.fixture(params=["builtin", pytest.param("apache", marks=pytest.mark.needs("apache2"))])
async def either(request: pytest.FixtureRequest, home: Path) -> AsyncIterator[Rig]:
    """A rig with little patience, in either way of publishing."""
    async with little_patience(home, apache=request.param == "apache") as rig:
        yield rig


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def served(rig: Rig) -> bytes:
    """What a decent client gets meanwhile."""
    path = await rig.publish(b"content")
    answer = await raw(
        rig.http_port, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )
    return answer.rpartition(b"\r\n\r\n")[2]


async def test_500_slow_heads_keep_nobody_out_and_go_away(tight: Rig) -> None:
    before = open_files()
    writers = []
    for _ in range(500):
        _, writer = await asyncio.open_connection("127.0.0.1", tight.http_port)
        writer.write(b"GET /userdata/x HTTP/1.1\r\nHost: ")
        writers.append(writer)
    assert await served(tight) == b"content"
    await until(lambda: tight.web.public_connections == 0)
    for writer in writers:
        writer.close()
    await until(lambda: open_files() <= before + 20)


async def test_a_head_that_trickles_is_cut_off(either: Rig) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", either.http_port)
    began = asyncio.get_running_loop().time()
    try:
        for byte in b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 1000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)
            if reader.at_eof():
                break
    except ConnectionError:
        pass
    assert asyncio.get_running_loop().time() - began < 5
    writer.close()


async def test_an_upload_that_stops_is_given_up(either: Rig) -> None:
    order = Order(rig=either)
    writer = await start_half(either, order)
    upload = either.web.uploads.find(order.uuid)
    assert upload is not None
    await until(lambda: upload.state is UploadState.ERROR)
    assert upload.message == "file receive failed or connection closed prematurely."
    await until(lambda: either.leftovers() == [])
    writer.close()


async def test_more_uploads_than_allowed_are_told_to_come_back(either: Rig) -> None:
    orders = [Order(rig=either, entity_id=500 + number) for number in range(3)]
    writers = [await start_half(either, order) for order in orders[:2]]
    reply = await post(f"{either.http}/upload/{orders[2].uuid}", orders[2], qcow2())
    assert reply.status == 503
    for writer in writers:
        writer.transport.abort()
    await until(lambda: either.web.uploads.running == 0)
    assert (await post(f"{either.http}/upload/{orders[2].uuid}", orders[2], qcow2())).status == 200


async def test_a_reader_that_takes_nothing_is_cut_off(tight: Rig) -> None:
    path = await tight.publish(bytes(64 << 20))
    reader, writer = await asyncio.open_connection("127.0.0.1", tight.http_port, limit=1024)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await until(lambda: tight.web.downloads.running != ())
    await until(lambda: tight.web.downloads.running == ())
    assert reader is not None
    writer.close()


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 9000),
        b"GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n" % (b"a" * 40000),
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"NONSENSE\r\n\r\n",
    ],
    ids=["line", "header", "headers", "blank in name", "tls", "version", "nonsense"],
)
async def test_what_is_no_sane_request_is_refused(either: Rig, request_head: bytes) -> None:
    answer = await raw(either.http_port, request_head)
    if either.apache is None:
        assert status_of(answer) == 400
        assert b"Access-Control-Allow-Origin: *" in answer
    else:
        # 414: a line too long; 505: a version unknown; 0: a line without an end is cut off.
        assert status_of(answer) in ({400, 414, 505} if b"\n" in request_head else {0})
    assert await served(either) == b"content"


async def test_pipelined_requests_are_answered_in_order(either: Rig) -> None:
    path = await either.publish(b"content")
    one = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    last = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    answer = await raw(either.http_port, one * 5 + last)
    assert answer.count(b"HTTP/1.1 200") == 6


async def test_descriptors_and_connections_come_back_after_a_storm(tight: Rig) -> None:
    """After all of it: other uploads untouched, nothing left, descriptors as before."""
    path = await tight.publish(bytes(8 << 20))
    await raw(tight.http_port, b"GET / HTTP/1.0\r\n\r\n")
    before = open_files()

    async def bad(number: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", tight.http_port)
        order = Order(rig=tight, entity_id=600 + number)
        body, kind = form(qcow2())
        head = request_lines(order, f"Content-Length: {len(body)}")
        requests = [
            f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
            head.replace(b"multipart/form-data; boundary=b", kind.encode()) + body[: number * 999],
            b"GET /userdata/../.. HTTP/1.1\r\n",
            f"GET {path} HTTP/1.1\r\nHost: x\r\nRange: bytes=0-,0-\r\n\r\n".encode(),
        ]
        writer.write(requests[number % 4])
        await writer.drain()
        writer.transport.abort()

    await asyncio.gather(*(bad(number) for number in range(60)))
    await until(lambda: tight.web.downloads.running == ())
    await until(lambda: tight.web.uploads.running == 0)
    await until(lambda: tight.web.public_connections == 0)
    await until(lambda: open_files() <= before + 3)
    assert [name for name in tight.leftovers() if name.startswith("template")] == []
    last = Order(rig=tight, entity_id=999)
    assert (await post(f"{tight.http}/upload/{last.uuid}", last, qcow2())).status == 200


async def test_a_stop_cuts_what_does_not_end(tight: Rig) -> None:
    path = await tight.publish(bytes(64 << 20))
    _, writer = await asyncio.open_connection("127.0.0.1", tight.http_port, limit=1024)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    order = Order(rig=tight)
    upload = await start_half(tight, order)
    await until(lambda: tight.web.downloads.running != ())
    began = asyncio.get_running_loop().time()
    await tight.web.stop(0.2)
    assert asyncio.get_running_loop().time() - began < 2
    entry = tight.web.uploads.find(order.uuid)
    assert entry is not None
    assert entry.state is UploadState.ERROR
    assert tight.leftovers() == [name for name in tight.leftovers() if name.startswith("volumes")]
    for each in (writer, upload):
        each.close()
    await tight.web.start()
