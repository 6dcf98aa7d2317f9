# SPDX-License-Identifier: Apache-2.0
"""One HTTP listener: its sockets, its limits, and the one place where errors become answers.

Theory of operation: a low-level aiohttp server hands every request to one handler. What the handler
raises is turned into a status and a text here; every answer gets the headers of
:mod:`ssvm_agent.web.headers`. Limits against clients that hold connections instead of using them:
a time for the request head, a time for the TLS handshake, a time between requests, and a number of
connections, beyond which the one idle for longest has to go. Handlers bound their own bodies.

This module knows nothing of what is served.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from ssvm_agent import log
from ssvm_agent.errors import AgentError
from ssvm_agent.storage.errors import StoreUnavailableError
from ssvm_agent.web import headers
from ssvm_agent.web.errors import PortInUseError, RequestRefusedError
from ssvm_agent.web.open_file import NotServedError
from ssvm_agent.web.target import Target, parse_target

_logger = logging.getLogger(__name__)

# Twice this is what may wait in memory of each body; more brought no speed (docs/http.md).
_BODY_BUFFER_BYTES: Final = 128 << 10
_BACKLOG: Final = 511
_MAX_LINE_BYTES: Final = 8190
# Metadata of an upload travels in a header.
_MAX_HEADER_BYTES: Final = 32 << 10
_MAX_HEADERS: Final = 100

Handler = Callable[["Exchange"], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of us one client may hold.

    Attributes:
        head_s: For a request line and its headers, and between two requests.
        handshake_s: For a TLS handshake.
        linger_s: How long a refused body is read and dropped.
        connections: Open connections of this listener.
    """

    head_s: float = 20.0
    handshake_s: float = 15.0
    linger_s: float = 10.0
    connections: int = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request as a handler sees it."""

    request: web.BaseRequest
    target: Target
    peer: str
    """Address of the TCP peer."""
    scheme: str
    """``http`` or ``https``."""
    complete: Callable[[web.StreamResponse], None]
    """Gives an answer the headers of its entrance."""

    async def prepare(self, response: web.StreamResponse) -> None:
        """Send the head of an answer whose body the handler writes itself."""
        self.complete(response)
        await response.prepare(self.request)

    @property
    def method(self) -> str:
        """The method, in capitals."""
        return self.request.method

    def header(self, name: str) -> str:
        """A header's value, empty when absent."""
        return self.request.headers.get(name, "")


def text_answer(
    status: HTTPStatus, text: str, extra: Mapping[str, str] | None = None
) -> web.Response:
    """A short plain answer."""
    return web.Response(
        status=status, body=text.encode(), headers={"Content-Type": headers.PLAIN, **(extra or {})}
    )


