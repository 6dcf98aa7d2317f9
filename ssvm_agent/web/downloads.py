# SPDX-License-Identifier: Apache-2.0
"""Files going out: extract links and zone copies (storage-commands.md 3.3, 3.7, 6.1).

Both areas serve single regular files that lie below a store, opened without following links and
judged by the open file: a file replaced or deleted meanwhile is sent to its end as it was. There is
no listing anywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Final

from aiohttp import web

from ssvm_agent import log
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.storage.errors import NotFoundError, PathEscapeError
from ssvm_agent.storage.layout import check_relative, is_temporary
from ssvm_agent.storage.service import StoreService
from ssvm_agent.storage.stores import Store
from ssvm_agent.web.copy_guard import Admission, CopyGuard
from ssvm_agent.web.entrance import Exchange, text_answer
from ssvm_agent.web.errors import RequestRefusedError
from ssvm_agent.web.headers import attachment
from ssvm_agent.web.links import BadLinkError, LinkTable, link_key
from ssvm_agent.web.open_file import NotServedError, OpenFile, open_below
from ssvm_agent.web.ranges import (
    Conditions,
    FileFacts,
    Refusal,
    Slice,
    Verdict,
    choose_slice,
    evaluate,
)
from ssvm_agent.web.sending import SendingStoppedError, Sent, send_file

_logger = logging.getLogger(__name__)

# Fast clients keep a thread for half a second at a time; more of them take turns.
_SENDING_THREADS: Final = 8
_OPEN_DEADLINE_S: Final = 20.0
_METHODS: Final = "GET, HEAD, OPTIONS"


@dataclass(slots=True, kw_only=True, eq=False)
class Transfer:
    """One answer on its way, for the status page."""

    area: str
    name: str
    peer: str
    started: datetime
    total_bytes: int
    sent: Sent


class Downloads:
    """The two areas files are fetched from.

    Args:
        stores: Finds the store of a directory name.
        links: What is published below ``/userdata/``.
        guard: Who may fetch below ``/copy/SecStorage/``.
        clock: For expiry and durations.
        idle_timeout_s: How long a client may take no data.
        on_transfer: Told the area of each transfer that ended, and how (``done``, ``cut``).
        on_sent: Told area and length of each piece that was sent.
    """

    def __init__(
        self,
        *,
        stores: StoreService,
        links: LinkTable,
        guard: CopyGuard,
        clock: Clock,
        idle_timeout_s: float = 60.0,
        on_transfer: Callable[[str, str], None] = lambda _area, _outcome: None,
        on_sent: Callable[[str, int], None] = lambda _area, _size: None,
    ) -> None:
        self._stores = stores
        self._links = links
        self._guard = guard
        self._clock = clock
        self._idle_timeout_s = idle_timeout_s
        self._on_transfer = on_transfer
        self._on_sent = on_sent
        self._pools: dict[str, WorkPool] = {}
        self._running: set[Transfer] = set()

    @property
    def running(self) -> tuple[Transfer, ...]:
        """The transfers under way."""
        return tuple(self._running)

    def close(self) -> None:
        """Let the sending threads go."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    async def extract(self, exchange: Exchange, names: Sequence[str]) -> web.StreamResponse:
        """Answer a request below ``/userdata/``."""
        _require_reading(exchange)
        try:
            link = self._links.find(link_key(*names), self._clock.now())
        except BadLinkError:
            link = None
        if link is None or exchange.target.is_directory:
            raise NotServedError("There is no such file.")
        store = await self._store(link.store)
        parts = _parts(link.path)
        return await self._serve(
            exchange, store, parts, "extract", {"Content-Disposition": attachment(link.file_name)}
        )

    async def copy(self, exchange: Exchange, peer: str, names: Sequence[str]) -> web.StreamResponse:
        """Answer a request below ``/copy/SecStorage/`` for a client of this address."""
        match self._guard.admit(peer, exchange.header("Authorization")):
            case Admission.STRANGER:
                raise RequestRefusedError(
                    HTTPStatus.FORBIDDEN, "This address may not copy from here.", detail=peer
                )
            case Admission.CREDENTIALS_NEEDED:
                # Compat: storage-commands.md 3.2: the realm clients were set up with.
                challenge = {"WWW-Authenticate": 'Basic realm="Authentication Required"'}
                return text_answer(HTTPStatus.UNAUTHORIZED, "Authentication Required", challenge)
            case Admission.GRANTED:
                pass
        _require_reading(exchange)
        if len(names) < 2 or exchange.target.is_directory:
            raise NotServedError("There is no such file.")
        store = await self._store(names[0])
        return await self._serve(exchange, store, _parts("/".join(names[1:])), "copy", {})

    async def _store(self, directory_name: str) -> Store:
        try:
            return await self._stores.find(directory_name)
        except NotFoundError as error:
            raise NotServedError("There is no such file.", detail=error.message) from error

    async def _serve(
        self,
        exchange: Exchange,
        store: Store,
        parts: Sequence[str],
        area: str,
        extra: dict[str, str],
    ) -> web.StreamResponse:
        file = await store.run(open_below, store.root, parts, deadline_s=_OPEN_DEADLINE_S)
        with file:
            response, part = _plan(exchange, file.facts)
            if response.status < HTTPStatus.BAD_REQUEST:
                response.headers.update(extra)
            if part is None or exchange.method == "HEAD":
                return await _headers_only(exchange, response)
            transfer = Transfer(
                area=area,
                name=parts[-1],
                peer=exchange.peer,
                started=self._clock.now(),
                total_bytes=part.count,
                sent=Sent(partial(self._on_sent, area)),
            )
            await self._send(exchange, response, file, part, store, transfer)
            return response

    async def _send(
        self,
        exchange: Exchange,
        response: web.StreamResponse,
        file: OpenFile,
        part: Slice,
        store: Store,
        transfer: Transfer,
    ) -> None:
        began = self._clock.monotonic()
        _log(logging.INFO, "transfer started", transfer, offset=part.start, size=part.count)
        self._running.add(transfer)
        outcome = "cut"
        reason: str | None = None
        try:
            await exchange.prepare(response)
            transport = exchange.request.transport
            if transport is None:
                raise ConnectionResetError("the client closed the connection")
            await send_file(
                response,
                transport,
                file,
                part,
                pool=self._pool(store),
                idle_timeout_s=self._idle_timeout_s,
                sent=transfer.sent,
            )
            await response.write_eof()
            outcome = "done"
        except SendingStoppedError as error:
            reason = error.for_operators()
            # The length was promised: only a broken connection tells that this is not all.
            raise ConnectionResetError(reason) from error
        except ConnectionError as error:
            reason = str(error)
            raise
        finally:
            self._running.discard(transfer)
            self._on_transfer(transfer.area, outcome)
            _log(
                logging.INFO,
                "transfer ended",
                transfer,
                outcome=outcome,
                sent=transfer.sent.count,
                seconds=round(self._clock.monotonic() - began, 3),
                reason=reason,
            )

    def _pool(self, store: Store) -> WorkPool:
        name = store.directory_name
        if name not in self._pools:
            self._pools[name] = WorkPool(f"send {name[:8]}", threads=_SENDING_THREADS)
        return self._pools[name]


