# SPDX-License-Identifier: Apache-2.0
"""The file of a form as a source of the install pipeline: nothing behind it knows about HTTP.

The body is read only as fast as the pipeline takes it. The file is delivered when its part is
complete *and* the rest of the body has arrived: a request cut short brings nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from http import HTTPStatus
from typing import Protocol

from ssvm_agent.ingest.checksum import ExpectedChecksum
from ssvm_agent.ingest.errors import SourceFailedError
from ssvm_agent.ingest.progress import Progress
from ssvm_agent.ingest.source import BytesLike, ResumePoint
from ssvm_agent.web.errors import UploadBrokenError
from ssvm_agent.web.multipart import FileEnd, FilePart, FormFileParser
from ssvm_agent.web.upload_table import BROKEN_MESSAGE


class Body(Protocol):
    """The part of a request's body stream that is used."""

    async def readany(self) -> bytes:
        """What has arrived; empty at the end."""
        ...


class FormFileSource:
    """One upload's body.

    Args:
        body: The stream of the request.
        boundary: Of the form.
        content_length: Announced length of the body.
        idle_timeout_s: Longest silence within the body.
        on_bytes: Told how many bytes of the body have come with each piece.
    """

    def __init__(
        self,
        body: Body,
        *,
        boundary: bytes,
        content_length: int,
        idle_timeout_s: float,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._body = body
        self._parser = FormFileParser(boundary)
        self._content_length = content_length
        self._idle_timeout_s = idle_timeout_s
        self._on_bytes = on_bytes
        self._received = 0
        self._opened = False
        self._body_over = asyncio.Event()
        self.file_name = ""
        """What the client calls the file; for logs."""

    @property
    def expected_size_bytes(self) -> int | None:
        """Unknown: the form around the file has no announced length."""
        return None

    @property
    def checksum(self) -> ExpectedChecksum | None:
        """A form promises none."""
        return None

    @property
    def validator(self) -> str | None:
        """An upload is one request and cannot be resumed (storage-commands.md 5.2)."""
        return None

    async def wait_for_body(self) -> None:
        """Return when the body has been read, or nobody will read it any more."""
        await self._body_over.wait()

    def stop_waiting(self) -> None:
        """Nobody will read the body any more."""
        self._body_over.set()

    async def measure(self) -> int | None:
        """Unknown, like :attr:`expected_size_bytes`."""
        return None

    def describe(self) -> str:
        """The source for logs."""
        return f"browser upload of {self.file_name!r}" if self.file_name else "browser upload"

    async def open(
        self,
        progress: Progress,  # noqa: ARG002 - the pipeline counts what it takes
        *,
        resume: ResumePoint | None = None,
    ) -> AsyncGenerator[BytesLike, None]:
        """The file's bytes as they come in.

        Raises:
            UploadBrokenError: The form is unusable, holds no file, or ended early.
            SourceFailedError: It was opened a second time.
        """
        if self._opened or resume is not None:
            raise SourceFailedError("An upload cannot be read twice.")
        self._opened = True
        while data := await self._read():
            for event in self._parser.feed(data):
                match event:
                    case FilePart():
                        self.file_name = event.file_name
                    case FileEnd():
                        continue
                    case _:
                        yield event
        if not self._parser.finished:
            raise UploadBrokenError("The form in the request body has no end.")
        if not self._parser.seen_file:
            # Compat: storage-commands.md 5.5.7.
            raise UploadBrokenError(
                "received entity is not a file", status=HTTPStatus.UNPROCESSABLE_ENTITY
            )

    async def _read(self) -> bytes:
        try:
            async with asyncio.timeout(self._idle_timeout_s):
                data = await self._body.readany()
        except TimeoutError as error:
            raise UploadBrokenError(
                BROKEN_MESSAGE, detail=f"no data for {self._idle_timeout_s:g} s"
            ) from error
        except Exception as error:
            raise UploadBrokenError(BROKEN_MESSAGE, detail=type(error).__name__) from error
        self._received += len(data)
        self._on_bytes(len(data))
        if not data or self._received >= self._content_length:
            self._body_over.set()
        return data