class Entrance:
    """A listener.

    Args:
        name: For logs: ``public http``, ``upload``…
        handler: Answers requests; may raise :class:`~ssvm_agent.errors.AgentError`.
        limits: See :class:`Limits`.
        common: Headers of every answer; a handler's own win.
        on_answer: Told the name and the status of each answer.
    """

    def __init__(
        self,
        name: str,
        handler: Handler,
        *,
        limits: Limits | None = None,
        common: Mapping[str, str] | None = None,
        on_answer: Callable[[str, int], None] = lambda _name, _status: None,
    ) -> None:
        self.name = name
        self._handler = handler
        self._on_answer = on_answer
        self._limits = limits or Limits()
        self._common = {**(headers.SAFETY if common is None else common), "Server": headers.SERVER}
        self._server: _Server | None = None
        self._sockets: list[asyncio.Server] = []

    @property
    def connections(self) -> int:
        """Open connections."""
        return 0 if self._server is None else len(self._server.connections)

    async def listen(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> int:
        """Accept connections; may be called for several addresses.

        Returns:
            The port, chosen by the system when ``port`` is 0.

        Raises:
            PortInUseError: The address cannot be listened on.
        """
        if self._server is None:
            self._server = _Server(self._answer, self._unparsable, self._limits)
        options: dict[str, Any] = {}
        if tls is not None:
            options = {"ssl": tls, "ssl_handshake_timeout": self._limits.handshake_s}
        try:
            server = await asyncio.get_running_loop().create_server(
                self._server, host, port, backlog=_BACKLOG, reuse_address=True, **options
            )
        except OSError as error:
            raise PortInUseError(
                f"The {self.name} entrance cannot listen on {host} port {port}.", detail=str(error)
            ) from error
        self._sockets.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        log.event(_logger, logging.INFO, "entrance open", entrance=self.name, host=host, port=bound)
        return bound

    async def stop(self, deadline_s: float) -> None:
        """Accept nothing more, let running requests end for a while, then close everything."""
        for server in self._sockets:
            server.close()
        if self._server is not None:
            self._server.pre_shutdown()
            # It waits twice: for handlers to end by themselves, then for those it cancelled.
            await self._server.shutdown(deadline_s / 2)
        self._sockets.clear()
        self._server = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        peer = _peer(request)
        with log.context(peer=peer):
            try:
                exchange = Exchange(
                    request=request,
                    target=parse_target(request.raw_path),
                    peer=peer,
                    scheme="https" if request.secure else "http",
                    complete=self._complete,
                )
                response = await self._handler(exchange)
            except AgentError as error:
                response = self._refused(request, error)
            except (ConnectionError, TimeoutError) as error:
                _logger.debug("request ended early reason=%s", error)
                raise ConnectionResetError(str(error)) from error
            except Exception:
                # The boundary of every request: one failing leaves the server as it was.
                _logger.exception("request failed target=%r", request.raw_path[:200])
                response = text_answer(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error")
        if not response.prepared:
            self._complete(response)
        self._on_answer(self.name, response.status)
        return response

    def _complete(self, response: web.StreamResponse) -> None:
        for name, value in self._common.items():
            response.headers.setdefault(name, value)

    def _refused(self, request: web.BaseRequest, error: AgentError) -> web.Response:
        status, text = _status_of(error)
        log.event(
            _logger,
            logging.INFO if status < HTTPStatus.INTERNAL_SERVER_ERROR else logging.WARNING,
            "request refused",
            method=request.method,
            target=request.raw_path[:200],
            status=int(status),
            reason=error.for_operators(),
        )
        response = text_answer(status, text)
        if request.can_read_body:
            response.force_close()
        return response

    def _unparsable(self, status: int, reason: str) -> web.Response:
        log.event(_logger, logging.INFO, "request unparsable", reason=reason[:200])
        response = text_answer(HTTPStatus(status), HTTPStatus(status).phrase)
        self._complete(response)
        response.force_close()
        return response


def _status_of(error: AgentError) -> tuple[HTTPStatus, str]:
    match error:
        case RequestRefusedError():
            return error.status, error.message
        case NotServedError():
            return HTTPStatus.NOT_FOUND, error.message
        case StoreUnavailableError():
            return HTTPStatus.SERVICE_UNAVAILABLE, error.message
        case _:
            return HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error"


def _peer(request: web.BaseRequest) -> str:
    transport = request.transport
    name = None if transport is None else transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else ""


class _Protocol(web.RequestHandler):
    """aiohttp's connection, with our answer to what is no HTTP."""

    __slots__ = ("_unparsable",)

    def __init__(
        self, manager: _Server, *, unparsable: Callable[[int, str], web.Response], **options: Any
    ) -> None:
        super().__init__(manager, **options)
        self._unparsable = unparsable

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - aiohttp's signature
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        return self._unparsable(status, message or (type(exc).__name__ if exc else ""))


class _Server(web.Server):
    """aiohttp's server, with a cap on its connections.

    A connection between requests is idle; when there are too many, the oldest idle one makes room.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        unparsable: Callable[[int, str], web.Response],
        limits: Limits,
    ) -> None:
        super().__init__(self._tracked)
        self._answer = handler
        self._limits = limits
        self._unparsable = unparsable
        self._idle: dict[web.RequestHandler, asyncio.Transport] = {}

    def __call__(self) -> web.RequestHandler:
        return _Protocol(
            self,
            unparsable=self._unparsable,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=self._limits.head_s,
            lingering_time=self._limits.linger_s,
            access_log=None,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
            read_bufsize=_BODY_BUFFER_BYTES,
            auto_decompress=False,
        )

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        if len(self.connections) >= self._limits.connections:
            self._make_room()
        super().connection_made(handler, transport)
        self._idle[handler] = transport

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        self._idle.pop(handler, None)
        super().connection_lost(handler, exc)

    def _make_room(self) -> None:
        oldest = next(iter(self._idle), None)
        if oldest is not None:
            self._idle.pop(oldest).abort()
            return
        # All are busy with requests; the new one finds its connection closed at once.
        _logger.warning("entrance full connections=%d", len(self.connections))

    async def _tracked(self, request: web.BaseRequest) -> web.StreamResponse:
        protocol = request.protocol
        transport = self._idle.pop(protocol, None)
        try:
            return await self._answer(request)
        finally:
            if transport is not None and not transport.is_closing():
                self._idle[protocol] = transport
