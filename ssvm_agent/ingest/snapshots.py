# SPDX-License-Identifier: Apache-2.0
"""Bringing in a snapshot: one file or several, published together (storage-commands.md 4.6, 4.10).

Snapshots come from another zone's store. They keep their names, have neither properties file nor
checksum and are not decompressed; but they are inspected like every image, because a hypervisor
will open them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from ssvm_agent import log
from ssvm_agent.ingest.errors import BadUrlError, SourceRestartedError
from ssvm_agent.ingest.install import Reservation, clean_up, place_snapshot, reserve
from ssvm_agent.ingest.progress import Phase, Progress
from ssvm_agent.ingest.spec import Installed, SnapshotPart, SnapshotSpec
from ssvm_agent.ingest.stage import Stage, Treatment
from ssvm_agent.ingest.transfer import Transfer, sync_deadline_s
from ssvm_agent.storage.errors import StorageError
from ssvm_agent.storage.layout import ImageKind, temporary_name

if TYPE_CHECKING:
    from ssvm_agent.ingest.tools import IngestTools
    from ssvm_agent.ingest.urls import SourceUrl

_logger = logging.getLogger(__name__)

# A XenServer delta snapshot names its parent by design, so the rule against it cannot hold here.
_NOT_INSPECTED: Final = (".vhd",)
# Suffix of a flattened copy made for the transfer (storage-commands.md 6.1).
_FLATTENED_SUFFIX: Final = "_temp"


def single_file_path(url: SourceUrl) -> str:
    """Where the file of a single URL goes, relative to the install directory.

    Compat: storage-commands.md 4.10, "SNAPSHOT install".
    """
    *before, name = url.decoded_path.split("/")
    name = name.removesuffix(_FLATTENED_SUFFIX)
    if not name:
        raise BadUrlError(f"URI is incorrect: {url}")
    segment = before[-1] if before else ""
    if segment and not segment.isdigit() and name.startswith(segment):
        return f"{segment}/{name}"
    return name


def several_files_path(urls: Sequence[SourceUrl]) -> tuple[str, tuple[str, ...]]:
    """Directory and file paths of a newline-joined list, relative to the install directory.

    Returns:
        What is appended to the install path, and one relative path for each URL.
    """
    directory = ""
    names: list[str] = []
    for url in urls:
        *before, name = url.decoded_path.split("/")
        if not name or not before or not before[-1]:
            raise BadUrlError(f"URI is incorrect: {url}")
        directory = directory or before[-1]
        names.append(name)
    answered = directory
    for name in names:
        if name.lower().endswith(".ovf"):
            answered = f"{directory}/{unquote(name)[: -len('.ovf')]}"
    return answered, tuple(f"{directory}/{name}" for name in names)


async def run(spec: SnapshotSpec, progress: Progress, tools: IngestTools) -> Installed:
    """Bring all parts in, then give them their names.

    Raises:
        AgentError: The first thing that went wrong; nothing is left in the store.
    """
    store = spec.store
    async with store.locks.hold(spec.directory):
        reservation = await store.run(
            reserve, store.root, spec.directory, ImageKind.SNAPSHOT, owner=tools.owner,
            job_id=spec.job_id, what=f"prepare {spec.directory}",
        )  # fmt: skip
    progress.temporary_path = str(reservation.temporary)
    stages: list[Stage] = []
    try:
        await _measure(spec, progress)
        progress.phase = Phase.FETCH
        for number, part in enumerate(spec.parts):
            name = temporary_name(tools.owner, f"{spec.job_id}-{number}")
            stage = Stage(
                reservation.directory / name,
                declared=None,
                max_size_bytes=spec.max_size_bytes,
                treatment=_treatment(part),
            )
            stages.append(stage)
            await _bring_in(spec, part, stage, progress, tools)
        progress.phase = Phase.PUBLISH
        files = tuple(
            (stage.path, part.relative_path) for stage, part in zip(stages, spec.parts, strict=True)
        )
        async with store.locks.hold(spec.directory):
            await store.run(
                place_snapshot, store.root, spec.directory, files,
                what=f"publish the snapshot in {spec.directory}",
            )  # fmt: skip
    except BaseException:
        await _clean_up(spec, stages, reservation)
        raise
    return Installed(
        install_path=spec.install_path,
        virtual_size_bytes=0,
        physical_size_bytes=sum(stage.bytes_written for stage in stages),
        checksum_text="",
    )


def _treatment(part: SnapshotPart) -> Treatment:
    opaque = part.relative_path.lower().endswith(_NOT_INSPECTED)
    return Treatment.NONE if opaque else Treatment.INSPECT


async def _measure(spec: SnapshotSpec, progress: Progress) -> None:
    """Sum the sizes of several files, so that the percentage means the whole."""
    if len(spec.parts) == 1:
        return
    sizes = [await part.source.measure() for part in spec.parts]
    known = [size for size in sizes if size is not None]
    if len(known) == len(sizes):
        progress.bytes_expected = sum(known)


async def _bring_in(
    spec: SnapshotSpec, part: SnapshotPart, stage: Stage, progress: Progress, tools: IngestTools
) -> None:
    store = spec.store
    transfer = Transfer(
        part.source, stage, store, progress, tools, algorithms=(),
        max_size_bytes=spec.max_size_bytes,
    )  # fmt: skip
    await store.run(stage.create, what=f"write into {spec.directory}")
    while True:
        try:
            await transfer.run()
            break
        except SourceRestartedError:
            await store.run(stage.restart)
    deadline_s = sync_deadline_s(stage.bytes_written, tools.install_s_per_gib)
    await store.run(stage.finish, deadline_s=deadline_s, what="sync the snapshot")
    await store.run(stage.close)


async def _clean_up(spec: SnapshotSpec, stages: list[Stage], reservation: Reservation) -> None:
    try:
        for stage in stages:
            await spec.store.run(stage.discard)
        async with spec.store.locks.hold(spec.directory):
            await spec.store.run(clean_up, reservation, ImageKind.SNAPSHOT)
    except StorageError as error:
        log.event(
            _logger, logging.WARNING, "temporary file left behind", path=reservation.temporary,
            reason=error.for_operators(),
        )  # fmt: skip
