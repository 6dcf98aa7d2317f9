# SPDX-License-Identifier: Apache-2.0
"""Jobs on the machine's own disk, so that the next process knows their ids (requirements R35).

One small JSON file for each job. It holds no URL and no credentials: the management server repeats
those with every question, and a digest tells whether they are the same. Blocking work goes through
the given pool; trouble with the local disk costs the memory of a job, never the job.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ssvm_agent import log
from ssvm_agent.host.errors import PoolError
from ssvm_agent.host.files import atomic_write
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.images.ovf_record import MAX_RECORD_CHARS, from_record, to_record
from ssvm_agent.ingest.errors import IngestError
from ssvm_agent.ingest.job import Job, JobKey, JobStatus
from ssvm_agent.ingest.source import ResumePoint
from ssvm_agent.ingest.spec import Installed
from ssvm_agent.storage.layout import ImageKind

_logger = logging.getLogger(__name__)

_FORMAT: Final = 1
# A few hundred bytes, and what an OVF says, indented.
_MAX_FILE_BYTES: Final = 4 * MAX_RECORD_CHARS


class Journal:
    """A directory of job files.

    Args:
        directory: Made when the first job is written; readable for the agent only.
        pool: For the machine's own disk.
    """

    def __init__(self, directory: Path, pool: WorkPool) -> None:
        self._directory = directory
        self._pool = pool

    async def save(self, job: Job) -> None:
        """Write what is known about a job now."""
        data = json.dumps(_to_json(job), indent=1).encode()
        await self._try(self._write, job.job_id, data)

    async def remove(self, job_id: str) -> None:
        """Forget a job."""
        await self._try(self._unlink, job_id)

    async def load(self) -> list[Job]:
        """All jobs on record; files that make no sense are left alone and reported."""
        try:
            return await self._pool.call(self._read_all)
        except (OSError, PoolError) as error:
            log.event(_logger, logging.WARNING, "job journal not readable", reason=error)
            return []

    async def _try(self, fn: Any, *args: object) -> None:
        try:
            await self._pool.call(fn, *args)
        except (OSError, PoolError) as error:
            log.event(_logger, logging.WARNING, "job journal not writable", reason=error)

    def _write(self, job_id: str, data: bytes) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic_write(self._path(job_id), data, mode=0o600)

    def _unlink(self, job_id: str) -> None:
        self._path(job_id).unlink(missing_ok=True)

    def _path(self, job_id: str) -> Path:
        return self._directory / f"{job_id}.json"

    def _read_all(self) -> list[Job]:
        jobs: list[Job] = []
        if not self._directory.is_dir():
            return jobs
        for path in sorted(self._directory.glob("*.json")):
            try:
                with path.open("rb") as file:
                    jobs.append(_from_json(json.loads(file.read(_MAX_FILE_BYTES))))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                log.event(_logger, logging.WARNING, "job file not usable", path=path, reason=error)
        return jobs


def _to_json(job: Job) -> dict[str, Any]:
    installed = job.installed
    return {
        "format": _FORMAT,
        "job": job.job_id,
        "store": job.key.store,
        "directory": job.key.directory,
        "kind": job.kind.value,
        "fingerprint": job.fingerprint,
        "status": job.status.value,
        "ended": job.ended_at.isoformat() if job.ended_at else None,
        "error": job.error.message if job.error else None,
        "temporary": job.progress.temporary_path,
        "resume": (
            {"offset": job.resume.offset, "validator": job.resume.validator} if job.resume else None
        ),
        "installed": (
            {
                "path": installed.install_path,
                "virtual": installed.virtual_size_bytes,
                "physical": installed.physical_size_bytes,
                "checksum": installed.checksum_text,
                "ovf": to_record(installed.ovf, installed.disks),
            }
            if installed
            else None
        ),
    }


def _from_json(record: dict[str, Any]) -> Job:
    if record["format"] != _FORMAT:
        raise ValueError(f"format {record['format']}")
    status = JobStatus(record["status"])
    resume, installed = record["resume"], record["installed"]
    job = Job(
        job_id=str(record["job"]),
        key=JobKey(store=str(record["store"]), directory=str(record["directory"])),
        kind=ImageKind(record["kind"]),
        fingerprint=str(record["fingerprint"]),
        status=status,
        interrupted=not status.is_final,
        ended_at=datetime.fromisoformat(record["ended"]) if record["ended"] else None,
    )
    job.progress.temporary_path = str(record["temporary"])
    if resume:
        job.resume = ResumePoint(offset=int(resume["offset"]), validator=str(resume["validator"]))
    if installed:
        # An earlier agent did not write the OVF.
        ovf, disks = from_record(installed.get("ovf"))
        job.installed = Installed(
            install_path=str(installed["path"]),
            virtual_size_bytes=int(installed["virtual"]),
            physical_size_bytes=int(installed["physical"]),
            checksum_text=str(installed["checksum"]),
            ovf=ovf,
            disks=disks,
        )
    if record["error"]:
        job.error = IngestError(str(record["error"]))
    job.ended.set()
    return job
