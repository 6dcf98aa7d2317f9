# SPDX-License-Identifier: Apache-2.0
"""FTP uploads, which no server asks for any more (storage-commands.md 3.6)."""

from __future__ import annotations

from ssvm_agent.dispatch.registry import Lane
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.messages.names import FtpUploadStatus
from ssvm_agent.messages.upload import UploadAnswer, UploadCommand, UploadProgressCommand

_REFUSAL = (
    "Uploading to an FTP server is not supported; publish the file for download over HTTPS instead."
)


@REGISTRY.command(UploadCommand, UploadAnswer, lane=Lane.CONTROL, changes=False)
async def upload(command: UploadCommand, services: Services) -> UploadAnswer:  # noqa: ARG001 - nothing is done
    """Say what to do instead."""
    return _refused(command, job_id=None)


@REGISTRY.command(UploadProgressCommand, UploadAnswer, lane=Lane.CONTROL, changes=False)
async def progress(command: UploadProgressCommand, services: Services) -> UploadAnswer:  # noqa: ARG001 - nothing is done
    """There is no such job; the asked id is kept, or the server would ignore the answer."""
    return _refused(command, job_id=command.job_id)


def _refused(command: UploadCommand, *, job_id: str | None) -> UploadAnswer:
    return UploadAnswer(
        result=False,
        details=_REFUSAL,
        job_id=job_id,
        error_string=_REFUSAL,
        upload_status=FtpUploadStatus.UPLOAD_ERROR,
        install_path=command.install_path,
        template_size=command.template_size_in_bytes,
    )
