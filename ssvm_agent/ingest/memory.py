# SPDX-License-Identifier: Apache-2.0
"""Memory that all decompressors together may have: who wants more than is left waits.

Each stream says at its first block what it will need (:mod:`ssvm_agent.images.compression`) and
gives it back at its end. First come, first served, so that a large one is not passed by for ever.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ssvm_agent.images.compression import MOST_DECODING_BYTES

# As much as the hungriest stream alone: the agent stays below the limit of its unit on a system VM
# of 512 MB (requirements R30).
DECODING_BYTES: Final = MOST_DECODING_BYTES


class MemoryBudget:
    """Bytes to be shared.

    Args:
        total_bytes: Of all holders together; one that wants more gets it when nobody else has any.
    """

    def __init__(self, total_bytes: int = DECODING_BYTES) -> None:
        self._total_bytes = total_bytes
        self._held_bytes = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def held_bytes(self) -> int:
        """What is given out."""
        return self._held_bytes

    @asynccontextmanager
    async def hold(self, size_bytes: int) -> AsyncIterator[None]:
        """Have so much while the context lasts; waits for it, but not for nothing."""
        if not size_bytes:
            yield
            return
        if self._waiting or not self._fits(size_bytes):
            await self._turn(size_bytes)
        else:
            self._held_bytes += size_bytes
        try:
            yield
        finally:
            self._held_bytes -= size_bytes
            self._serve()

    async def _turn(self, size_bytes: int) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size_bytes, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # Given at the same moment; otherwise the turn is cancelled and passed by.
            if not turn.cancelled():
                self._held_bytes -= size_bytes
            self._serve()
            raise

    def _serve(self) -> None:
        while self._waiting:
            size_bytes, turn = self._waiting[0]
            if not turn.cancelled():
                if not self._fits(size_bytes):
                    return
                self._held_bytes += size_bytes
                turn.set_result(None)
            self._waiting.popleft()

    def _fits(self, size_bytes: int) -> bool:
        return not self._held_bytes or self._held_bytes + size_bytes <= self._total_bytes
