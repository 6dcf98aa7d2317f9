# SPDX-License-Identifier: Apache-2.0
"""Sending part of an open file to a client, fast, without a dead store stopping anybody else.

Theory of operation: over plain TCP the bytes go from the page cache to the socket with sendfile, in
*bursts*: a thread of the store's sending pool pushes until the socket will not take more for a
moment, the burst has lasted long enough for others to want the thread, or all is sent. Between
bursts the event loop waits until the client has read. So a fast client costs few hand-overs, a slow
one costs no thread, and a store that hangs in a read hangs only its own threads. The threads use a
duplicate of the socket's descriptor: a connection that ends meanwhile cannot lead bytes into
somebody else's.

Over TLS there is no way around user space: blocks are read by the same pool and written through
the connection, with its back-pressure.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import time
from typing import TYPE_CHECKING, Final

from ssvm_agent.host.errors import HostError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.web.errors import WebError
from ssvm_agent.web.open_file import OpenFile
from ssvm_agent.web.ranges import Slice

if TYPE_CHECKING:
    from aiohttp.web import StreamResponse

# One sendfile call; large enough that the call itself does not count.
_SENDFILE_BYTES: Final = 8 << 20
# How long one burst may keep a thread, and how long it waits for room in the socket buffer.
_BURST_S: Final = 0.5
_ROOM_WAIT_MS: Final = 10
_TLS_BLOCK_BYTES: Final = 512 << 10
# One read of a healthy store takes milliseconds; a dead one is given up on after this.
_STORE_DEADLINE_S: Final = 60.0


class SendingStoppedError(WebError):
    """The file could not be sent to its end; the connection is of no further use."""

    code = "sending-stopped"


class Sent:
    """How far a transfer got, also when it ends early."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


async def send_file(
    response: StreamResponse,
    transport: asyncio.Transport,
    file: OpenFile,
    part: Slice,
    *,
    pool: WorkPool,
    idle_timeout_s: float,
    sent: Sent,
) -> None:
    """Send a slice of the file as the body of a prepared response.

    Args:
        response: Prepared, with its length announced.
        transport: The connection of the response.
        file: Stays open and belongs to the caller.
        part: Which bytes.
        pool: Threads for this store's reads.
        idle_timeout_s: How long the client may take no byte.
        sent: Counts along.

    Raises:
        SendingStoppedError: The client is too slow, or the file got shorter, or the store failed.
        ConnectionError: The client is gone.
    """
    if transport.get_extra_info("sslcontext") is None:
        await _send_plain(response, transport, file, part, pool, idle_timeout_s, sent)
    else:
        await _send_tls(response, file, part, pool, idle_timeout_s, sent)


async def _send_plain(
    response: StreamResponse,
    transport: asyncio.Transport,
    file: OpenFile,
    part: Slice,
    pool: WorkPool,
    idle_timeout_s: float,
    sent: Sent,
) -> None:
    await _flush(response, transport, idle_timeout_s)
    descriptor = os.dup(transport.get_extra_info("socket").fileno())
    try:
        while sent.count < part.count:
            burst = await _burst(pool, descriptor, file, part, sent)
            if burst and sent.count < part.count:
                await _room(descriptor, transport, idle_timeout_s)
    finally:
        # A thread that still sends keeps the file and this descriptor: see _burst.
        os.close(descriptor)


async def _burst(pool: WorkPool, descriptor: int, file: OpenFile, part: Slice, sent: Sent) -> bool:
    """One burst; returns whether the socket was full at its end."""
    # The thread works on duplicates of its own: it may outlive us when the store hangs.
    mine = _Descriptors(os.dup(descriptor), os.dup(file.fileno()))
    try:
        count, full = await pool.call(
            _push,
            mine,
            part.start + sent.count,
            part.count - sent.count,
            deadline_s=_STORE_DEADLINE_S,
        )
    except (HostError, OSError) as error:
        mine.stop()
        if isinstance(error, ConnectionError):
            raise
        raise SendingStoppedError("The file can no longer be read.", detail=str(error)) from error
    except asyncio.CancelledError:
        mine.stop()
        raise
    if count == 0 and not full:
        raise SendingStoppedError("The file has become shorter while it was sent.")
    sent.count += count
    return full


