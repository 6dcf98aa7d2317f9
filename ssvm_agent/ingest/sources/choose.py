# SPDX-License-Identifier: Apache-2.0
"""From a URL to its source (storage-commands.md 4.3 step 3)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ssvm_agent.host.clock import Clock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.ingest.client import HttpClient, HttpOptions
from ssvm_agent.ingest.limits import TransferLimits
from ssvm_agent.ingest.retry import RetryBudget, random_jitter
from ssvm_agent.ingest.source import Source
from ssvm_agent.ingest.sources.file import FileSource
from ssvm_agent.ingest.sources.http import HttpSource
from ssvm_agent.ingest.sources.metalink import SUFFIX, MetalinkSource
from ssvm_agent.ingest.sources.scp import ScpEquipment, ScpSource
from ssvm_agent.ingest.traffic import Traffic
from ssvm_agent.ingest.urls import SourceUrl, parse_url


class SourceChooser:
    """Makes sources; holds what they share.

    Args:
        client: For http and https.
        scp: For scp.
        file_pool: For reading from other stores.
        mount_root: Where those are.
        limits: Time-outs and retries.
        clock: Measures silence and makes pauses.
        jitter: Spreads the pauses.
        traffic: The sums over all transfers.
    """

    def __init__(
        self, *, client: HttpClient, scp: ScpEquipment, file_pool: WorkPool, mount_root: Path,
        limits: TransferLimits, clock: Clock, jitter: Callable[[], float] = random_jitter,
        traffic: Traffic | None = None,
    ) -> None:  # fmt: skip
        self._client = client
        self._scp = scp
        self._file_pool = file_pool
        self._mount_root = mount_root
        self._limits = limits
        self._clock = clock
        self._jitter = jitter
        self._traffic = traffic

    def make(self, url: str, options: HttpOptions) -> Source:
        """The source of a URL.

        Raises:
            BadUrlError: It cannot be read, or its scheme is not one of ours.
        """
        parsed = parse_url(url)
        match parsed.scheme:
            case "file":
                return FileSource(
                    parsed, mount_root=self._mount_root, pool=self._file_pool, limits=self._limits
                )
            case "scp":
                return ScpSource(parsed, equipment=self._scp, budget=self._budget())
            case _ if parsed.path.lower().endswith(SUFFIX):
                return MetalinkSource(
                    parsed,
                    options,
                    client=self._client,
                    make_mirror=lambda mirror: self._http(
                        mirror,
                        options
                        if mirror.origin == parsed.origin
                        else options.without_credentials(),
                    ),
                )
            case _:
                return self._http(parsed, options)

    def _http(self, url: SourceUrl, options: HttpOptions) -> HttpSource:
        return HttpSource(
            url, options, client=self._client, budget=self._budget(), clock=self._clock
        )

    def _budget(self) -> RetryBudget:
        return RetryBudget(self._limits, self._clock, self._jitter, traffic=self._traffic)
