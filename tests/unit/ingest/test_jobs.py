# SPDX-License-Identifier: Apache-2.0
"""The table of jobs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.ingest.errors import SourceFailedError
from ssvm_agent.ingest.job import JobKey, JobOrder, JobStatus, Ticket
from ssvm_agent.ingest.jobs import store_key
from ssvm_agent.ingest.progress import Progress
from ssvm_agent.ingest.source import BytesLike, ResumePoint
from ssvm_agent.ingest.spec import IngestSpec
from ssvm_agent.storage.layout import ImageKind
from tests.fakes.ingest import DIRECTORY, BytesSource, Rig, ingest_rig
from tests.fakes.machine import until
from tests.fixtures import hostile_images

MIB = 1 << 20
BODY = os.urandom(2 * MIB)


@dataclass
class GatedSource(BytesSource):
    """Delivers its last piece when the gate opens."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(
        self, progress: Progress, *, resume: ResumePoint | None = None
    ) -> AsyncGenerator[BytesLike, None]:
        self.opened += 1
        self.resumed = resume
        body = b"".join(self.pieces)[resume.offset if resume else 0 :]
        for at in range(0, len(body) - 1, MIB):
            yield body[at : min(at + MIB, len(body) - 1)]
        await self.gate.wait()
        yield body[-1:]


def order(
    rig: Rig, source: BytesSource, *, directory: str = DIRECTORY, fingerprint: str = "f"
) -> JobOrder:
    async def make_spec(ticket: Ticket) -> IngestSpec:
        return rig.spec(source, job_id=ticket.job_id, resume=ticket.resume, directory=directory)

    return JobOrder(
        key=JobKey(store=store_key(rig.store.url), directory=directory),
        kind=ImageKind.TEMPLATE,
        fingerprint=fingerprint,
        make_spec=make_spec,
    )


async def test_a_short_job_is_finished_in_the_first_answer(rig: Rig) -> None:
    """storage-commands.md 4.3 step 4, 11.1."""
    job = await rig.ingest.jobs.start(order(rig, BytesSource([BODY])))
    state = await job.settled(within_s=20)
    assert state.state is JobStatus.FINISHED
    assert (state.percent, state.bytes_done) == (100, len(BODY))
    assert state.message == "Install completed successfully at 11/23/26, 3:11 AM"
    assert state.installed is not None
    assert state.install_path == state.installed.install_path
    assert rig.ingest.jobs.get(job.job_id.upper()) is job


async def test_a_long_job_is_answered_in_time(rig: Rig) -> None:
    source = GatedSource([BODY], size=len(BODY))
    job = await rig.ingest.jobs.start(order(rig, source))
    await until(lambda: job.progress.bytes_expected)
    state = await job.settled(within_s=0)
    assert state.state is JobStatus.IN_PROGRESS
    assert state.install_path == DIRECTORY
    source.gate.set()
    assert (await job.settled(within_s=20)).state is JobStatus.FINISHED


async def test_the_same_order_joins_the_running_job(rig: Rig) -> None:
    """agent-lifecycle.md 3.3: a DownloadCommand for a path being fetched joins that job."""
    source = GatedSource([BODY])
    jobs = rig.ingest.jobs
    first = await jobs.start(order(rig, source))
    assert await jobs.start(order(rig, source)) is first
    elsewhere = await jobs.start(order(rig, BytesSource([BODY]), directory="template/tmpl/2/9"))
    assert elsewhere is not first
    source.gate.set()
    await first.settled(20)
    assert source.opened == 1
    again = await jobs.start(order(rig, BytesSource([BODY])))
    assert again.job_id != first.job_id


async def test_another_url_for_the_same_place_replaces_the_job(rig: Rig) -> None:
    jobs = rig.ingest.jobs
    first = await jobs.start(order(rig, GatedSource([BODY])))
    second = await jobs.start(order(rig, BytesSource([BODY]), fingerprint="g"))
    assert first.status is JobStatus.ABORTED
    assert (await second.settled(20)).state is JobStatus.FINISHED


async def test_a_failure_is_told_and_kept(rig: Rig) -> None:
    """requirements R14."""
    source = BytesSource([BODY], failure=SourceFailedError("the host is gone", detail="x"))
    job = await rig.ingest.jobs.start(order(rig, source))
    state = await job.settled(20)
    assert (state.state, state.message) == (JobStatus.FAILED, "the host is gone")
    assert not rig.directory.exists()


