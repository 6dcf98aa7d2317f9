# SPDX-License-Identifier: Apache-2.0
"""What is where on the public ports, and on the port behind a proxy. Routing only."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from aiohttp import web

from ssvm_agent.web.downloads import Downloads
from ssvm_agent.web.entrance import Exchange, text_answer
from ssvm_agent.web.open_file import NotServedError
from ssvm_agent.web.origin import OriginRules, client_address
from ssvm_agent.web.uploads import REACHABLE, Uploads, origin_of, preflight

UPLOAD_PATH: Final = "upload"


class PublicSite:
    """``/userdata/…``, ``/copy/SecStorage/…`` and ``/upload/<uuid>``; nothing else exists.

    Args:
        downloads: The first two.
        uploads: The third.
        rules: Tells which proxies' word about a client's address is taken.
    """

    def __init__(self, *, downloads: Downloads, uploads: Uploads, rules: OriginRules) -> None:
        self._downloads = downloads
        self._uploads = uploads
        self._rules = rules

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        """Answer a request to port 80 or 443."""
        if exchange.method == "OPTIONS":
            return preflight(exchange)
        names = exchange.target.names
        match names:
            case () if exchange.method in {"GET", "HEAD"}:
                return text_answer(HTTPStatus.OK, REACHABLE)
            case ("userdata", _, *_):
                return await self._downloads.extract(exchange, names[1:])
            case ("copy", "SecStorage", *_):
                peer = client_address(self._rules, origin_of(exchange))
                return await self._downloads.copy(exchange, peer, names[2:])
            case ("upload",) if exchange.method in {"GET", "HEAD"}:
                return text_answer(HTTPStatus.OK, REACHABLE)
            case ("upload", uuid):
                return await self._uploads.answer(exchange, uuid)
            case _:
                raise NotServedError("There is no such file.")


class ProxiedSite:
    """``/upload?uuid=<uuid>`` for a proxy on this machine (storage-commands.md 5.1)."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        """Answer a request to port 8210."""
        if exchange.target.names != (UPLOAD_PATH,):
            raise NotServedError("There is no such file.")
        return await self._uploads.answer(exchange, exchange.target.parameter("uuid"))
