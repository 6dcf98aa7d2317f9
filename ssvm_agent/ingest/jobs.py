# SPDX-License-Identifier: Apache-2.0
"""The table of download jobs: start or join, look up, abort, restart, purge, survive a restart.

Jobs belong to the process, not to a connection: the management server may lose its link, come back
and ask on (agent-lifecycle.md 3.3). One job at most is at work for one install directory; whoever
orders the same download again joins it. A bounded number run at the same time, the others wait.

After a restart the journal brings finished jobs back as they were, and unfinished ones as
interrupted: the next question about one, or the next order for the same place, takes it up under
its old id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final
from uuid import uuid4

from ssvm_agent.errors import AgentError
from ssvm_agent.host.tasks import BackgroundTasks, KeyedLocks
from ssvm_agent.ingest import pipeline, snapshots
from ssvm_agent.ingest.errors import AbortedError, IngestError
from ssvm_agent.ingest.job import Job, JobKey, JobOrder, JobState, JobStatus, Ticket
from ssvm_agent.ingest.journal import Journal
from ssvm_agent.ingest.progress import Progress
from ssvm_agent.ingest.source import ResumePoint
from ssvm_agent.ingest.spec import Installed, SnapshotSpec
from ssvm_agent.ingest.sweeper import Sweeper
from ssvm_agent.ingest.tools import IngestTools
from ssvm_agent.storage.layout import StoreUrl
from ssvm_agent.storage.stores import Store

_logger = logging.getLogger(__name__)

# Long after the management server stopped asking (storage-commands.md 11.11).
_KEPT: Final = timedelta(hours=6)
# An abort waits this long for its job to clean up before it answers.
_ABORT_WAIT_S: Final = 3.0


def store_key(url: StoreUrl) -> str:
    """What identifies a store in a :class:`JobKey`, without asking the network."""
    return f"{url.scheme}://{url.host.lower()}{url.path}"


class JobTable:
    """All download jobs of this agent.

    Args:
        tools: Equipment of the pipeline; also what handlers make sources with.
        tasks: Owns the running jobs.
        journal: Remembers them.
        max_concurrent: How many are at work at the same time.
        new_id: Makes job ids.
    """

    def __init__(
        self,
        *,
        tools: IngestTools,
        tasks: BackgroundTasks,
        journal: Journal,
        max_concurrent: int = 50,
        new_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        self.tools = tools
        self._tasks = tasks
        self._journal = journal
        self._slots = asyncio.Semaphore(max_concurrent)
        self._new_id = new_id
        self._by_id: dict[str, Job] = {}
        self._by_key: dict[JobKey, Job] = {}
        self._sweeper = Sweeper(tools, tasks)
        self._starting = KeyedLocks()
        self._closing = False

    async def load(self) -> None:
        """Take over what an earlier process left in the journal."""
        for job in await self._journal.load():
            self._by_id[job.job_id] = job
            if job.interrupted:
                self._by_key[job.key] = job
                if job.ended_at is None:
                    job.ended_at = self.tools.clock.now()
        await self._forget_old()

    def all(self) -> tuple[Job, ...]:
        """Every job that can be asked about."""
        return tuple(self._by_id.values())

    def get(self, job_id: str) -> Job | None:
        """The job of an id; ids are compared without regard to case (storage-commands.md 4.4)."""
        return self._by_id.get(job_id.lower())

    async def start(self, order: JobOrder) -> Job:
        """Start a download, or join or take up the one that is on its way to the same place."""
        await self._forget_old()
        async with self._starting.hold(order.key):
            return await self._start(order)

    async def _start(self, order: JobOrder) -> Job:
        present = self._by_key.get(order.key)
        if present is not None and present.is_running:
            if present.fingerprint == order.fingerprint:
                return present
            await self.abort(present)
        job = await self._take_up(present, order) or Job(
            job_id=self._new_id().lower(),
            key=order.key,
            kind=order.kind,
            fingerprint=order.fingerprint,
        )
        job.make_spec = order.make_spec
        self._begin(job)
        return job

    async def _take_up(self, present: Job | None, order: JobOrder) -> Job | None:
        """The interrupted job of the same place, when it is for the same download."""
        if present is None or not present.interrupted:
            return None
        if present.fingerprint == order.fingerprint:
            return present
        await self._forget(present)
        return None

    async def restart(self, job: Job, order: JobOrder) -> Job:
        """Stop a job and run it again from the beginning under the same id.

        Differs: storage-commands.md 4.3; the job really runs again.
        """
        await self.abort(job)
        if job.handle is not None and not job.handle.done():
            # Its store hangs; two runs of one job must not meet.
            return job
        job.make_spec = order.make_spec
        job.fingerprint = order.fingerprint
        job.resume = None
        self._begin(job)
        return job

    async def abort(self, job: Job) -> JobState:
        """Stop a job that is under way; one that has ended stays as it is."""
        if job.interrupted:
            job.interrupted = False
            self._end(job, JobStatus.ABORTED, AbortedError("The download was aborted"))
            await self._journal.save(job)
            self._sweeper.clean(job)
        elif job.is_running and job.handle is not None:
            job.handle.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ABORT_WAIT_S):
                    await job.handle.wait()
            if job.is_running:
                # It had not begun, or its store hangs and it cleans up when that lets go.
                self._end(job, JobStatus.ABORTED, AbortedError("The download was aborted"))
                job.ended.set()
        return job.snapshot()

    async def purge(self, job: Job) -> JobState:
        """Stop a job if need be, forget it, and say how it stood."""
        state = await self.abort(job)
        await self._forget(job)
        return state

    async def close(self) -> None:
        """Stop all jobs; those that can be continued keep what they have for the next process."""
        self._closing = True
        for job in self.all():
            if job.is_running and job.handle is not None:
                job.progress.keep_partial = True
                job.handle.cancel()
        for job in self.all():
            if job.handle is not None and not job.handle.done():
                await job.handle.wait()

    def store_attached(self, store: Store) -> None:
        """A store became reachable: sweep what is left there and of no use."""
        self._sweeper.met(store_key(store.url), store, self._useful)
        for job in self.all():
            if job.interrupted and job.resume is None:
                self._sweeper.clean(job)

    def _useful(self) -> list[str]:
        """Ids of the jobs whose temporary files are at work or can be continued."""
        return [
            job.job_id for job in self.all() if job.is_running or (job.interrupted and job.resume)
        ]

    def _begin(self, job: Job) -> None:
        job.status = JobStatus.NOT_STARTED
        job.progress = Progress()
        job.error = job.installed = job.ended_at = None
        job.interrupted = False
        job.ended.clear()
        self._by_id[job.job_id] = job
        self._by_key[job.key] = job
        job.handle = self._tasks.start(self._run(job), name=f"download {job.job_id}")

    async def _run(self, job: Job) -> None:
        """Work on a job to its end, on record before anybody is told of it."""
        try:
            await self._work(job)
        finally:
            job.ended.set()

    async def _work(self, job: Job) -> None:
        """The edge of a job: whatever happens inside becomes its state."""
        try:
            async with self._slots:
                job.status = JobStatus.IN_PROGRESS
                await self._journal.save(job)
                job.installed = await self._ingest(job)
            self._end(job, JobStatus.FINISHED)
        except AgentError as error:
            self._end(job, JobStatus.FAILED, error)
        except asyncio.CancelledError:
            if self._closing:
                await self._journal.save(job)
            else:
                self._end(job, JobStatus.ABORTED, AbortedError("The download was aborted"))
                await self._journal.save(job)
            raise
        except Exception as error:
            _logger.exception("download failed unexpectedly job=%s", job.job_id)
            self._end(
                job,
                JobStatus.FAILED,
                IngestError(
                    "The agent failed on this image; its log says why", detail=type(error).__name__
                ),
            )
        await self._journal.save(job)

    async def _ingest(self, job: Job) -> Installed:
        if job.make_spec is None:
            raise IngestError("The download has no order")

        async def remember(point: ResumePoint) -> None:
            job.resume = point
            await self._journal.save(job)

        spec = await job.make_spec(Ticket(job_id=job.job_id, resume=job.resume))
        if isinstance(spec, SnapshotSpec):
            return await snapshots.run(spec, job.progress, self.tools)
        return await pipeline.run(spec, job.progress, self.tools, on_checkpoint=remember)

    def _end(self, job: Job, status: JobStatus, error: AgentError | None = None) -> None:
        if not job.status.is_final:
            self.tools.traffic.ended[error.code if error else status.value] += 1
        job.status = status
        job.error = error
        job.resume = None
        job.ended_at = self.tools.clock.now()
        if self._by_key.get(job.key) is job:
            del self._by_key[job.key]

    async def _forget_old(self) -> None:
        oldest = self.tools.clock.now() - _KEPT
        for job in self.all():
            if not job.is_running and job.ended_at is not None and job.ended_at < oldest:
                await self._forget(job)

    async def _forget(self, job: Job) -> None:
        self._by_id.pop(job.job_id, None)
        if job.interrupted:
            self._sweeper.clean(job)
        if self._by_key.get(job.key) is job:
            del self._by_key[job.key]
        await self._journal.remove(job.job_id)