async def test_ends_are_counted_by_their_kind(rig: Rig) -> None:
    failing = BytesSource([BODY], failure=SourceFailedError("gone"))
    for number, source in enumerate((BytesSource([BODY]), failing)):
        job = await rig.ingest.jobs.start(
            order(rig, source, directory=f"template/tmpl/2/30{number}")
        )
        await job.settled(within_s=20)
    waiting = await rig.ingest.jobs.start(order(rig, GatedSource([BODY])))
    await until(lambda: waiting.progress.bytes_received)
    await rig.ingest.jobs.abort(waiting)
    await rig.ingest.jobs.abort(waiting)
    assert rig.ingest.jobs.tools.traffic.ended == {
        "finished": 1, "source-failed": 1, "aborted": 1,
    }  # fmt: skip


async def test_an_unforeseen_failure_is_a_sentence_too(rig: Rig) -> None:
    source = BytesSource([BODY], failure=ZeroDivisionError("secret"))
    job = await rig.ingest.jobs.start(order(rig, source))
    state = await job.settled(20)
    assert state.state is JobStatus.FAILED
    assert "secret" not in state.message
    assert not rig.directory.exists()


async def test_abort_stops_and_cleans_up(rig: Rig) -> None:
    jobs = rig.ingest.jobs
    job = await jobs.start(order(rig, GatedSource([BODY])))
    await until(lambda: job.progress.bytes_written)
    state = await jobs.abort(job)
    assert state.state is JobStatus.ABORTED
    assert state.message
    assert not rig.directory.exists()
    assert (await jobs.abort(job)).state is JobStatus.ABORTED


async def test_restart_runs_again_under_the_same_id(rig: Rig) -> None:
    jobs = rig.ingest.jobs
    source = GatedSource([BODY])
    job = await jobs.start(order(rig, source))
    await until(lambda: job.progress.bytes_written)
    source.gate.set()
    assert await jobs.restart(job, order(rig, source)) is job
    assert (await job.settled(20)).state is JobStatus.FINISHED
    assert source.opened == 2


async def test_purge_answers_and_forgets(rig: Rig) -> None:
    jobs = rig.ingest.jobs
    job = await jobs.start(order(rig, BytesSource([BODY])))
    await job.settled(20)
    assert (await jobs.purge(job)).state is JobStatus.FINISHED
    assert jobs.get(job.job_id) is None
    assert not list((rig.settings.state_dir / "jobs").iterdir())
    running = await jobs.start(order(rig, GatedSource([BODY])))
    assert (await jobs.purge(running)).state is JobStatus.ABORTED
    assert jobs.all() == ()


async def test_finished_jobs_are_forgotten_after_hours(rig: Rig) -> None:
    """storage-commands.md 11.11."""
    jobs = rig.ingest.jobs
    job = await jobs.start(order(rig, BytesSource([BODY])))
    await job.settled(20)
    rig.clock.advance(5 * 3600)
    await jobs.start(order(rig, BytesSource([BODY]), directory="template/tmpl/2/9"))
    assert jobs.get(job.job_id) is job
    rig.clock.advance(2 * 3600)
    await jobs.start(order(rig, BytesSource([BODY]), directory="template/tmpl/2/10"))
    assert jobs.get(job.job_id) is None


async def test_only_so_many_run_at_the_same_time(tmp_path: Path) -> None:
    async with ingest_rig(tmp_path, max_concurrent=2) as rig:
        sources = [GatedSource([BODY]) for _ in range(3)]
        jobs = [
            await rig.ingest.jobs.start(order(rig, source, directory=f"template/tmpl/2/{n}"))
            for n, source in enumerate(sources)
        ]
        await until(lambda: all(job.progress.bytes_written for job in jobs[:2]))
        waiting = jobs[2].snapshot()
        assert waiting.state is JobStatus.NOT_STARTED
        assert "Waiting" in waiting.message
        for source in sources:
            source.gate.set()
        for job in jobs:
            assert (await job.settled(20)).state is JobStatus.FINISHED


async def test_a_finished_job_is_known_to_the_next_process(tmp_path: Path) -> None:
    """requirements R35: progress queries for old job ids are answered."""
    async with ingest_rig(tmp_path) as rig:
        job = await rig.ingest.jobs.start(order(rig, BytesSource([BODY])))
        before = await job.settled(20)
        failed = await rig.ingest.jobs.start(
            order(
                rig,
                BytesSource([BODY], failure=SourceFailedError("no more")),
                directory="template/tmpl/2/9",
            )
        )
        await failed.settled(20)
    async with ingest_rig(tmp_path) as rig:
        found = rig.ingest.jobs.get(job.job_id)
        assert found is not None
        after = found.snapshot()
        assert (after.state, after.installed, after.percent, after.message) == (
            before.state, before.installed, 100, before.message,
        )  # fmt: skip
        again = rig.ingest.jobs.get(failed.job_id)
        assert again is not None
        assert again.snapshot().message == "no more"


