# SPDX-License-Identifier: Apache-2.0
"""The answer to a command that failed: always its own class, never blank (requirements R14).

The shapes differ because the management server reads different fields of each class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ssvm_agent.errors import AgentError
from ssvm_agent.messages.base import Answer, Command
from ssvm_agent.messages.delete import BackupDeleteAnswer, DeleteCommand
from ssvm_agent.messages.download import (
    DownloadAnswer,
    DownloadCommand,
    DownloadProgressCommand,
)
from ssvm_agent.messages.names import BrowserUploadStatus, DownloadStatus, FtpUploadStatus
from ssvm_agent.messages.objects import BackupDeltaTO
from ssvm_agent.messages.upload import UploadAnswer, UploadProgressCommand, UploadStatusAnswer

OnError = Callable[[Command | None, AgentError], Answer]
"""Makes the answer of a failed command; the command is ``None`` when it could not be read."""


class InternalError(AgentError):
    """Something unforeseen; the log has the stack."""

    code = "internal"


class DeadlineError(AgentError):
    """A command took longer than it may."""

    code = "deadline"


class BusyError(AgentError):
    """Too many commands wait already."""

    code = "busy"


class StoppingError(AgentError):
    """The agent stops while the command runs."""

    code = "stopping"


class UnreadableCommandError(AgentError):
    """A field of a known command cannot be read."""

    code = "unreadable"


def text_of(error: AgentError) -> str:
    """The sentence for ``details``; never blank."""
    return error.message.strip() or f"The command failed ({error.code})."


def failure_for(answer: type[Answer]) -> OnError:
    """The default :data:`OnError` of an answer class."""
    return _SHAPES.get(answer) or (
        lambda _command, error: answer(result=False, details=text_of(error))
    )


def download_failure(command: Command | None, error: AgentError) -> DownloadAnswer:
    """A failed download: ``result`` stays true, the status tells (storage-commands.md 4.2, 4.4).

    The asked job id is kept, because answers with another one are ignored by the server.
    """
    text = text_of(error)
    job_id = command.job_id if isinstance(command, DownloadProgressCommand) else None
    install_path = command.install_path if isinstance(command, DownloadCommand) else None
    return DownloadAnswer(
        job_id=job_id,
        error_string=text,
        details=text,
        download_status=DownloadStatus.DOWNLOAD_ERROR,
        install_path=install_path,
    )


def upload_failure(command: Command | None, error: AgentError) -> UploadAnswer:
    """A failed upload to an FTP server (storage-commands.md 3.6)."""
    text = text_of(error)
    job_id = command.job_id if isinstance(command, UploadProgressCommand) else None
    return UploadAnswer(
        job_id=job_id,
        error_string=text,
        details=text,
        result=False,
        upload_status=FtpUploadStatus.UPLOAD_ERROR,
    )


def upload_status_failure(_command: Command | None, error: AgentError) -> UploadStatusAnswer:
    """The state of a browser upload cannot be told now.

    UNKNOWN, not ERROR: the server gives an upload up for good when it reads ERROR.
    """
    return UploadStatusAnswer(
        status=BrowserUploadStatus.UNKNOWN, result=False, details=text_of(error)
    )


def delete_failure(command: Command | None, error: AgentError) -> Answer:
    """A failed delete; backups have an answer class of their own (storage-commands.md 3.13)."""
    if isinstance(command, DeleteCommand) and isinstance(command.data, BackupDeltaTO):
        return BackupDeleteAnswer(result=False, details=text_of(error), backup_id=command.data.id)
    return Answer(result=False, details=text_of(error))


_SHAPES: Final[dict[type[Answer], OnError]] = {
    DownloadAnswer: download_failure,
    UploadAnswer: upload_failure,
    UploadStatusAnswer: upload_status_failure,
}
