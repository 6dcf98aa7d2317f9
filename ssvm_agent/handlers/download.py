# SPDX-License-Identifier: Apache-2.0
"""DownloadCommand and DownloadProgressCommand: from fields to a job, from a job's state to fields.

Everything about fetching is in :mod:`ssvm_agent.ingest`; here is only what the wire means
(storage-commands.md 4.1-4.4). A raised error becomes a DownloadAnswer with DOWNLOAD_ERROR, the
asked job id and the error's sentence.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePath
from typing import Final

from ssvm_agent.dispatch.registry import Lane
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.handlers.mapping import store_ref
from ssvm_agent.handlers.ovf_mapping import ovf_information
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.ingest.checksum import ExpectedChecksum
from ssvm_agent.ingest.client import Credentials, HttpOptions
from ssvm_agent.ingest.errors import BadUrlError, IngestError, UnknownJobError
from ssvm_agent.ingest.job import Job, JobKey, JobOrder, JobState, JobStatus, Ticket
from ssvm_agent.ingest.jobs import store_key
from ssvm_agent.ingest.limits import DEFAULT_MAX_SIZE_BYTES
from ssvm_agent.ingest.proxy import DEFAULT_PORT, Proxy
from ssvm_agent.ingest.snapshots import several_files_path, single_file_path
from ssvm_agent.ingest.spec import IngestSpec, SnapshotPart, SnapshotSpec
from ssvm_agent.ingest.urls import HTTP_SCHEMES, SourceUrl, parse_url
from ssvm_agent.masking import Secret
from ssvm_agent.messages.download import DownloadAnswer, DownloadCommand, DownloadProgressCommand
from ssvm_agent.messages.names import DownloadStatus, RequestType
from ssvm_agent.storage.layout import (
    ImageKind,
    check_depth,
    check_relative,
    parse_store_url,
    top_of,
)
from ssvm_agent.storage.stores import StoreRef

# storage-commands.md 11.1: short downloads are already DOWNLOADED in the first answer. Whether one
# is short shows after a few looks at its speed.
_FIRST_ANSWER_S: Final = 3.0
_LOOK_S: Final = 0.25
_LOOKS: Final = round(_FIRST_ANSWER_S / _LOOK_S)
_ANSWER_DEADLINE_S: Final = 30.0
_UNPACK_DEADLINE_S: Final = 3600.0
# Account and id: nothing above the directory of one image is installed into (requirements S8).
_OBJECT: Final = 2

_STATUS: Final = {
    JobStatus.NOT_STARTED: DownloadStatus.NOT_DOWNLOADED,
    JobStatus.ABORTED: DownloadStatus.NOT_DOWNLOADED,
    JobStatus.IN_PROGRESS: DownloadStatus.DOWNLOAD_IN_PROGRESS,
    JobStatus.INSTALLING: DownloadStatus.DOWNLOAD_IN_PROGRESS,
    JobStatus.FINISHED: DownloadStatus.DOWNLOADED,
    JobStatus.FAILED: DownloadStatus.DOWNLOAD_ERROR,
}


@REGISTRY.command(DownloadCommand, DownloadAnswer, lane=Lane.NORMAL, deadline_s=_ANSWER_DEADLINE_S)
async def download(command: DownloadCommand, services: Services) -> DownloadAnswer:
    """Start a download, or join the one under way; answer within three seconds."""
    return await _start(command, services)


# "changes" is off, since nearly all of these only ask; what the others do is told by the job.
@REGISTRY.command(
    DownloadProgressCommand, DownloadAnswer, lane=Lane.CONTROL, changes=False,
    deadline_s=_ANSWER_DEADLINE_S,
)  # fmt: skip
async def download_progress(command: DownloadProgressCommand, services: Services) -> DownloadAnswer:
    """Tell about a job, stop it, run it again or forget it."""
    jobs = services.jobs
    job = jobs.get(command.job_id) if command.job_id else None
    if job is None:
        if command.request == RequestType.GET_OR_RESTART:
            return await _start(command, services)
        # Differs: storage-commands.md 4.3, 11.3: the asked job id and DOWNLOAD_ERROR go back, so
        # that the server fails at once instead of waiting for its time-out.
        raise UnknownJobError("Cannot find job")
    match command.request:
        case RequestType.ABORT:
            return _answer(await jobs.abort(job))
        case RequestType.PURGE:
            return _answer(await jobs.purge(job), with_ovf=True)
        case RequestType.RESTART:
            return await _restart(job, command, services)
        case RequestType.GET_OR_RESTART if job.status in {JobStatus.FAILED, JobStatus.ABORTED}:
            return await _restart(job, command, services)
        case _ if job.interrupted:
            # An earlier process was at it; the command repeats all it takes to go on.
            taken_up = await jobs.start(_order(command, services))
            return _answer(taken_up.snapshot())
        case _:
            return _answer(job.snapshot())


async def _start(command: DownloadCommand, services: Services) -> DownloadAnswer:
    job = await services.jobs.start(_order(command, services))
    return _answer(await _first_state(job))


async def _restart(
    job: Job, command: DownloadProgressCommand, services: Services
) -> DownloadAnswer:
    restarted = await services.jobs.restart(job, _order(command, services))
    return _answer(await _first_state(restarted))


async def _first_state(job: Job) -> JobState:
    """The end if it comes within three seconds, else the state once it shows that it does not."""
    before = state = job.snapshot()
    for look in range(1, _LOOKS + 1):
        state = await job.settled(_LOOK_S)
        if state.has_ended or _takes_long(before, state, passed_s=look * _LOOK_S):
            break
    return state


def _takes_long(before: JobState, now: JobState, *, passed_s: float) -> bool:
    """Whether, at the speed of late, the job does not end within the time of the first answer."""
    received = now.bytes_done - before.bytes_done
    if not now.bytes_expected or received <= 0:
        return False
    missing = now.bytes_expected - now.bytes_done
    return missing / received * passed_s > _FIRST_ANSWER_S - passed_s


def _order(command: DownloadCommand, services: Services) -> JobOrder:
    """Check everything that can be checked without waiting.

    Raises:
        AgentError: With the text the user shall read.
    """
    kind = _kind(command.resource_type)
    if not command.url:
        # Compat: storage-commands.md 4.3
        raise BadUrlError(
            f"{kind.value.capitalize()} is corrupted on storage due to an invalid url , "
            "cannot download"
        )
    if not command.name:
        raise IngestError("Invalid Name")
    ref = store_ref(command.store)
    directory = check_relative(command.install_path or "", strip_slash=True)
    check_depth(directory, top_of(kind), _OBJECT)
    urls = tuple(parse_url(text) for text in command.url.split("\n") if text.strip())
    if len(urls) != 1 and (kind is not ImageKind.SNAPSHOT or not _all_http(urls)):
        raise BadUrlError("URI is incorrect: several URLs are for snapshots over http only")
    make_spec = _SpecMaker(
        command, services, ref=ref, kind=kind, directory=str(directory), urls=urls
    )
    return JobOrder(
        key=JobKey(store=store_key(parse_store_url(ref.url)), directory=str(directory)),
        kind=kind,
        fingerprint=hashlib.sha256(command.url.encode()).hexdigest(),
        make_spec=make_spec,
    )


def _kind(resource_type: str | None) -> ImageKind:
    try:
        return ImageKind(resource_type or ImageKind.TEMPLATE)
    except ValueError:
        raise IngestError(f"There is no resource type {resource_type!r:.40}") from None


def _all_http(urls: tuple[SourceUrl, ...]) -> bool:
    return bool(urls) and all(url.scheme in HTTP_SCHEMES for url in urls)


class _SpecMaker:
    """Makes the specification inside the job; fields are checked at construction."""

    def __init__(
        self, command: DownloadCommand, services: Services, *, ref: StoreRef, kind: ImageKind,
        directory: str, urls: tuple[SourceUrl, ...],
    ) -> None:  # fmt: skip
        self._command = command
        self._services = services
        self._ref = ref
        self._kind = kind
        self._directory = directory
        self._options = _http_options(command)
        limit = command.max_download_size_in_bytes
        self._max_size_bytes = limit if limit and limit > 0 else DEFAULT_MAX_SIZE_BYTES
        self._checksum: ExpectedChecksum | None = None
        self._format: ImageFormat | None = None
        self._snapshot: tuple[str, tuple[str, ...]] | None = None
        self._urls = urls
        if kind is ImageKind.SNAPSHOT:
            self._snapshot = _snapshot_paths(urls)
            return
        if command.checksum:
            self._checksum = ExpectedChecksum.parse(command.checksum)
        self._format = ImageFormat.from_name(command.format or "")

    async def __call__(self, ticket: Ticket) -> IngestSpec | SnapshotSpec:
        store = await self._services.stores.open(self._ref)
        sources = self._services.jobs.tools.sources
        command = self._command
        if self._snapshot is not None:
            answered, paths = self._snapshot
            return SnapshotSpec(
                job_id=ticket.job_id,
                store=store,
                directory=self._directory,
                parts=tuple(
                    SnapshotPart(source=sources.make(url.text, self._options), relative_path=path)
                    for url, path in zip(self._urls, paths, strict=True)
                ),
                install_path=f"{self._directory}/{answered}",
                max_size_bytes=self._max_size_bytes,
            )
        assert self._format is not None
        description = command.description or ""
        return IngestSpec(
            job_id=ticket.job_id,
            kind=self._kind,
            store=store,
            directory=self._directory,
            name=command.name or "",
            image_id=command.id,
            account_id=command.account_id,
            image_format=self._format,
            source=sources.make(self._urls[0].text, self._options),
            # Compat: storage-commands.md 4.1: used only if longer than one character.
            description=description if len(description) > 1 else "",
            hvm=command.hvm,
            checksum=self._checksum,
            max_size_bytes=self._max_size_bytes,
            resume=ticket.resume,
            unpack_deadline_s=_unpack_deadline_s(command),
        )


def _snapshot_paths(urls: tuple[SourceUrl, ...]) -> tuple[str, tuple[str, ...]]:
    if len(urls) == 1:
        path = single_file_path(urls[0])
        return path, (path,)
    return several_files_path(urls)


def _http_options(command: DownloadCommand) -> HttpOptions:
    auth, proxy = command.auth, command.proxy
    return HttpOptions(
        credentials=(
            Credentials(user=auth.user_name, password=Secret(auth.password or ""))
            if auth and auth.user_name
            else None
        ),
        proxy=(
            Proxy(
                host=proxy.host,
                port=proxy.port or DEFAULT_PORT,
                user=proxy.user_name or "",
                password=Secret(proxy.password) if proxy.password else None,
            )
            if proxy and proxy.host
            else None
        ),
        follow_redirects=command.follow_redirects,
    )


def _unpack_deadline_s(command: DownloadCommand) -> float:
    """The server's limit for unpacking an OVA, in its context (storage-commands.md 4.1)."""
    text = command.context_map.get("vmware.package.ova.timeout", "")
    milliseconds = int(text) if text.isdecimal() and len(text) < 12 else 0
    return milliseconds / 1000 or _UNPACK_DEADLINE_S


def _answer(state: JobState, *, with_ovf: bool = False) -> DownloadAnswer:
    """A job's state in the words of storage-commands.md 4.2."""
    installed = state.installed
    # Compat: storage-commands.md 4.2: a single blank when there is nothing to say.
    text = state.message or " "
    return DownloadAnswer(
        result=True,
        details=text,
        job_id=state.job_id,
        download_pct=state.percent,
        error_string=text,
        download_status=_STATUS[state.state],
        download_path=state.temporary_path or None,
        install_path=state.install_path.strip("/"),
        template_size=installed.virtual_size_bytes if installed else 0,
        template_physical_size=state.bytes_done,
        check_sum=installed.checksum_text or None if installed else None,
        ovf_information=(
            ovf_information(installed.ovf, installed.disks, PurePath(state.temporary_path).parent)
            if with_ovf and installed and installed.ovf
            else None
        ),
    )