def _require_reading(exchange: Exchange) -> None:
    if exchange.method not in {"GET", "HEAD"}:
        raise RequestRefusedError(
            HTTPStatus.METHOD_NOT_ALLOWED, f"Only {_METHODS} are served here."
        )


def _parts(path: str) -> tuple[str, ...]:
    try:
        parts = check_relative(path).parts
    except PathEscapeError as error:
        raise NotServedError("There is no such file.", detail=error.message) from error
    if is_temporary(parts[-1]):
        raise NotServedError("There is no such file.", detail="it is not complete yet")
    return parts


def _plan(exchange: Exchange, facts: FileFacts) -> tuple[web.StreamResponse, Slice | None]:
    """The answer's head and the bytes to send; no bytes for answers without a body."""
    headers = {
        "ETag": facts.etag,
        "Last-Modified": facts.last_modified,
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
    }
    conditions = Conditions(
        if_match=exchange.header("If-Match"),
        if_none_match=exchange.header("If-None-Match"),
        if_modified_since=exchange.header("If-Modified-Since"),
        if_unmodified_since=exchange.header("If-Unmodified-Since"),
    )
    match evaluate(conditions, facts):
        case Verdict.NOT_MODIFIED:
            del headers["Content-Type"]
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers), None
        case Verdict.FAILED:
            return text_answer(HTTPStatus.PRECONDITION_FAILED, "The file has changed."), None
        case Verdict.SEND:
            pass
    wanted = choose_slice(exchange.header("Range"), exchange.header("If-Range"), facts)
    if isinstance(wanted, Refusal):
        if wanted is Refusal.HOSTILE:
            log.event(
                _logger, logging.WARNING, "ranges refused", range=exchange.header("Range")[:200]
            )
        unsatisfiable = {"Content-Range": f"bytes */{facts.size_bytes}"}
        return text_answer(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            "This range cannot be served.",
            unsatisfiable,
        ), None
    status = HTTPStatus.OK if wanted is None else HTTPStatus.PARTIAL_CONTENT
    part = wanted or Slice(0, facts.size_bytes)
    if wanted is not None:
        headers["Content-Range"] = wanted.content_range(facts.size_bytes)
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = part.count
    return response, part if part.count else None


async def _headers_only(exchange: Exchange, response: web.StreamResponse) -> web.StreamResponse:
    await exchange.prepare(response)
    await response.write_eof()
    return response


def _log(level: int, text: str, transfer: Transfer, **fields: object) -> None:
    log.event(_logger, level, text, area=transfer.area, file=transfer.name, **fields)
