# SPDX-License-Identifier: Apache-2.0
"""Putting the ingest room together from settings; the only place here that reads them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ssvm_agent import __version__
from ssvm_agent.config.settings import DownloadSettings, HostKeyRule, Settings
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.tasks import BackgroundTasks
from ssvm_agent.ingest.client import HttpClient
from ssvm_agent.ingest.egress import EgressGuard
from ssvm_agent.ingest.hostkeys import HostKeys
from ssvm_agent.ingest.jobs import JobTable
from ssvm_agent.ingest.journal import Journal
from ssvm_agent.ingest.limits import TransferLimits
from ssvm_agent.ingest.proxy import Proxy
from ssvm_agent.ingest.sources.choose import SourceChooser
from ssvm_agent.ingest.sources.scp import ScpEquipment
from ssvm_agent.ingest.tools import IngestTools
from ssvm_agent.ingest.traffic import Traffic
from ssvm_agent.ingest.trust import TrustStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingest:
    """The room as others see it.

    Attributes:
        jobs: The download jobs; ``jobs.tools`` is the same object as ``tools``.
        tools: For those who run the pipeline themselves (uploads, copies).
    """

    jobs: JobTable
    tools: IngestTools


@asynccontextmanager
async def open_ingest(settings: Settings, *, clock: Clock, owner: str) -> AsyncIterator[Ingest]:
    """Build the room; leaving the context stops all jobs and keeps what can be continued.

    Args:
        settings: Of the agent.
        clock: Time.
        owner: Host name of this agent; names temporary files.
    """
    download = settings.download
    limits = transfer_limits(download)
    guard = EgressGuard(
        allowed_cidrs=download.allowed_internal_cidrs,
        blocked_cidrs=download.blocked_cidrs,
        allow_loopback=download.allow_loopback_sources,
    )
    outside = WorkPool("name resolution and certificates", threads=8)
    ssh = WorkPool("ssh sources", threads=8)
    files = WorkPool("file sources", threads=4)
    local = WorkPool("job journal", threads=1)
    digests = WorkPool("digests", threads=os.cpu_count() or 1)
    client = HttpClient(
        guard=guard,
        limits=limits,
        trust=TrustStore(download.ca_dir),
        pool=outside,
        user_agent=(
            f"CloudStack-Agent/{settings.reported_version} (Apache CloudStack) "
            f"ssvm-agent/{__version__}"
        ),
        proxy=Proxy.parse(download.proxy.reveal()) if download.proxy else None,
        no_proxy=download.no_proxy,
    )
    traffic = Traffic()
    host_keys = HostKeys(
        settings.state_dir / "known_hosts",
        trust_first_use=download.scp_host_keys is HostKeyRule.FIRST_USE,
    )
    tools = IngestTools(
        clock=clock,
        owner=owner,
        digest_pool=digests,
        sources=SourceChooser(
            client=client,
            scp=ScpEquipment(guard=guard, pool=ssh, limits=limits, host_keys=host_keys),
            file_pool=files,
            mount_root=settings.mount_root,
            limits=limits,
            clock=clock,
            traffic=traffic,
        ),
        guard=guard,
        traffic=traffic,
        install_s_per_gib=download.install_timeout_per_gib_s,
    )
    try:
        async with client, BackgroundTasks() as tasks:
            jobs = JobTable(
                tools=tools,
                tasks=tasks,
                journal=Journal(settings.state_dir / "jobs", local),
                max_concurrent=download.max_concurrent,
            )
            await jobs.load()
            try:
                yield Ingest(jobs=jobs, tools=tools)
            finally:
                await jobs.close()
    finally:
        for pool in (outside, ssh, files, local, digests):
            pool.close()


def transfer_limits(download: DownloadSettings) -> TransferLimits:
    """The limits the settings ask for."""
    return TransferLimits(
        connect_timeout_s=download.connect_timeout_s,
        header_timeout_s=download.header_timeout_s,
        idle_timeout_s=download.idle_timeout_s,
        min_speed_bytes_s=download.min_speed_bytes_s,
        min_speed_window_s=download.min_speed_window_s,
        retries=download.retries,
        retry_cap_s=download.retry_max_pause_s,
    )
