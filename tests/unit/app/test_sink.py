# SPDX-License-Identifier: Apache-2.0
"""Requests that come before the agent is complete wait for it."""

from __future__ import annotations

import asyncio

from ssvm_agent.app.sink import LateSink


class _Echo:
    async def execute(self, content: bytes, *, stop_on_error: bool) -> bytes | None:
        return content + bytes(stop_on_error)


async def test_requests_wait_until_there_is_somebody_to_carry_them_out() -> None:
    sink = LateSink()
    early = asyncio.create_task(sink.execute(b"early", stop_on_error=False))
    dropped = asyncio.create_task(sink.execute(b"dropped", stop_on_error=False))
    await asyncio.sleep(0)
    dropped.cancel()
    assert not early.done()
    sink.open(_Echo())
    assert await early == b"early"
    assert await sink.execute(b"late", stop_on_error=True) == b"late\0"
