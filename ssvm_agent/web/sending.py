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
import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, TypeVar

from ssvm_agent.host.errors import HostError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.web.errors import WebError
from ssvm_agent.web.open_file import OpenFile
from ssvm_agent.web.ranges import Slice

if TYPE_CHECKING:
    from aiohttp.web import StreamResponse

T = TypeVar("T")

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
    """How far a transfer got, also when it ends early.

    Args:
        on_bytes: Told about each piece.
    """

    __slots__ = ("_on_bytes", "count")

    def __init__(self, on_bytes: Callable[[int], None]) -> None:
        self._on_bytes = on_bytes
        self.count = 0

    def add(self, size_bytes: int) -> None:
        """So much more was taken by the client's connection."""
        self.count += size_bytes
        self._on_bytes(size_bytes)


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
            match await _burst(pool, descriptor, file, part, sent):
                case _Burst.FULL:
                    await _room(descriptor, transport, idle_timeout_s)
                case _Burst.SHORT:
                    raise SendingStoppedError("The file has become shorter while it was sent.")
                case _Burst.DONE | _Burst.LONG:
                    continue
    finally:
        os.close(descriptor)


class _Burst(Enum):
    """Why a burst ended."""

    DONE = auto()
    FULL = auto()
    """The socket takes no more; the client has to read first."""
    LONG = auto()
    """Others may want the thread."""
    SHORT = auto()
    """The file ended."""


async def _burst(
    pool: WorkPool, descriptor: int, file: OpenFile, part: Slice, sent: Sent
) -> _Burst:
    loan = _Loan(descriptor, file.fileno())
    start = part.start + sent.count
    pushed, end = await _on_loan(pool, loan, _push, start, part.count - sent.count)
    sent.add(pushed)
    return end


async def _on_loan(
    pool: WorkPool, loan: _Loan, fn: Callable[[_Loan, int, int], T], start: int, count: int
) -> T:
    """Run blocking work on lent descriptors; what it raises becomes ours."""
    try:
        return await pool.call(loan.use, fn, start, count, deadline_s=_STORE_DEADLINE_S)
    except ConnectionError:
        raise
    except (HostError, OSError) as error:
        raise SendingStoppedError("The file can no longer be read.", detail=str(error)) from error
    finally:
        loan.end()


class _Loan:
    """Duplicates of descriptors for one piece of work in a thread, which may outlive its caller.

    They are closed by the thread when it has begun, else by the caller.
    """

    __slots__ = ("_begun", "_ended", "_lock", "descriptors")

    def __init__(self, *descriptors: int) -> None:
        self.descriptors = tuple(os.dup(one) for one in descriptors)
        self._lock = threading.Lock()
        self._begun = False
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the caller is no longer interested."""
        return self._ended

    def use(self, fn: Callable[[_Loan, int, int], T], start: int, count: int) -> T:
        """Blocking: run the work and close the descriptors."""
        with self._lock:
            if self._ended:
                raise ConnectionAbortedError("the transfer has ended")
            self._begun = True
        try:
            return fn(self, start, count)
        finally:
            self._close()

    def end(self) -> None:
        """The caller goes on without the work, or it is done."""
        with self._lock:
            self._ended = True
            if self._begun:
                return
        self._close()

    def _close(self) -> None:
        for one in self.descriptors:
            os.close(one)


def _push(loan: _Loan, start: int, count: int) -> tuple[int, _Burst]:
    """Blocking: send until done, until the socket is full, or until the burst is over."""
    target, source = loan.descriptors
    poller = select.poll()
    poller.register(target, select.POLLOUT)
    deadline = time.monotonic() + _BURST_S
    pushed = 0
    while pushed < count:
        try:
            step = os.sendfile(target, source, start + pushed, min(_SENDFILE_BYTES, count - pushed))
        except BlockingIOError:
            if not poller.poll(_ROOM_WAIT_MS):
                return pushed, _Burst.FULL
            step = None
        if step == 0:
            return pushed, _Burst.SHORT
        pushed += step or 0
        if loan.ended or time.monotonic() > deadline:
            return pushed, _Burst.LONG
    return pushed, _Burst.DONE


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
        loan = _Loan(file.fileno())
        block = await _on_loan(pool, loan, _read, part.start + sent.count, size)
        if not block:
            raise SendingStoppedError("The file has become shorter while it was sent.")
        try:
            async with asyncio.timeout(idle_timeout_s):
                await response.write(block)
        except TimeoutError as error:
            raise SendingStoppedError("The client takes no data.") from error
        sent.add(len(block))


def _read(loan: _Loan, start: int, count: int) -> bytes:
    return os.pread(loan.descriptors[0], count, start)
