# SPDX-License-Identifier: Apache-2.0
"""The one way into a store: reserve, fetch, verify, install, publish (docs/ingest.md).

Every image comes through :func:`run`, whether it is downloaded, uploaded or copied; they differ in
their source only. Invariants: bytes are written once and not read back, nothing has its final name
before it is complete and checked, and a failure leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from ssvm_agent import log
from ssvm_agent.errors import AgentError
from ssvm_agent.images.errors import WrongFormatError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.ingest.checksum import DEFAULT_ALGORITHM, Digests, ExpectedChecksum
from ssvm_agent.ingest.errors import SourceRestartedError, UnsupportedContentError
from ssvm_agent.ingest.install import Reservation, clean_up, publish, reserve
from ssvm_agent.ingest.progress import Phase, Progress
from ssvm_agent.ingest.spec import IngestSpec, Installed
from ssvm_agent.ingest.stage import Stage
from ssvm_agent.ingest.transfer import Checkpointer, Transfer, sync_deadline_s
from ssvm_agent.ingest.unpack import Unpacking
from ssvm_agent.storage.errors import StorageError
from ssvm_agent.storage.layout import ImageKind, image_file_name, properties_name
from ssvm_agent.storage.properties import ImageProperties

if TYPE_CHECKING:
    from datetime import datetime

    from ssvm_agent.images.ovf_disks import DataDisk
    from ssvm_agent.images.report import ImageReport
    from ssvm_agent.ingest.tools import IngestTools
    from ssvm_agent.storage.stores import Store

_logger = logging.getLogger(__name__)

Announcer = Callable[[Installed], Awaitable[None]]

# Formats that hold no disk of their own, so that a guest sees as many bytes as the file has
# (storage-commands.md 7, 11.14).
_SIZE_IS_LENGTH: Final = frozenset(
    {ImageFormat.ISO, ImageFormat.TAR, ImageFormat.ZIP, ImageFormat.DIR, ImageFormat.BAREMETAL,
     ImageFormat.EXTERNAL}
)  # fmt: skip


async def run(
    spec: IngestSpec,
    progress: Progress,
    tools: IngestTools,
    *,
    on_checkpoint: Checkpointer | None = None,
    on_ready: Announcer | None = None,
) -> Installed:
    """Bring one template or volume into its store.

    Args:
        spec: What and where.
        progress: Kept up to date; read by whoever wants to know.
        tools: Shared equipment.
        on_checkpoint: Told from where a later process could go on.
        on_ready: Told what the image will be, right before it becomes visible.

    Raises:
        AgentError: The first thing that went wrong. Nothing is left in the store.
        CancelledError: Likewise; but with ``progress.keep_partial`` the temporary file stays when a
            later process can continue it.
    """
    started_s = tools.clock.monotonic()
    log.event(
        _logger, logging.INFO, "ingest started", job=spec.job_id, source=spec.source.describe(),
        directory=spec.directory,
    )  # fmt: skip
    try:
        installed = await _Ingest(spec, progress, tools, on_checkpoint, on_ready).run()
    except AgentError as error:
        log.event(
            _logger, logging.WARNING, "ingest failed", job=spec.job_id, code=error.code,
            reason=error.for_operators(), received=progress.bytes_received,
        )  # fmt: skip
        raise
    log.event(
        _logger, logging.INFO, "ingest finished", job=spec.job_id, path=installed.install_path,
        received=progress.bytes_received, size=installed.physical_size_bytes,
        seconds=round(tools.clock.monotonic() - started_s, 1),
    )  # fmt: skip
    return installed


class _Ingest:
    """One run of the pipeline."""

    def __init__(
        self, spec: IngestSpec, progress: Progress, tools: IngestTools,
        on_checkpoint: Checkpointer | None, on_ready: Announcer | None,
    ) -> None:  # fmt: skip
        self._spec = spec
        self._progress = progress
        self._tools = tools
        self._on_checkpoint = on_checkpoint
        self._on_ready = on_ready
        self._store = spec.store

    async def run(self) -> Installed:
        spec, progress = self._spec, self._progress
        progress.bytes_received = progress.bytes_written = 0
        progress.bytes_expected = None
        async with self._store.locks.hold(spec.directory):
            reservation = await self._store.run(
                reserve, self._store.root, spec.directory, spec.kind,
                owner=self._tools.owner, job_id=spec.job_id, what=f"prepare {spec.directory}",
            )  # fmt: skip
        progress.temporary_path = str(reservation.temporary)
        stage = Stage(
            reservation.temporary,
            declared=spec.image_format,
            max_size_bytes=spec.max_size_bytes,
            max_virtual_size_bytes=spec.max_virtual_size_bytes,
        )
        transfer = Transfer(
            spec.source, stage, self._store, self._progress, self._tools,
            algorithms=_algorithms(spec),
            max_size_bytes=spec.max_size_bytes, on_checkpoint=self._on_checkpoint,
        )  # fmt: skip
        try:
            await self._fetch(stage, transfer)
            checksum = self._verify(transfer.digests)
            report = await self._install(stage)
            return await self._publish(reservation, report, checksum)
        except asyncio.CancelledError:
            if not (self._progress.keep_partial and await _park(transfer, stage, self._store)):
                await self._clean_up(stage, reservation)
            raise
        except WrongFormatError as error:
            await self._clean_up(stage, reservation)
            # Compat: storage-commands.md 4.5
            raise UnsupportedContentError(
                "Failed to install: Template content is unsupported, or mismatch between selected "
                f"format and template content. Found  : {error.message}",
                detail=error.detail,
            ) from error
        except BaseException:
            await self._clean_up(stage, reservation)
            raise

    async def _fetch(self, stage: Stage, transfer: Transfer) -> None:
        """Fetch until the stream has passed as a whole, taking up an earlier process's file."""
        self._progress.phase = Phase.FETCH
        resume = self._spec.resume
        if resume is not None:
            try:
                await self._store.run(stage.reopen, resume.offset)
            except StorageError:
                resume = None
        if resume is None:
            await self._store.run(stage.create, what=f"write into {self._spec.directory}")
        while True:
            try:
                return await transfer.run(resume)
            except SourceRestartedError as error:
                log.event(
                    _logger, logging.INFO, "download starts anew", job=self._spec.job_id,
                    reason=error.message,
                )  # fmt: skip
                await self._store.run(stage.restart)
                resume = None

    def _verify(self, digests: Digests) -> ExpectedChecksum | None:
        """Compare the digest of the bytes as received with all promises about it."""
        self._progress.phase = Phase.VERIFY
        promised = self._spec.source.checksum
        if promised is not None:
            digests.verify(promised)
        if self._spec.checksum is not None:
            digests.verify(self._spec.checksum)
            return self._spec.checksum
        return digests.result(DEFAULT_ALGORITHM) if self._spec.compute_checksum else None

    async def _install(self, stage: Stage) -> ImageReport:
        self._progress.phase = Phase.INSTALL
        deadline_s = sync_deadline_s(stage.bytes_written, self._tools.install_s_per_gib)
        report = await self._store.run(stage.finish, deadline_s=deadline_s, what="sync the image")
        await self._store.run(stage.close)
        return report

    async def _publish(
        self, reservation: Reservation, report: ImageReport, checksum: ExpectedChecksum | None
    ) -> Installed:
        self._progress.phase = Phase.PUBLISH
        spec, now = self._spec, self._tools.clock.now()
        properties = _properties(spec, report, now)
        unpacking = Unpacking(reservation, report.ovf) if report.ovf else None
        try:
            disks = await self._unpack(unpacking, properties.file_name) if unpacking else ()
            installed = Installed(
                install_path=f"{spec.directory.strip('/')}/{properties.file_name}",
                virtual_size_bytes=properties.virtual_size_bytes,
                physical_size_bytes=properties.size_bytes,
                checksum_text=str(checksum) if checksum else "",
                ovf=report.ovf,
                disks=disks,
            )
            if self._on_ready is not None:
                await self._on_ready(installed)
            async with self._store.locks.hold(spec.directory):
                await self._store.run(
                    publish, reservation, spec.kind, properties, now=now,
                    what=f"publish the image in {spec.directory}",
                )  # fmt: skip
        except BaseException:
            if unpacking is not None:
                unpacking.stop()
                await self._store.run(unpacking.remove)
            raise
        return installed

    async def _unpack(self, unpacking: Unpacking, file_name: str) -> tuple[DataDisk, ...]:
        protected = [file_name, properties_name(self._spec.kind) or ""]
        return await self._store.run(
            unpacking.run, protected, deadline_s=self._spec.unpack_deadline_s,
            what=f"unpack the archive in {self._spec.directory}",
        )  # fmt: skip

    async def _clean_up(self, stage: Stage, reservation: Reservation) -> None:
        """Leave nothing behind; what cannot be removed now is swept later (requirements R13)."""
        try:
            await self._store.run(stage.discard)
            async with self._store.locks.hold(self._spec.directory):
                await self._store.run(clean_up, reservation, self._spec.kind)
        except StorageError as error:
            log.event(
                _logger, logging.WARNING, "temporary file left behind",
                path=reservation.temporary, reason=error.for_operators(),
            )  # fmt: skip


