# SPDX-License-Identifier: Apache-2.0
"""A file on a web server, resumed across drops (storage-commands.md 4.5; requirements R7, R15).

Theory of operation: the first response tells length and validator. When a body breaks off, the
rest is asked for with Range and If-Range; only a 206 that continues exactly where we stopped, of
the same entity, is taken. Anything else (a full answer, another total, another range, no
validator to ask with) voids what we have: the pipeline starts anew, within the same retry budget.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from ssvm_agent.host.clock import Clock
from ssvm_agent.ingest.checksum import ExpectedChecksum
from ssvm_agent.ingest.client import HttpClient, HttpOptions
from ssvm_agent.ingest.errors import SourceFailedError, SourceRestartedError
from ssvm_agent.ingest.limits import TransferLimits
from ssvm_agent.ingest.progress import Progress
from ssvm_agent.ingest.retry import RetryBudget
from ssvm_agent.ingest.source import BytesLike, ResumePoint
from ssvm_agent.ingest.sources.http_facts import BodyFacts, ContentRange, validator_of
from ssvm_agent.ingest.urls import SourceUrl

if TYPE_CHECKING:
    from aiohttp import ClientResponse

_BUSY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class HttpSource:
    """One http or https URL as a stream; see :class:`ssvm_agent.ingest.source.Source`."""

    def __init__(
        self, url: SourceUrl, options: HttpOptions, *, client: HttpClient, budget: RetryBudget,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._url = url
        self._options = options
        self._client = client
        self._budget = budget
        self._clock = clock
        self._facts: BodyFacts | None = None
        self._ranges_work = True

    @property
    def expected_size_bytes(self) -> int | None:
        """What the server announced, ``None`` before and without an announcement."""
        return self._facts.length if self._facts else None

    @property
    def checksum(self) -> ExpectedChecksum | None:
        """A web server promises none."""
        return None

    @property
    def validator(self) -> str | None:
        """For If-Range; ``None`` when ranges are of no use here."""
        return self._facts.validator if self._facts and self._ranges_work else None

    async def measure(self) -> int | None:
        """The length by a HEAD request; whatever is wrong will show when the file is fetched."""
        with contextlib.suppress(SourceFailedError):
            async with self._client.request("HEAD", self._url, self._options) as response:
                if response.status == HTTPStatus.OK:
                    return BodyFacts.of(response.headers, chunked=False).length
        return None

    def describe(self) -> str:
        """The URL, masked."""
        return str(self._url)

    async def open(
        self, progress: Progress, *, resume: ResumePoint | None = None
    ) -> AsyncGenerator[BytesLike, None]:
        """The body, in pieces as they arrive."""
        have = resume.offset if resume else 0
        validator = resume.validator if resume else None
        while True:
            try:
                async with aclosing(self._attempt(have, validator)) as pieces:
                    async for piece in pieces:
                        have += len(piece)
                        self._budget.received(len(piece))
                        yield piece
            except SourceRestartedError as error:
                await self._budget.pause(error, progress)
                raise
            except SourceFailedError as error:
                await self._budget.pause(error, progress)
            else:
                return
            validator = self.validator
            if have and validator is None:
                raise SourceRestartedError(f"{self._url.host} cannot continue a broken download")

    async def _attempt(self, have: int, validator: str | None) -> AsyncGenerator[BytesLike, None]:
        """One request: the body from ``have`` on, to its proper end."""
        headers: dict[str, str] = {}
        if have and validator:
            headers = {"Range": f"bytes={have}-", "If-Range": validator}
        async with self._client.request(
            "GET", self._url, self._options, headers=headers
        ) as response:
            self._judge_status(response, resuming=bool(headers))
            if headers:
                self._judge_range(response, have, validator or "")
            else:
                chunked = response.headers.get("Transfer-Encoding", "").lower().endswith("chunked")
                self._facts = BodyFacts.of(response.headers, chunked=chunked)
                if self._facts.length == 0:
                    raise SourceFailedError(f"The file at {self._url} is empty")
            self._budget.answered()
            async with aclosing(self._body(response)) as pieces:
                async for piece in pieces:
                    have += len(piece)
                    yield piece
        self._judge_end(have)

    def _judge_status(self, response: ClientResponse, *, resuming: bool) -> None:
        status = response.status
        if status == HTTPStatus.OK:
            if resuming:
                raise SourceRestartedError(f"{self._url.host} sent the whole file again")
            return
        if resuming and status == HTTPStatus.PARTIAL_CONTENT:
            return
        if resuming and status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._ranges_work = False
            raise SourceRestartedError(f"{self._url.host} does not know the rest of the file")
        # Compat: storage-commands.md 4.5
        raise SourceFailedError(
            f"HTTP Server returned {status} (expected 200 OK)",
            detail=str(self._url),
            retryable=status in _BUSY,
        )

    def _judge_range(self, response: ClientResponse, have: int, validator: str) -> None:
        """Take a 206 only when it continues the very same file where we stopped."""
        part = ContentRange.parse(response.headers.get("Content-Range"))
        total = self._facts.length if self._facts else None
        is_same = validator_of(response.headers) in {None, validator}
        if part is None or part.first != have or not is_same:
            self._ranges_work = False
            raise SourceRestartedError(f"{self._url.host} answered another range than asked for")
        if total is not None and part.total not in {None, total}:
            raise SourceRestartedError(f"The file at {self._url.host} changed its length")
        if self._facts is None:
            known = part.total
            self._facts = BodyFacts(length=known, is_binding=known is not None, validator=validator)

    async def _body(self, response: ClientResponse) -> AsyncGenerator[bytes, None]:
        """The pieces of a body, with an eye on silence and on a source that trickles.

        Only time spent waiting for the source counts; a slow store is not the source's fault.
        """
        limits = self._client.limits
        window_bytes, window_s = 0, 0.0
        while True:
            before = self._clock.monotonic()
            try:
                async with asyncio.timeout(limits.idle_timeout_s):
                    piece = await response.content.readany()
            except TimeoutError as error:
                raise SourceFailedError(
                    f"{self._url.host} sent nothing for {limits.idle_timeout_s:g} s",
                    retryable=True,
                ) from error
            if not piece:
                return
            yield piece
            window_bytes += len(piece)
            window_s += self._clock.monotonic() - before
            if window_s >= limits.min_speed_window_s:
                _judge_speed(self._url.host, window_bytes, window_s, limits)
                window_bytes, window_s = 0, 0.0

    def _judge_end(self, have: int) -> None:
        """The framing said "end": see whether that agrees with the announcement."""
        facts = self._facts
        if facts is None or facts.length is None or not facts.is_binding or have == facts.length:
            return
        if have > facts.length:
            raise SourceFailedError(f"{self._url.host} sent {have} bytes instead of {facts.length}")
        raise SourceFailedError(
            f"{self._url.host} sent only {have} of {facts.length} bytes", retryable=True
        )


def _judge_speed(host: str, size_bytes: int, seconds: float, limits: TransferLimits) -> None:
    speed = size_bytes / seconds
    if speed < limits.min_speed_bytes_s:
        raise SourceFailedError(
            f"{host} sends {speed:.0f} bytes a second, less than {limits.min_speed_bytes_s}",
            retryable=True,
        )
