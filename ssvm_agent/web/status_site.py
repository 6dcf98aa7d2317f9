# SPDX-License-Identifier: Apache-2.0
"""The status page, ``/status.json``, ``/healthz`` and ``/metrics``, for the management side only.

Read-only and without secrets, but nobody else's business: it listens on a loopback or management
address, answers only requests that name this machine (a page of another site cannot read it by
pointing its own name here), and sends no CORS headers.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Mapping
from http import HTTPStatus
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final

from aiohttp import web

from ssvm_agent.host.pools import WorkPool
from ssvm_agent.web.entrance import Exchange, text_answer
from ssvm_agent.web.errors import RequestRefusedError
from ssvm_agent.web.metrics import CONTENT_TYPE, render
from ssvm_agent.web.open_file import NotServedError
from ssvm_agent.web.status_report import Health, StatusSource

HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
)
_TYPES: Final = MappingProxyType(
    {"status.html": "text/html", "status.css": "text/css", "status.js": "text/javascript"}
)


def load_pages() -> dict[str, bytes]:
    """Blocking: the files of the page by name; they are part of the package."""
    files = importlib.resources.files("ssvm_agent.web") / "static"
    return {name: (files / name).read_bytes() for name in _TYPES}


class StatusSite:
    """Answers requests to ``status.listen``.

    Args:
        source: Makes the reports.
        pages: From :func:`load_pages`.
        pool: Threads that render metrics; the library is loaded with the first.
        host_names: Names besides addresses and ``localhost`` that requests may be for.
    """

    def __init__(
        self,
        source: StatusSource,
        pages: Mapping[str, bytes],
        pool: WorkPool,
        *,
        host_names: tuple[str, ...] = (),
    ) -> None:
        self._source = source
        self._pages = pages
        self._pool = pool
        self._host_names = frozenset(name.lower() for name in host_names)

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        """Answer one request."""
        self._require_own_name(exchange.header("Host"))
        if exchange.method not in {"GET", "HEAD"}:
            raise RequestRefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "There is nothing to change.")
        match exchange.target.names:
            case ():
                return self._file("status.html")
            case (name,) if name in self._pages:
                return self._file(name)
            case ("status.json",):
                report = await self._source.report()
                return _answer(json.dumps(report.to_json()).encode(), "application/json")
            case ("healthz",):
                return await self._health()
            case ("metrics",):
                report = await self._source.report()
                return _answer(await self._pool.call(render, report), CONTENT_TYPE)
            case _:
                raise NotServedError("There is no such page.")

    async def _health(self) -> web.Response:
        report = await self._source.report()
        if report.health is not Health.BAD:
            return text_answer(HTTPStatus.OK, "ok\n")
        return text_answer(HTTPStatus.SERVICE_UNAVAILABLE, "\n".join(report.problems) + "\n")

    def _file(self, name: str) -> web.Response:
        return _answer(self._pages[name], f"{_TYPES[name]}; charset=utf-8")

    def _require_own_name(self, header: str) -> None:
        host = header.rpartition(":")[0] if header.rpartition(":")[2].isdigit() else header
        host = host.strip("[]").lower()
        if host == "localhost" or host in self._host_names:
            return
        try:
            ip_address(host)
        except ValueError:
            raise RequestRefusedError(
                HTTPStatus.MISDIRECTED_REQUEST, "This page is not served under that name."
            ) from None


def _answer(body: bytes, content_type: str) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": content_type})
