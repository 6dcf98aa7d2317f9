# SPDX-License-Identifier: Apache-2.0
"""What every ingest needs besides its specification; built once, shared by all."""

from __future__ import annotations

from dataclasses import dataclass, field

from ssvm_agent.host.clock import Clock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.ingest.egress import EgressGuard
from ssvm_agent.ingest.memory import MemoryBudget
from ssvm_agent.ingest.sources.choose import SourceChooser
from ssvm_agent.ingest.traffic import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestTools:
    """The shared equipment of all ingests.

    Attributes:
        clock: Time.
        owner: Host name of this agent; names temporary files (requirements R13).
        digest_pool: Threads for digests, one for each core.
        sources: Makes sources of URLs.
        guard: Judges where images may come from; takes the allowed internal sites.
        install_s_per_gib: Deadline of making a file durable.
        memory: Shared by all decompressors.
        traffic: The sums over all downloads; the sources count into the same.
    """

    clock: Clock
    owner: str
    digest_pool: WorkPool
    sources: SourceChooser
    guard: EgressGuard
    install_s_per_gib: float = 900.0
    memory: MemoryBudget = field(default_factory=MemoryBudget)
    traffic: Traffic = field(default_factory=Traffic)
