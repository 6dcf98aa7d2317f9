# SPDX-License-Identifier: Apache-2.0
"""UploadStatusCommand: how far a browser upload is (storage-commands.md 5.6)."""

from __future__ import annotations

from typing import assert_never

from ssvm_agent.dispatch.registry import Lane
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.handlers.mapping import required
from ssvm_agent.handlers.ovf_mapping import ovf_information
from ssvm_agent.messages.names import BrowserUploadStatus
from ssvm_agent.messages.upload import UploadStatusAnswer, UploadStatusCommand
from ssvm_agent.web.upload_table import Upload, UploadState


@REGISTRY.command(UploadStatusCommand, UploadStatusAnswer, lane=Lane.CONTROL)
async def handle(command: UploadStatusCommand, services: Services) -> UploadStatusAnswer:
    """The state of one upload; with ``abort`` (4.23) one in progress is stopped first."""
    uuid = required(command.entity_uuid, "entityUuid")
    if services.web is None:
        return UploadStatusAnswer(status=BrowserUploadStatus.UNKNOWN)
    uploads = services.web.uploads
    if command.abort:
        uploads.abort(uuid, services.clock.now())
    upload = uploads.find(uuid)
    if upload is None:
        return UploadStatusAnswer(status=BrowserUploadStatus.UNKNOWN)
    return _answer(upload)


def _answer(upload: Upload) -> UploadStatusAnswer:
    match upload.state:
        case UploadState.IN_PROGRESS:
            # Compat: storage-commands.md 12: the size so far is what 4.23 compares with the quota.
            return UploadStatusAnswer(
                status=BrowserUploadStatus.IN_PROGRESS,
                download_percent=upload.percent,
                physical_size=upload.progress.bytes_written,
            )
        case UploadState.ERROR:
            return UploadStatusAnswer(
                status=BrowserUploadStatus.ERROR, result=False, details=upload.message
            )
        case UploadState.COMPLETED:
            result = upload.result
            assert result is not None
            return UploadStatusAnswer(
                status=BrowserUploadStatus.COMPLETED,
                download_percent=upload.percent,
                virtual_size=result.virtual_size_bytes,
                physical_size=result.physical_size_bytes,
                install_path=result.install_path,
                ovf_information=(
                    ovf_information(result.ovf, result.disks, result.directory)
                    if result.ovf
                    else None
                ),
            )
        case _:
            assert_never(upload.state)
