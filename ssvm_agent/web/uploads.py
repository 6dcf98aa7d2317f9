# SPDX-License-Identifier: Apache-2.0
"""Uploads coming in: one signed POST, one image (storage-commands.md 5).

Theory of operation: a request is judged by its headers alone, then against what exists, and only
then entered into the table; from there on its URL is used. The work itself belongs to the process,
not to the request: a background task pulls the body through the install pipeline and ends the
entry, whatever becomes of the connection. The request waits for that end and answers what the web
interface expects. When checking and installing outlasts the patience of the proxies in between, it
answers that the image was received; UploadStatusCommand tells the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final, Protocol

from aiohttp import web

from ssvm_agent import log
from ssvm_agent.errors import AgentError
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.tasks import BackgroundTasks
from ssvm_agent.images.errors import SizeLimitError, UnsafeImageError, WrongFormatError
from ssvm_agent.ingest.errors import TooBigError
from ssvm_agent.ingest.progress import Progress
from ssvm_agent.masking import Secret
from ssvm_agent.storage.errors import ConflictError, StoreUnavailableError
from ssvm_agent.web import headers
from ssvm_agent.web.entrance import Exchange, text_answer
from ssvm_agent.web.errors import UploadBrokenError, UploadRefusedError
from ssvm_agent.web.multipart import boundary_of
from ssvm_agent.web.origin import Origin, OriginRules, client_address, legitimate_urls
from ssvm_agent.web.upload_check import (
    Grant,
    authenticate,
    require_quota,
    require_size,
    upload_request,
)
from ssvm_agent.web.upload_metadata import UploadMetadata
from ssvm_agent.web.upload_source import FormFileSource
from ssvm_agent.web.upload_table import (
    RESTARTED_MESSAGE,
    Upload,
    UploadResult,
    UploadState,
    UploadTable,
    whole_gib,
)

_logger = logging.getLogger(__name__)

REACHABLE: Final = (
    "This is the upload address of a CloudStack secondary storage VM. It is reachable; "
    "you can go back and upload.\n"
)
RECEIVED: Final = "upload received; its content is still being checked and installed."
_USED: Final = "The one time post url is already used"


class PreparedUpload(Protocol):
    """An upload whose store is open."""

    @property
    def directory_exists(self) -> bool:
        """Whether the install directory is there already."""
        ...

    async def account_used_bytes(self) -> int:
        """How much secondary storage the account uses."""
        ...

    async def install(
        self,
        source: FormFileSource,
        progress: Progress,
        on_ready: Callable[[UploadResult], Awaitable[None]],
    ) -> UploadResult:
        """Bring the image in; raises AgentError and then leaves nothing behind.

        ``on_ready`` is told the result right before the image becomes visible.
        """
        ...


class UploadInstaller(Protocol):
    """The way into the stores."""

    async def prepare(self, metadata: UploadMetadata) -> PreparedUpload:
        """Open the store and look at the install directory; changes nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """Bounds of uploads.

    Attributes:
        running: Uploads at the same time.
        idle_timeout_s: Silence within a body.
        answer_wait_s: How long after the body's end a request waits for the installation; below
            the 300 s Apache waits for us (its ProxyTimeout).
    """

    running: int = 32
    idle_timeout_s: float = 60.0
    answer_wait_s: float = 240.0


@dataclass(frozen=True, slots=True)
class _Outcome:
    status: HTTPStatus
    text: str