async def interrupted(tmp_path: Path, source: GatedSource) -> str:
    """Run a process that ends in the middle of a download; the job's id."""
    async with ingest_rig(tmp_path) as rig:
        job = await rig.ingest.jobs.start(order(rig, source))
        await until(lambda: job.progress.bytes_written >= MIB)
        return job.job_id


async def test_the_next_process_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    """requirements R35: resume with If-Range."""
    job_id = await interrupted(tmp_path, GatedSource([BODY], validator='"v1"'))
    async with ingest_rig(tmp_path) as rig:
        found = rig.ingest.jobs.get(job_id)
        assert found is not None
        assert found.interrupted
        rig.ingest.jobs.store_attached(rig.store)
        source = GatedSource([BODY], validator='"v1"')
        source.gate.set()
        job = await rig.ingest.jobs.start(order(rig, source))
        assert job is found
        state = await job.settled(20)
        assert state.state is JobStatus.FINISHED
        assert source.resumed == ResumePoint(offset=MIB, validator='"v1"')
        assert state.installed is not None
        assert (rig.root / state.installed.install_path).read_bytes() == BODY
        assert state.installed.checksum_text.endswith(hashlib.sha512(BODY).hexdigest())


async def test_what_cannot_be_continued_is_swept_when_the_store_is_back(tmp_path: Path) -> None:
    """requirements R13: our own temporaries are swept, those of others are not."""
    await interrupted(tmp_path, GatedSource([BODY]))
    async with ingest_rig(tmp_path) as rig:
        directory = rig.directory
        # Nothing to go on with: the shutdown removed it. Put back what a kill would have left.
        directory.mkdir(parents=True, exist_ok=True)
        [job] = rig.ingest.jobs.all()
        own = directory / f"dnld.s-1-VM.{job.job_id}.tmp_"
        part = directory / f"dnld.s-1-VM.{job.job_id}-0.tmp_"
        foreign = directory / f"dnld.s-2-VM.{job.job_id}.tmp_"
        for path in (own, part, foreign, directory / "template.properties"):
            path.touch()
        rig.ingest.jobs.store_attached(rig.store)
        await until(lambda: not own.exists() and not part.exists())
        # The mark belongs to whoever is still at work there.
        assert foreign.exists()
        assert (directory / "template.properties").exists()


async def test_old_temporaries_without_a_job_are_swept_once_for_each_store(rig: Rig) -> None:
    """requirements R13."""
    rig.directory.mkdir(parents=True)
    own = rig.directory / "dnld.s-1-VM.lost-job.tmp_"
    foreign = rig.directory / "dnld.s-2-VM.lost-job.tmp_"
    running = await rig.ingest.jobs.start(
        order(rig, GatedSource([BODY]), directory="template/tmpl/2/9")
    )
    await until(lambda: running.progress.bytes_written)
    at_work = Path(running.progress.temporary_path)
    for path in (own, foreign, at_work):
        path.touch()
    # As if the process had begun only after that.
    rig.clock.advance(-60)
    rig.ingest.jobs.store_attached(rig.store)
    await until(lambda: not own.exists())
    own.touch()
    rig.ingest.jobs.store_attached(rig.store)
    await rig.ingest.jobs.purge(running)
    assert own.exists()
    assert foreign.exists()


async def test_a_purged_interrupted_job_leaves_nothing(tmp_path: Path) -> None:
    job_id = await interrupted(tmp_path, GatedSource([BODY], validator='"v1"'))
    async with ingest_rig(tmp_path) as rig:
        rig.ingest.jobs.store_attached(rig.store)
        job = rig.ingest.jobs.get(job_id)
        assert job is not None
        await rig.ingest.jobs.purge(job)
        await until(lambda: not rig.directory.exists())


async def test_two_orders_at_once_make_one_job(rig: Rig) -> None:
    orders = [order(rig, GatedSource([BODY]), fingerprint=str(n % 2)) for n in range(6)]
    jobs = await asyncio.gather(*(rig.ingest.jobs.start(each) for each in orders))
    assert len([job for job in rig.ingest.jobs.all() if job.is_running]) == 1
    assert jobs[-1].is_running


