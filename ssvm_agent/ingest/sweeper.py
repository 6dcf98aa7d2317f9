# SPDX-License-Identifier: Apache-2.0
"""Sweeping what interrupted work left in the stores (requirements R13).

Two brooms. The journal names the exact directory of each interrupted download; those are swept as
soon as it is clear that nobody will go on with them. And once for each store a walk looks for
anything else that carries our name and is older than this process, such as parts of uploads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from ssvm_agent import log
from ssvm_agent.host.tasks import BackgroundTasks
from ssvm_agent.ingest.install import sweep
from ssvm_agent.ingest.job import Job
from ssvm_agent.ingest.tools import IngestTools
from ssvm_agent.storage.errors import StorageError
from ssvm_agent.storage.stores import Store
from ssvm_agent.storage.sweeps import sweep_own_temporaries

_logger = logging.getLogger(__name__)


class Sweeper:
    """Cleans the stores it has met.

    Args:
        tools: Clock and our name.
        tasks: Owns the sweeps.
    """

    def __init__(self, tools: IngestTools, tasks: BackgroundTasks) -> None:
        self._tools = tools
        self._tasks = tasks
        self._started_s = tools.clock.monotonic()
        self._stores: dict[str, Store] = {}

    def met(self, key: str, store: Store, keep_jobs: Callable[[], Collection[str]]) -> None:
        """A store became reachable; the first time it is walked through.

        Args:
            key: Its name in the keys of jobs.
            store: The store.
            keep_jobs: Ids of the jobs whose files are of use.
        """
        if key not in self._stores:
            self._tasks.start(self._walk(store, keep_jobs), name=f"sweep {store.directory_name}")
        self._stores[key] = store

    def clean(self, job: Job) -> None:
        """Nobody will go on with a job: remove its files, if its store was met."""
        store = self._stores.get(job.key.store)
        if store is not None:
            self._tasks.start(self._clean(job, store), name=f"sweep {job.job_id}")

    async def _walk(self, store: Store, keep_jobs: Callable[[], Collection[str]]) -> None:
        try:
            swept = await sweep_own_temporaries(
                store, owner=self._tools.owner, keep_jobs=keep_jobs(),
                running_s=self._tools.clock.monotonic() - self._started_s,
            )  # fmt: skip
        except StorageError as error:
            log.event(
                _logger, logging.WARNING, "sweep failed", store=store.ref.display,
                reason=error.for_operators(),
            )  # fmt: skip
            return
        for path in swept:
            log.event(_logger, logging.INFO, "temporary file swept", path=path)

    async def _clean(self, job: Job, store: Store) -> None:
        try:
            async with store.locks.hold(job.key.directory):
                if not job.is_running:
                    await store.run(
                        sweep, store.root, job.key.directory, job.kind,
                        owner=self._tools.owner, job_id=job.job_id,
                    )  # fmt: skip
        except StorageError as error:
            log.event(
                _logger, logging.WARNING, "sweep failed", job=job.job_id,
                reason=error.for_operators(),
            )  # fmt: skip
