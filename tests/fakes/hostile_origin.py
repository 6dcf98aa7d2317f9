# SPDX-License-Identifier: Apache-2.0
"""A web server that misbehaves on order, for tests of everything that fetches.

Each path has a :class:`Behaviour`; what was asked for is kept in ``requests``. It speaks just
enough HTTP/1.1 by hand that every byte, also a wrong one, is ours to decide.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

PIECE_BYTES = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request as it arrived; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What happens for one path.

    Attributes:
        body: The file.
        etag: Sent when not empty; may be a function of the number of the request.
        last_modified: Sent when not empty.
        ranges: Whether Range is honoured.
        status: Instead of 200.
        location: Sent as Location.
        content_length: Instead of the true one; an empty text sends none.
        chunked: Chunked framing.
        reset_after: Drop the connection after this many bytes of each body.
        stop_after: End the body properly framed as a close after this many bytes.
        stall_after: Go silent after this many bytes, until the client leaves.
        lie_range: First byte the Content-Range of a 206 claims, whatever was asked.
        headers: More header lines.
        refuse: How many requests to drop before answering one.
        need_auth: Value of Authorization to insist on.
        change_after: After this many requests serve ``changed`` instead.
        stall_headers: Never answer.
    """

    body: bytes = b""
    etag: str = '"v1"'
    last_modified: str = ""
    ranges: bool = True
    status: int = 200
    location: str = ""
    content_length: str | None = None
    chunked: bool = False
    reset_after: int | None = None
    stop_after: int | None = None
    stall_after: int | None = None
    lie_range: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    refuse: int = 0
    busy: int = 0
    need_auth: str = ""
    change_after: int | None = None
    changed: Behaviour | None = None
    stall_headers: bool = False


@dataclass(slots=True)
class HostileOrigin:
    """The running server."""

    port: int = 0
    scheme: str = "http"
    files: dict[str, Behaviour] = field(default_factory=dict)
    requests: list[Seen] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    on_request: Callable[[Seen], None] | None = None

    def url(self, path: str, *, host: str = "127.0.0.1") -> str:
        """The URL of a path on this server."""
        return f"{self.scheme}://{host}:{self.port}{path}"

    def serve(self, path: str, behaviour: Behaviour) -> str:
        """Set what happens for a path; its URL."""
        self.files[path] = behaviour
        return self.url(path)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            seen = await _read_request(reader)
            if seen is None:
                return
            self.requests.append(seen)
            if self.on_request is not None:
                self.on_request(seen)
            number = self.counts[seen.path] = self.counts.get(seen.path, 0) + 1
            await self._answer(seen, number, reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            # The client went away, or the test is over.
            pass
        finally:
            self.gone.set()
            writer.close()

    async def _answer(
        self, seen: Seen, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        how = self.files.get(seen.path, Behaviour(status=404, body=b"nothing here"))
        if how.change_after is not None and number > how.change_after:
            how = how.changed or how
        if how.stall_headers:
            await reader.read()
            return
        if number <= how.refuse:
            writer.transport.abort()
            return
        if number <= how.busy:
            how = replace(how, status=503, body=b"busy")
        if how.need_auth and seen.headers.get("authorization") != how.need_auth:
            how = replace(how, status=401, body=b"who are you")
        start, how = _range(seen, how)
        writer.write(_head(how, start))
        if seen.method != "HEAD":
            await _send_body(how, how.body[start:], reader, writer)


def _range(seen: Seen, how: Behaviour) -> tuple[int, Behaviour]:
    """Where the body starts, and how to answer."""
    found = re.fullmatch(r"bytes=(\d+)-", seen.headers.get("range", ""))
    if_range = seen.headers.get("if-range", "")
    if not found or not how.ranges or how.status != 200:
        return 0, how
    if if_range and if_range not in {how.etag, how.last_modified}:
        return 0, how
    return int(found[1]), replace(how, status=206)


def _head(how: Behaviour, start: int) -> bytes:
    size = len(how.body)
    lines = [f"HTTP/1.1 {how.status} As Ordered", "Connection: close"]
    if how.etag:
        lines.append(f"ETag: {how.etag}")
    if how.last_modified:
        lines.append(f"Last-Modified: {how.last_modified}")
    if how.location:
        lines.append(f"Location: {how.location}")
    if how.status == 206:
        first = how.lie_range if how.lie_range is not None else start
        lines.append(f"Content-Range: bytes {first}-{size - 1}/{size}")
    if how.chunked:
        lines.append("Transfer-Encoding: chunked")
    elif how.content_length != "":
        length = how.content_length if how.content_length is not None else str(size - start)
        lines.append(f"Content-Length: {length}")
    lines.extend(f"{name}: {value}" for name, value in how.headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _send_body(
    how: Behaviour, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    sent = 0
    while sent < len(body):
        piece = body[sent : sent + PIECE_BYTES]
        for limit in (how.reset_after, how.stop_after, how.stall_after):
            if limit is not None:
                piece = piece[: max(0, limit - sent)]
        if piece:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if how.chunked else piece)
            await writer.drain()
            sent += len(piece)
        if how.reset_after is not None and sent >= how.reset_after:
            # What was written must arrive before the reset does.
            await writer.drain()
            writer.close()
            return
        if how.stop_after is not None and sent >= how.stop_after:
            break
        if how.stall_after is not None and sent >= how.stall_after:
            await reader.read()
            return
    if how.chunked:
        writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _read_request(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines if line)
    }
    return Seen(method=method, target=target, headers=headers)


@asynccontextmanager
async def hostile_origin(context: ssl.SSLContext | None = None) -> AsyncIterator[HostileOrigin]:
    """A running server on a free port of 127.0.0.1."""
    origin = HostileOrigin(scheme="https" if context else "http")
    server = await asyncio.start_server(origin.handle, "127.0.0.1", 0, ssl=context)
    origin.port = server.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        server.close()
        await server.wait_closed()
