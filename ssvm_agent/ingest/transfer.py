# SPDX-License-Identifier: Apache-2.0
"""Moving one stream from its source into a stage, hashed on the way: three workers and two queues.

The event loop joins what the source yields into blocks of a megabyte and hands each to two lines
that run side by side: the digest, and decompress-inspect-write. Both do their work in threads and
release the GIL there, so on two cores a download costs what its slower line costs. The queues hold
one block each; when a line falls behind, the loop stops reading from the socket.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Final, TypeVar

from ssvm_agent.host.pools import WorkPool
from ssvm_agent.ingest.checksum import Digests
from ssvm_agent.ingest.errors import TooBigError
from ssvm_agent.ingest.limits import BLOCK_SIZE_BYTES
from ssvm_agent.ingest.progress import Progress
from ssvm_agent.ingest.source import BytesLike, ResumePoint, Source
from ssvm_agent.ingest.stage import Stage
from ssvm_agent.storage.errors import NoSpaceError
from ssvm_agent.storage.stores import Store

if TYPE_CHECKING:
    from ssvm_agent.ingest.tools import IngestTools

T = TypeVar("T")

# A write that takes longer means that the store is gone, not that it is slow.
_WRITE_DEADLINE_S: Final = 300.0
# How often a resumable download is made durable: what a restart at worst fetches again.
_CHECKPOINT_BYTES: Final = 256 << 20

Checkpointer = Callable[[ResumePoint], Awaitable[None]]
_Line = asyncio.Queue[bytes | None]


class Transfer:
    """One stream on its way into one stage.

    Args:
        source: Opened here, as often as it asks for it.
        stage: Empty, or taken up at ``resume``.
        store: Where the stage lies; its threads do the writing.
        progress: Kept up to date.
        tools: The pool for digests, the memory for decompressors.
        algorithms: Digests to compute besides the one the source may promise.
        max_size_bytes: Limit on the wire.
        on_checkpoint: Told from where a later process could go on.
    """

    def __init__(
        self,
        source: Source,
        stage: Stage,
        store: Store,
        progress: Progress,
        tools: IngestTools,
        *,
        algorithms: Iterable[str],
        max_size_bytes: int,
        on_checkpoint: Checkpointer | None = None,
    ) -> None:
        self._source = source
        self._stage = stage
        self._store = store
        self._progress = progress
        self._pool: WorkPool = tools.digest_pool
        self._memory = tools.memory
        self._algorithms = tuple(algorithms)
        self._max_size_bytes = max_size_bytes
        self._on_checkpoint = on_checkpoint
        self._next_checkpoint = _CHECKPOINT_BYTES
        # Parts of one snapshot share their progress, and so their limit.
        self._received_before = progress.bytes_received
        self._written_before = progress.bytes_written
        self._total_is_known = progress.bytes_expected is not None
        self.digests = Digests(())

    async def run(self, resume: ResumePoint | None = None) -> None:
        """Bring the stream in, from ``resume`` or from its first byte.

        Raises:
            SourceRestartedError: Everything is void; restart the stage and run again.
            AgentError: Whatever else went wrong first.
        """
        self.digests = Digests(self._algorithms)
        self._progress.bytes_received = self._received_before
        self._progress.bytes_written = self._written_before
        if resume is not None:
            await self._read_back(resume.offset)
        try:
            async with AsyncExitStack() as held, asyncio.TaskGroup() as group:
                to_digest: _Line = asyncio.Queue(1)
                to_stage: _Line = asyncio.Queue(1)
                group.create_task(_work_off(to_digest, self._digest))
                group.create_task(_work_off(to_stage, self._stage_block))
                async with aclosing(self._source.open(self._progress, resume=resume)) as pieces:
                    await self._distribute(pieces, to_digest, to_stage, held)
        except BaseExceptionGroup as group_error:
            raise _first(group_error) from group_error

    async def _distribute(
        self,
        pieces: AsyncGenerator[BytesLike, None],
        to_digest: _Line,
        to_stage: _Line,
        held: AsyncExitStack,
    ) -> None:
        first = True
        async for block in self._blocks(pieces):
            if first:
                first = False
                await self._announced()
                need = self._stage.memory_bytes(block)
                await held.enter_async_context(self._memory.hold(need))
            await to_digest.put(block)
            await to_stage.put(block)
            del block
        await to_digest.put(None)
        await to_stage.put(None)

    async def _blocks(self, pieces: AsyncGenerator[BytesLike, None]) -> AsyncGenerator[bytes, None]:
        """The stream in blocks of at least a megabyte, counted to the byte."""
        progress = self._progress
        parts: list[BytesLike] = []
        size = 0
        async for piece in pieces:
            progress.bytes_received += len(piece)
            if progress.bytes_received > self._max_size_bytes:
                raise TooBigError("Download file size is too large")
            parts.append(piece)
            size += len(piece)
            if size >= BLOCK_SIZE_BYTES:
                # Nothing but the block itself may be held while a slow line is waited for.
                block = b"".join(parts)
                del piece
                parts.clear()
                size = 0
                yield block
                del block
        if parts:
            yield b"".join(parts)

    async def _announced(self) -> None:
        """The first bytes are there, and with them the announced length: judge it."""
        expected = self._source.expected_size_bytes
        if not self._total_is_known:
            self._progress.bytes_expected = expected
        promised = self._source.checksum
        if promised is not None:
            self.digests.add(promised.algorithm)
        if expected is None:
            return
        if expected > self._max_size_bytes:
            raise TooBigError("Download file size is too large")
        facts = await self._store.statvfs()
        free = facts.f_bavail * facts.f_frsize
        if expected - self._stage.bytes_written > free:
            raise NoSpaceError(
                f"The secondary storage has {free} bytes left, the download needs {expected}"
            )

    async def _digest(self, block: bytes) -> None:
        if self.digests:
            await self._pool.call(self.digests.update, block, deadline_s=None)

    async def _stage_block(self, block: bytes) -> None:
        stage = self._stage
        more = await self._in_store(stage.feed, block)
        while more:
            self._progress.bytes_written = self._written_before + stage.bytes_written
            more = await self._in_store(stage.step)
        self._progress.bytes_written = self._written_before + stage.bytes_written
        if stage.bytes_written >= self._next_checkpoint:
            await self.checkpoint()

    async def checkpoint(self) -> bool:
        """Make what is written durable and say from where a later process could go on.

        Returns:
            Whether a later process could.
        """
        self._next_checkpoint = self._stage.bytes_written + _CHECKPOINT_BYTES
        validator = self._source.validator
        if self._on_checkpoint is None or validator is None or not self._stage.is_resumable:
            return False
        offset = await self._in_store(self._stage.sync)
        await self._on_checkpoint(ResumePoint(offset=offset, validator=validator))
        return True

    async def _read_back(self, offset: int) -> None:
        """Digest and inspect what an earlier process wrote."""
        while self._stage.bytes_written < offset:
            block = await self._store.run(
                self._stage.read_back, offset, deadline_s=_WRITE_DEADLINE_S
            )
            await self._digest(block)
        self._progress.bytes_received = self._progress.bytes_written = offset

    async def _in_store(self, fn: Callable[..., T], *args: object) -> T:
        return await self._store.run(
            fn, *args, deadline_s=_WRITE_DEADLINE_S, what="write the image"
        )


async def _work_off(line: _Line, work: Callable[[bytes], Awaitable[None]]) -> None:
    while (block := await line.get()) is not None:
        await work(block)
        del block


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that came first; what the others raised follows from it."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def sync_deadline_s(size_bytes: int, per_gib_s: float) -> float:
    """Time for making a file of this length durable (storage-commands.md 4.10 step 3)."""
    return (math.ceil(size_bytes / (1 << 30)) + 1) * per_gib_s
