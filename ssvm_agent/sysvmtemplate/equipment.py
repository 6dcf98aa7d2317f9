# SPDX-License-Identifier: Apache-2.0
"""What one installation works with: threads, the HTTP client, the stream of the template.

Puts the ingest room together for a single transfer started by an operator; the agent's own way of
doing that reads the agent's settings, which this command must not need.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ssvm_agent import __version__
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.ingest.client import HttpClient, HttpOptions
from ssvm_agent.ingest.egress import EgressGuard
from ssvm_agent.ingest.errors import BadUrlError
from ssvm_agent.ingest.hostkeys import HostKeys
from ssvm_agent.ingest.limits import TransferLimits
from ssvm_agent.ingest.proxy import Proxy
from ssvm_agent.ingest.source import Source
from ssvm_agent.ingest.sources.choose import SourceChooser
from ssvm_agent.ingest.sources.scp import ScpEquipment
from ssvm_agent.ingest.tools import IngestTools
from ssvm_agent.ingest.trust import TrustStore
from ssvm_agent.ingest.urls import HTTP_SCHEMES, SourceUrl, parse_url
from ssvm_agent.sysvmtemplate.request import Request

# Somebody is waiting at a terminal: come back sooner than the agent does.
LIMITS: Final = TransferLimits(retry_base_s=2.0, retry_cap_s=30.0)
# Certificates for https besides those of the system; the agent's setting has the same default.
CA_DIRECTORY: Final = Path("/etc/ssvm-agent/ca.d")
_KNOWN_HOSTS: Final = Path("/etc/ssh/ssh_known_hosts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """The equipment of one installation.

    Attributes:
        tools: For the pipeline.
        source: The stream of the template.
        local: Threads for files of this machine and the database.
    """

    tools: IngestTools
    source: Source
    local: WorkPool


@asynccontextmanager
async def open_equipment(request: Request, *, clock: Clock) -> AsyncIterator[Equipment]:
    """Build the equipment for a request.

    Raises:
        BadUrlError: The URL, or that of the proxy in the environment, cannot be read.
    """
    url, root = _location(request)
    proxy, no_proxy = proxy_of(url, os.environ)
    # The operator chose the URL on this machine, so it may be one of this machine.
    guard = EgressGuard(allow_loopback=True)
    local = WorkPool("local files and database", threads=4)
    digests = WorkPool("digests", threads=os.cpu_count() or 1)
    client = HttpClient(
        guard=guard,
        limits=LIMITS,
        trust=TrustStore(CA_DIRECTORY),
        pool=local,
        user_agent=f"cloud-install-sys-tmplt/{__version__}",
        proxy=proxy,
        no_proxy=no_proxy,
    )
    sources = SourceChooser(
        client=client,
        scp=ScpEquipment(guard=guard, pool=local, limits=LIMITS, host_keys=HostKeys(_KNOWN_HOSTS)),
        file_pool=local,
        mount_root=root,
        limits=LIMITS,
        clock=clock,
    )
    tools = IngestTools(
        clock=clock,
        owner=socket.gethostname(),
        digest_pool=digests,
        sources=sources,
        guard=guard,
    )
    try:
        async with client:
            source = sources.make(url.text, HttpOptions(follow_redirects=True))
            yield Equipment(tools=tools, source=source, local=local)
    finally:
        local.close()
        digests.close()


def _location(request: Request) -> tuple[SourceUrl, Path]:
    """The URL of the source, and the only directory that files may be read from."""
    if request.file is not None:
        return parse_url(f"file://{quote(str(request.file))}"), request.file.parent
    return http_url(request.url or ""), Path("/nonexistent")


def http_url(text: str) -> SourceUrl:
    """Read an http or https URL.

    Raises:
        BadUrlError: It is none.
    """
    url = parse_url(text)
    if url.scheme not in HTTP_SCHEMES:
        raise BadUrlError(f"{url} is not an http or https URL")
    return url


def proxy_of(
    url: SourceUrl, environment: Mapping[str, str]
) -> tuple[Proxy | None, tuple[str, ...]]:
    """The proxy that the environment names for a URL, and what is reached without one.

    Compat: boot-and-system.md 6.1: the template is fetched by a program that follows these.

    Raises:
        BadUrlError: The proxy cannot be read.
    """
    names = (f"{url.scheme}_proxy", f"{url.scheme}_proxy".upper())
    text = next((environment[name] for name in names if environment.get(name)), "")
    excepted = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    return Proxy.parse(text) if text else None, tuple(excepted.replace(",", " ").split())
