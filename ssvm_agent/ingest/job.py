# SPDX-License-Identifier: Apache-2.0
"""One download job: its key, its states, and what it tells the outside. Starts nothing itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ssvm_agent.errors import AgentError
from ssvm_agent.host.tasks import TaskHandle
from ssvm_agent.ingest.progress import Phase, Progress
from ssvm_agent.ingest.source import ResumePoint
from ssvm_agent.ingest.spec import IngestSpec, Installed, SnapshotSpec
from ssvm_agent.storage.layout import ImageKind


class JobStatus(StrEnum):
    """Where a job is (storage-commands.md 4.2)."""

    NOT_STARTED = "not started"
    IN_PROGRESS = "in progress"
    INSTALLING = "installing"
    FINISHED = "finished"
    FAILED = "failed"
    ABORTED = "aborted"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self in _FINAL


_FINAL = frozenset({JobStatus.FINISHED, JobStatus.FAILED, JobStatus.ABORTED})
_INSTALLING = frozenset({Phase.VERIFY, Phase.INSTALL, Phase.PUBLISH})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobKey:
    """What two commands must have in common to mean the same download.

    Attributes:
        store: Identifies the store, the same for every spelling of its URL we meet.
        directory: Install directory relative to it.
    """

    store: str
    directory: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrder:
    """What a command orders.

    Attributes:
        key: Where it goes.
        kind: What it is.
        fingerprint: Digest of what is fetched; a job for the same place with another one is another
            download.
        make_spec: Opens the store and says the rest; called in the job, so it may take long.
    """

    key: JobKey
    kind: ImageKind
    fingerprint: str
    make_spec: SpecFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What a job hands to the maker of its specification."""

    job_id: str
    resume: ResumePoint | None


SpecFactory = Callable[[Ticket], Awaitable[IngestSpec | SnapshotSpec]]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """A job at one moment.

    Attributes:
        message: What a user should read; never empty for a failed or finished job.
        bytes_done: Received so far; the installed length once finished.
    """

    job_id: str
    state: JobStatus
    phase: Phase
    percent: int
    bytes_done: int
    bytes_expected: int | None
    message: str
    error: AgentError | None
    installed: Installed | None
    temporary_path: str
    install_path: str

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to the job by itself."""
        return self.state in {JobStatus.FINISHED, JobStatus.FAILED, JobStatus.ABORTED}


@dataclass(slots=True, eq=False)
class Job:
    """A job of this process, or what the journal remembers of one.

    Attributes:
        interrupted: The process that ran it ended; starting the same order takes it up.
        resume: From where a later process, or a restart, may go on.
    """

    job_id: str
    key: JobKey
    kind: ImageKind
    fingerprint: str
    status: JobStatus = JobStatus.NOT_STARTED
    progress: Progress = field(default_factory=Progress)
    error: AgentError | None = None
    installed: Installed | None = None
    resume: ResumePoint | None = None
    interrupted: bool = False
    ended_at: datetime | None = None
    make_spec: SpecFactory | None = None
    handle: TaskHandle | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_running(self) -> bool:
        """Whether it is queued or at work."""
        return not self.status.is_final and not self.interrupted

    async def settled(self, within_s: float) -> JobState:
        """The state once the job has ended, or after this time, whichever is first."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.ended.wait()
        return self.snapshot()

    def snapshot(self) -> JobState:
        """The state now."""
        status = self.status
        if status is JobStatus.IN_PROGRESS and self.progress.phase in _INSTALLING:
            status = JobStatus.INSTALLING
        finished = self.installed
        return JobState(
            job_id=self.job_id,
            state=status,
            phase=self.progress.phase,
            percent=100 if finished else self.progress.percent,
            bytes_done=(finished.physical_size_bytes if finished else self.progress.bytes_received),
            bytes_expected=self.progress.bytes_expected,
            message=self._message(status),
            error=self.error,
            installed=finished,
            temporary_path=self.progress.temporary_path,
            install_path=finished.install_path if finished else self.key.directory,
        )

    def _message(self, status: JobStatus) -> str:
        match status:
            case JobStatus.FAILED:
                return self.error.message if self.error else "The download failed"
            case JobStatus.FINISHED:
                return f"Install completed successfully at {_short_date(self.ended_at)}"
            case JobStatus.INSTALLING:
                return "Download success, starting install "
            case JobStatus.ABORTED:
                return "The download was aborted"
            case JobStatus.NOT_STARTED:
                return "Waiting for other downloads to finish"
            case JobStatus.IN_PROGRESS:
                return self.progress.note


def _short_date(moment: datetime | None) -> str:
    """``M/d/yy, h:mm AM`` (storage-commands.md 4.10 step 7)."""
    if moment is None:
        return "an unknown time"
    hour = moment.hour % 12 or 12
    half = "AM" if moment.hour < 12 else "PM"
    return f"{moment.month}/{moment.day}/{moment:%y}, {hour}:{moment.minute:02d} {half}"