async def test_an_interrupted_job_for_another_url_is_not_continued(tmp_path: Path) -> None:
    job_id = await interrupted(tmp_path, GatedSource([BODY], validator='"v1"'))
    async with ingest_rig(tmp_path) as rig:
        rig.ingest.jobs.store_attached(rig.store)
        job = await rig.ingest.jobs.start(order(rig, BytesSource([BODY]), fingerprint="g"))
        assert job.job_id != job_id
        await job.settled(20)
        assert rig.ingest.jobs.get(job_id) is None
        await until(lambda: len(rig.files()) == 2)


async def test_an_interrupted_job_can_be_aborted(tmp_path: Path) -> None:
    job_id = await interrupted(tmp_path, GatedSource([BODY], validator='"v1"'))
    async with ingest_rig(tmp_path) as rig:
        job = rig.ingest.jobs.get(job_id)
        assert job is not None
        assert (await rig.ingest.jobs.abort(job)).state is JobStatus.ABORTED


async def test_the_journal_holds_no_url_and_ignores_what_it_does_not_understand(
    tmp_path: Path,
) -> None:
    """requirements R25."""
    async with ingest_rig(tmp_path) as rig:
        job = await rig.ingest.jobs.start(order(rig, BytesSource([BODY])))
        await job.settled(20)
        directory = rig.settings.state_dir / "jobs"
        [path] = directory.iterdir()
        assert path.stat().st_mode & 0o777 == 0o600
        record = json.loads(path.read_text())
        assert "url" not in record
        for name, text in [
            ("a", "{"), ("b", "[]"), ("c", "{}"), ("d", json.dumps(record | {"format": 2})),
            ("e", json.dumps(record | {"status": "odd"})), ("f", "[" * 10000),
        ]:  # fmt: skip
            (directory / f"{name}.json").write_text(text)
    async with ingest_rig(tmp_path) as rig:
        assert len(rig.ingest.jobs.all()) == 1


async def test_what_an_ovf_says_is_known_after_a_restart(tmp_path: Path) -> None:
    """storage-commands.md 4.4: the purge, which carries it, may meet the next process."""
    ova = hostile_images.ova()
    async with ingest_rig(tmp_path) as rig:

        async def make_spec(ticket: Ticket) -> IngestSpec:
            return rig.spec(BytesSource([ova]), job_id=ticket.job_id, image_format=ImageFormat.OVA)

        base = order(rig, BytesSource([]))
        job = await rig.ingest.jobs.start(replace(base, make_spec=make_spec))
        before = (await job.settled(20)).installed
        assert before is not None
        assert before.ovf is not None
        assert before.disks
    async with ingest_rig(tmp_path) as rig:
        again = rig.ingest.jobs.get(job.job_id)
        assert again is not None
        state = await rig.ingest.jobs.purge(again)
        assert state.installed == before
        assert state.temporary_path.startswith(str(rig.store.root / DIRECTORY))


async def test_trouble_with_the_local_disk_does_not_stop_a_download(tmp_path: Path) -> None:
    async with ingest_rig(tmp_path) as rig:
        (rig.settings.state_dir / "jobs").parent.mkdir(parents=True, exist_ok=True)
        (rig.settings.state_dir / "jobs").write_text("in the way")
        job = await rig.ingest.jobs.start(order(rig, BytesSource([BODY])))
        assert (await job.settled(20)).state is JobStatus.FINISHED


async def test_opening_the_store_is_part_of_the_job(rig: Rig) -> None:
    """A mount that hangs costs the job, not the answer."""

    async def failing(ticket: Ticket) -> IngestSpec:
        raise SourceFailedError("the store does not answer")

    make: Callable[[Ticket], Awaitable[IngestSpec]] = failing
    base = order(rig, BytesSource([]))
    job = await rig.ingest.jobs.start(
        JobOrder(key=base.key, kind=base.kind, fingerprint="f", make_spec=make)
    )
    assert (await job.settled(20)).message == "the store does not answer"


@pytest.mark.parametrize("status", list(JobStatus))
async def test_failed_and_finished_jobs_always_say_something(rig: Rig, status: JobStatus) -> None:
    job = await rig.ingest.jobs.start(order(rig, BytesSource([BODY])))
    await job.settled(20)
    job.status, job.error, job.ended_at = status, None, None
    assert job.snapshot().message or status is JobStatus.IN_PROGRESS
