# SPDX-License-Identifier: Apache-2.0
"""A file described by a Metalink document: mirrors in order of priority, with a digest.

Each mirror is an http source of its own and passes the egress guard. The first mirror that answers
is used; when it gives up later, the next one starts the file anew. A mirror that is itself a
Metalink is followed a few levels deep, never twice (storage-commands.md 4.6).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Final

from ssvm_agent.ingest.checksum import ExpectedChecksum
from ssvm_agent.ingest.client import HttpClient, HttpOptions
from ssvm_agent.ingest.errors import IngestError, SourceFailedError, SourceRestartedError
from ssvm_agent.ingest.metalink_xml import MAX_DOCUMENT_BYTES, Metalink, parse_metalink
from ssvm_agent.ingest.progress import Progress
from ssvm_agent.ingest.source import BytesLike, ResumePoint, Source
from ssvm_agent.ingest.urls import HTTP_SCHEMES, SourceUrl, parse_url

SUFFIX: Final = ".metalink"
_MAX_LEVELS: Final = 3
_MAX_MIRRORS: Final = 100


class MetalinkSource:
    """One Metalink as a stream; see :class:`ssvm_agent.ingest.source.Source`.

    Args:
        url: Of the document.
        options: Used for the document; credentials are not sent to mirrors elsewhere.
        client: Fetches the document.
        make_mirror: Makes the source of one mirror.
    """

    def __init__(
        self, url: SourceUrl, options: HttpOptions, *, client: HttpClient,
        make_mirror: Callable[[SourceUrl], Source],
    ) -> None:  # fmt: skip
        self._url = url
        self._options = options
        self._client = client
        self._make_mirror = make_mirror
        self._mirrors: list[SourceUrl] | None = None
        self._current: Source | None = None
        self._checksum: ExpectedChecksum | None = None
        self._size: int | None = None

    @property
    def expected_size_bytes(self) -> int | None:
        """What the document says, else what the mirror announces."""
        if self._size is not None:
            return self._size
        return self._current.expected_size_bytes if self._current else None

    @property
    def checksum(self) -> ExpectedChecksum | None:
        """The strongest digest of the document."""
        return self._checksum

    @property
    def validator(self) -> str | None:
        """A later process would read the document again and may find other mirrors."""
        return None

    async def measure(self) -> int | None:
        """Not known before the document is read."""
        return None

    def describe(self) -> str:
        """The URL of the document."""
        return str(self._url)

    async def open(
        self, progress: Progress, *, resume: ResumePoint | None = None
    ) -> AsyncGenerator[BytesLike, None]:
        """The file from the first mirror that delivers it."""
        del resume
        if self._mirrors is None:
            self._mirrors = await self._collect(self._url, set())
        failure: IngestError = SourceFailedError(f"{self._url} names no usable URL")
        while self._mirrors:
            mirror = self._current = self._current or self._make_mirror(self._mirrors[0])
            begun = False
            try:
                async with aclosing(mirror.open(progress)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
            except SourceRestartedError:
                # The mirror wants another try and has paid for it.
                raise
            except IngestError as error:
                failure = error
            else:
                return
            self._mirrors.pop(0)
            self._current = None
            if begun and self._mirrors:
                raise SourceRestartedError(failure.message, detail=failure.detail)
        raise failure

    async def _collect(self, url: SourceUrl, seen: set[str]) -> list[SourceUrl]:
        """The mirrors of a document, those of documents it names included."""
        seen.add(url.text)
        document = await self._read(url)
        self._checksum = self._checksum or document.checksum
        self._size = self._size if self._size is not None else document.size_bytes
        mirrors: list[SourceUrl] = []
        for text in document.urls:
            if text.partition(":")[0].lower() not in HTTP_SCHEMES:
                continue
            mirror = parse_url(text)
            if not mirror.path.lower().endswith(SUFFIX):
                mirrors.append(mirror)
            elif mirror.text in seen:
                raise SourceFailedError(f"The metalink {mirror} leads back to itself")
            elif len(seen) >= _MAX_LEVELS:
                raise SourceFailedError(f"The metalink {self._url} is nested too deeply")
            else:
                mirrors.extend(await self._collect(mirror, seen))
        return mirrors[:_MAX_MIRRORS]

    async def _read(self, url: SourceUrl) -> Metalink:
        async with self._client.request("GET", url, self._options_for(url)) as response:
            if response.status != HTTPStatus.OK:
                raise SourceFailedError(
                    f"HTTP Server returned {response.status} (expected 200 OK)", detail=str(url)
                )
            document = b""
            async for piece in response.content.iter_any():
                document += piece
                if len(document) > MAX_DOCUMENT_BYTES:
                    raise SourceFailedError("The metalink document is too large")
        return parse_metalink(document)

    def _options_for(self, url: SourceUrl) -> HttpOptions:
        return (
            self._options if url.origin == self._url.origin else self._options.without_credentials()
        )