class _Descriptors:
    """Socket and file of one burst, closed by the thread that uses them."""

    __slots__ = ("file", "socket", "stopped")

    def __init__(self, socket_descriptor: int, file_descriptor: int) -> None:
        self.socket = socket_descriptor
        self.file = file_descriptor
        self.stopped = False

    def stop(self) -> None:
        """Have the thread end at its next step."""
        self.stopped = True

    def close(self) -> None:
        os.close(self.socket)
        os.close(self.file)


def _push(descriptors: _Descriptors, offset: int, count: int) -> tuple[int, bool]:
    """Blocking: send until done, until the socket is full, or until the burst is over."""
    poller = select.poll()
    poller.register(descriptors.socket, select.POLLOUT)
    deadline = time.monotonic() + _BURST_S
    pushed = 0
    try:
        while pushed < count and not descriptors.stopped and time.monotonic() < deadline:
            try:
                step = os.sendfile(
                    descriptors.socket,
                    descriptors.file,
                    offset + pushed,
                    min(_SENDFILE_BYTES, count - pushed),
                )
            except BlockingIOError:
                if not poller.poll(_ROOM_WAIT_MS):
                    return pushed, True
                continue
            if step == 0:
                break
            pushed += step
        return pushed, pushed > 0
    finally:
        descriptors.close()


async def _flush(
    response: StreamResponse, transport: asyncio.Transport, idle_timeout_s: float
) -> None:
    """Have the headers in the socket before anything is put behind them."""
    await response.write(b"")
    descriptor = transport.get_extra_info("socket").fileno()
    while transport.get_write_buffer_size() > 0:
        await _room(descriptor, transport, idle_timeout_s)
        # The transport's own writer runs in the same turn of the loop.
        await asyncio.sleep(0)


async def _room(descriptor: int, transport: asyncio.Transport, idle_timeout_s: float) -> None:
    """Wait until the client has read something."""
    loop = asyncio.get_running_loop()
    if transport.is_closing():
        raise ConnectionResetError("the client closed the connection")
    ready: asyncio.Future[None] = loop.create_future()
    watched = os.dup(descriptor)
    try:
        loop.add_writer(watched, _wake, ready)
        async with asyncio.timeout(idle_timeout_s):
            await ready
    except TimeoutError as error:
        raise SendingStoppedError("The client takes no data.") from error
    finally:
        loop.remove_writer(watched)
        os.close(watched)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _send_tls(
    response: StreamResponse,
    file: OpenFile,
    part: Slice,
    pool: WorkPool,
    idle_timeout_s: float,
    sent: Sent,
) -> None:
    while sent.count < part.count:
        size = min(_TLS_BLOCK_BYTES, part.count - sent.count)
        try:
            block = await pool.call(
                _read, os.dup(file.fileno()), part.start + sent.count, size,
                deadline_s=_STORE_DEADLINE_S,
            )  # fmt: skip
        except (HostError, OSError) as error:
            raise SendingStoppedError(
                "The file can no longer be read.", detail=str(error)
            ) from error
        if not block:
            raise SendingStoppedError("The file has become shorter while it was sent.")
        try:
            async with asyncio.timeout(idle_timeout_s):
                await response.write(block)
        except TimeoutError as error:
            raise SendingStoppedError("The client takes no data.") from error
        sent.count += len(block)


def _read(descriptor: int, offset: int, size: int) -> bytes:
    try:
        return os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)


def reset(transport: asyncio.Transport) -> None:
    """End the connection so that the client cannot take what it has for the whole."""
    raw = transport.get_extra_info("socket")
    if isinstance(raw, socket.socket):
        raw.shutdown(socket.SHUT_RDWR)
    transport.abort()