class Uploads:
    """The upload entrance.

    Args:
        table: What UploadStatusCommand reads.
        installer: The way into the stores.
        rules: Our public URLs.
        tasks: Owner of the work behind each upload.
        clock: For expiry and durations.
        limits: See :class:`UploadLimits`.
        on_end: Told about each upload that ended.
        on_bytes: Told how many bytes arrived.
    """

    def __init__(
        self,
        *,
        table: UploadTable,
        installer: UploadInstaller,
        rules: OriginRules,
        tasks: BackgroundTasks,
        clock: Clock,
        limits: UploadLimits | None = None,
        on_end: Callable[[Upload], None] = lambda _upload: None,
        on_bytes: Callable[[int], None] = lambda _size: None,
    ) -> None:
        self.table = table
        self._on_end = on_end
        self._on_bytes = on_bytes
        self._installer = installer
        self._rules = rules
        self._tasks = tasks
        self._clock = clock
        self._limits = limits or UploadLimits()
        self._key: Secret | None = None

    def set_key(self, key: Secret) -> None:
        """Take the shared key; requests from now on are checked with it alone."""
        if self._key is not None and self._key != key:
            _logger.info("upload key changed")
        self._key = key

    async def answer(self, exchange: Exchange, uuid: str) -> web.StreamResponse:
        """Answer a request to ``/upload/<uuid>``."""
        match exchange.method:
            case "OPTIONS":
                return preflight(exchange)
            case "GET" | "HEAD":
                return text_answer(HTTPStatus.OK, REACHABLE)
            case "POST":
                return await self._receive(exchange, uuid)
            case _:
                raise UploadRefusedError(HTTPStatus.BAD_REQUEST, "only post requests are allowed")

    async def _receive(self, exchange: Exchange, uuid: str) -> web.Response:
        origin = origin_of(exchange)
        grant = authenticate(
            upload_request(uuid, exchange.request.headers),
            key=self._key,
            urls=legitimate_urls(self._rules, origin, uuid),
            now=self._clock.now(),
        )
        boundary = _boundary(exchange)
        prepared = await self._admit(grant, uuid)
        upload = _entry(grant, uuid, self._clock.now())
        source = FormFileSource(
            exchange.request.content,
            boundary=boundary,
            content_length=grant.content_length,
            idle_timeout_s=self._limits.idle_timeout_s,
            on_bytes=_counter(upload, self._on_bytes),
        )
        self.table.claim(upload)
        log.event(
            _logger,
            logging.INFO,
            "upload started",
            upload=uuid,
            what=upload.description,
            client=client_address(self._rules, origin),
            signed=grant.signed_url,
            encryption=grant.encryption.value,
            length=grant.content_length,
        )
        outcome = self._start(upload, grant.metadata, prepared, source)
        await _invite_body(exchange)
        return await self._answer_outcome(upload, source, outcome)

    async def _admit(self, grant: Grant, uuid: str) -> PreparedUpload:
        """Steps 3 to 5 of storage-commands.md 5.5."""
        self.table.require_unused(uuid)
        require_size(grant)
        if self.table.running >= self._limits.running:
            raise UploadRefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, "Too many uploads are in progress; try again later."
            )
        try:
            prepared = await self._installer.prepare(grant.metadata)
        except StoreUnavailableError:
            raise
        except AgentError as error:
            raise UploadRefusedError(
                HTTPStatus.INTERNAL_SERVER_ERROR, error.message, detail=error.detail
            ) from error
        if prepared.directory_exists:
            raise UploadRefusedError(
                HTTPStatus.BAD_REQUEST, _USED, detail=f"{grant.metadata.directory} exists"
            )
        if grant.metadata.account_limit_bytes is not None:
            require_quota(grant, await prepared.account_used_bytes())
        return prepared

    def _start(
        self,
        upload: Upload,
        metadata: UploadMetadata,
        prepared: PreparedUpload,
        source: FormFileSource,
    ) -> asyncio.Future[_Outcome]:
        outcome: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        handle = self._tasks.start(
            self._install(upload, metadata, prepared, source, outcome), name=f"upload {upload.uuid}"
        )
        if upload.state is UploadState.IN_PROGRESS:
            upload.cancel = handle.cancel
        return outcome

    async def _install(
        self,
        upload: Upload,
        metadata: UploadMetadata,
        prepared: PreparedUpload,
        source: FormFileSource,
        outcome: asyncio.Future[_Outcome],
    ) -> None:
        began = self._clock.monotonic()
        # What stands when the task is cancelled: an abort has noted its own text before.
        result = _Outcome(HTTPStatus.INTERNAL_SERVER_ERROR, RESTARTED_MESSAGE)
        detail = ""
        undecided = False

        async def remember(result: UploadResult) -> None:
            await self.table.expect(upload, result)

        try:
            installed = await prepared.install(source, upload.progress, remember)
        except AgentError as error:
            result, detail = _failure(error, metadata, upload.progress), error.for_operators()
        except asyncio.CancelledError:
            undecided = upload.result is not None
            raise
        except Exception as error:
            # The boundary of one upload: its entry tells, the others go on.
            _logger.exception("upload failed upload=%s", upload.uuid)
            result = _Outcome(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error")
            detail = type(error).__name__
        else:
            result = _Outcome(HTTPStatus.OK, "upload successful.")
            self.table.complete(upload, installed, self._clock.now())
        finally:
            # Stopped while the image became visible: the next process asks the store (settle).
            if not undecided:
                self.table.fail(upload, result.text, self._clock.now())
                self._on_end(upload)
            if not outcome.done():
                outcome.set_result(result)
            source.stop_waiting()
            log.event(
                _logger,
                logging.INFO if upload.state is UploadState.COMPLETED else logging.WARNING,
                "upload ended",
                upload=upload.uuid,
                state=upload.state.value,
                file=source.file_name or None,
                received=upload.body_bytes,
                seconds=round(self._clock.monotonic() - began, 3),
                reason=detail or upload.message or None,
            )

    async def _answer_outcome(
        self, upload: Upload, source: FormFileSource, outcome: asyncio.Future[_Outcome]
    ) -> web.Response:
        await source.wait_for_body()
        try:
            async with asyncio.timeout(self._limits.answer_wait_s):
                result = await asyncio.shield(outcome)
        except TimeoutError:
            return text_answer(HTTPStatus.ACCEPTED, RECEIVED)
        if result.status is HTTPStatus.OK:
            return text_answer(result.status, result.text)
        raise UploadRefusedError(result.status, upload.message or result.text)


def preflight(exchange: Exchange) -> web.Response:
    """The answer to OPTIONS; every answer carries the CORS headers themselves."""
    return web.Response(status=HTTPStatus.OK, headers=headers.preflight(exchange.request.headers))


def origin_of(exchange: Exchange) -> Origin:
    """What a request says about where it comes from."""
    return Origin(
        peer=exchange.peer,
        scheme=exchange.scheme,
        host=exchange.header("Host"),
        forwarded_host=exchange.header("X-Forwarded-Host"),
        forwarded_scheme=exchange.header("X-Forwarded-Proto"),
        forwarded_for=exchange.header("X-Forwarded-For"),
    )


def _boundary(exchange: Exchange) -> bytes:
    if exchange.header("Content-Encoding").lower() not in {"", "identity"}:
        raise UploadRefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The request body must not be encoded."
        )
    try:
        return boundary_of(exchange.header("Content-Type"))
    except UploadBrokenError as error:
        raise UploadRefusedError(error.status, error.message, detail=error.detail) from error


