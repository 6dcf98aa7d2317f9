# SPDX-License-Identifier: Apache-2.0
"""The web site of the demo: files of one folder, at the speed of a good line.

Slower than the disk on purpose, so that there is progress to see.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from aiohttp import web

from ssvm_agent.host.pools import WorkPool

_CHUNK = 1 << 20
_CHUNKS_PER_SECOND = 12


@dataclass(frozen=True, slots=True)
class Site:
    """A running site.

    Attributes:
        root: Its files; a flat folder.
        port: On 127.0.0.1.
    """

    root: Path
    port: int

    def url(self, path: Path) -> str:
        """The URL of a file of the folder."""
        return f"http://127.0.0.1:{self.port}/{path.name}"


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


@asynccontextmanager
async def open_site(root: Path) -> AsyncIterator[Site]:
    """Serve a folder until the context ends."""
    pool = WorkPool("demo site", threads=4)

    async def serve(request: web.Request) -> web.StreamResponse:
        path = root / request.match_info["name"]
        if not await pool.call(path.is_file):
            raise web.HTTPNotFound
        size = (await pool.call(path.stat)).st_size
        response = web.StreamResponse(headers={"Content-Length": str(size)})
        await response.prepare(request)
        with await pool.call(_open, path) as file:
            while block := await pool.call(file.read, _CHUNK):
                await response.write(block)
                await asyncio.sleep(1 / _CHUNKS_PER_SECOND)
        return response

    app = web.Application()
    app.router.add_get("/{name}", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield Site(root, runner.addresses[0][1])
    finally:
        await runner.cleanup()
        pool.close()
