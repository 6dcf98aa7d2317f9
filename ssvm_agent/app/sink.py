# SPDX-License-Identifier: Apache-2.0
"""The door between link and executor, which may still be under construction.

The Startup leaves before most of the package is loaded. Requests that arrive meanwhile wait here.
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class RequestSink(Protocol):
    """Who carries out requests; see :class:`ssvm_agent.link.session.RequestSink`."""

    async def execute(self, content: bytes, *, stop_on_error: bool) -> bytes | None:
        """The content of the response; ``None``: no response."""
        ...


class LateSink:
    """A sink that passes requests on once there is one."""

    def __init__(self) -> None:
        self._behind: RequestSink | None = None
        self._is_open = asyncio.Event()

    def open(self, behind: RequestSink) -> None:
        """Let the waiting requests through."""
        self._behind = behind
        self._is_open.set()

    async def execute(self, content: bytes, *, stop_on_error: bool) -> bytes | None:
        """Wait for the sink behind and hand over."""
        await self._is_open.wait()
        assert self._behind is not None
        return await self._behind.execute(content, stop_on_error=stop_on_error)