def _entry(grant: Grant, uuid: str, now: datetime) -> Upload:
    metadata = grant.metadata
    return Upload(
        uuid=uuid,
        description=f"{metadata.kind} {metadata.entity_id} in {metadata.directory}",
        content_length=grant.content_length,
        started=now,
        signed_until=grant.signed_until,
    )


def _counter(upload: Upload, on_bytes: Callable[[int], None]) -> Callable[[int], None]:
    def count(size: int) -> None:
        upload.body_bytes += size
        on_bytes(size)

    return count


async def _invite_body(exchange: Exchange) -> None:
    """Ask a client that waits for leave to send its body (RFC 9110 10.1.1)."""
    if exchange.header("Expect").lower() == "100-continue":
        writer = exchange.request.writer
        await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # What was written is no part of the answer.
        writer.output_size = 0


def _failure(error: AgentError, metadata: UploadMetadata, progress: Progress) -> _Outcome:
    """Status and text of an upload that failed (storage-commands.md 5.5, steps 7-13)."""
    cause = error.__cause__ if isinstance(error.__cause__, WrongFormatError) else error
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    match cause:
        case UploadBrokenError():
            return _Outcome(cause.status, cause.message)
        case ConflictError():
            return _Outcome(HTTPStatus.BAD_REQUEST, _USED)
        case TooBigError() | SizeLimitError():
            size = whole_gib(max(progress.bytes_received, progress.bytes_written) + 1)
            limit = whole_gib(metadata.max_size_bytes)
            text = (
                f"Maximum file upload size exceeded. Physical file size: {size}GB. "
                f"Maximum allowed size: {limit}GB. {cause.message}"
            )
        case WrongFormatError():
            text = (
                "File type mismatch between uploaded file and selected format. Selected file "
                f"format: {metadata.image_format}. Received: {cause.message}"
            )
        case UnsafeImageError() if metadata.image_format == "QCOW2":
            text = f"The uploaded file is not a valid QCOW2. {cause.message}"
        case _:
            text = error.message
    return _Outcome(status, text)