def _properties(spec: IngestSpec, report: ImageReport, now: datetime) -> ImageProperties:
    """What the properties file will say.

    Raises:
        UnsupportedContentError: The image has no size.
    """
    physical = report.physical_size_bytes
    virtual = physical if spec.image_format in _SIZE_IS_LENGTH else report.virtual_size_bytes
    if physical <= 0 or virtual <= 0:
        # Compat: storage-commands.md 4.10 step 6
        raise UnsupportedContentError("Unable to install due to invalid file format")
    extension = spec.image_format.extension
    now_ms = int(now.timestamp() * 1000)
    return ImageProperties(
        unique_name=spec.name,
        id=spec.image_id,
        file_name=image_file_name(spec.file_stem or spec.name, extension, now_ms=now_ms),
        size_bytes=physical,
        virtual_size_bytes=virtual,
        formats=(extension,),
        description=spec.description,
        hvm=spec.hvm,
        checksum=_recorded_checksum(spec),
    )


def _algorithms(spec: IngestSpec) -> list[str]:
    """What to digest for the command; the source may promise more."""
    if spec.checksum is not None:
        return [spec.checksum.algorithm]
    return [DEFAULT_ALGORITHM] if spec.compute_checksum else []


def _recorded_checksum(spec: IngestSpec) -> str | None:
    """The ``checksum`` key of the properties (storage-commands.md 6.4)."""
    if spec.record_checksum and spec.checksum is not None:
        return spec.checksum.hex_digest
    return "" if spec.kind is ImageKind.VOLUME else None


async def _park(transfer: Transfer, stage: Stage, store: Store) -> bool:
    """Keep the temporary file for a later process; False when there is nothing worth keeping."""
    with contextlib.suppress(StorageError):
        if await transfer.checkpoint():
            await store.run(stage.close)
            return True
    return False
