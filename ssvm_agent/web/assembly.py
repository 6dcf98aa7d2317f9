# SPDX-License-Identifier: Apache-2.0
"""Builds the HTTP side from the agent's settings; the composition root needs this one function."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network

from ssvm_agent.config.settings import Publisher as PublisherName
from ssvm_agent.config.settings import Settings
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import Runner
from ssvm_agent.ingest.tools import IngestTools
from ssvm_agent.masking import Secret
from ssvm_agent.storage.service import StoreService
from ssvm_agent.web.apache import ApacheControl, ApachePublisher, ApacheSite
from ssvm_agent.web.apache_files import ApacheLayout, Patience
from ssvm_agent.web.entrance import Entrance
from ssvm_agent.web.publisher import BuiltinPublisher, Publisher
from ssvm_agent.web.server import WebServices, WebSettings
from ssvm_agent.web.status_report import StatusSource
from ssvm_agent.web.status_site import HEADERS, StatusSite, load_pages
from ssvm_agent.web.upload_install import AccountUsage, PipelineInstaller
from ssvm_agent.web.uploads import UploadLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class WebParts:
    """What the HTTP side stands on.

    Attributes:
        stores: All stores.
        tools: Equipment of the install pipeline.
        usage: Usage per account, for quotas.
        runner: Programs.
        pool: Threads for the machine's own file system.
        clock: Time.
        upload_key: The key an earlier run was given.
    """

    stores: StoreService
    tools: IngestTools
    usage: AccountUsage
    runner: Runner
    pool: WorkPool
    clock: Clock
    upload_key: Secret | None = None


@asynccontextmanager
async def open_web(settings: Settings, parts: WebParts) -> AsyncIterator[WebServices]:
    """Serve until the context is left; running transfers then get ``stop_timeout_s``.

    Raises:
        PortInUseError: A port cannot be listened on.
        PublishError: Apache cannot be set up.
    """
    web_settings = _web_settings(settings)
    web = WebServices(
        settings=web_settings,
        stores=parts.stores,
        installer=PipelineInstaller(stores=parts.stores, tools=parts.tools, usage=parts.usage),
        publisher=_publisher(settings, parts),
        runner=parts.runner,
        pool=parts.pool,
        clock=parts.clock,
    )
    await web.start()
    try:
        if parts.upload_key is not None:
            await web.set_upload_key(parts.upload_key)
        yield web
    finally:
        await web.stop(settings.stop_timeout_s)


@asynccontextmanager
async def open_status(listen: str, source: StatusSource, pool: WorkPool) -> AsyncIterator[int]:
    """Serve the status page until the context is left.

    Args:
        listen: ``address:port``; empty: do not.
        source: Makes the reports.
        pool: Threads for the local disk.

    Yields:
        The port; 0 when nothing is served.
    """
    if not listen:
        yield 0
        return
    host, _, port = listen.rpartition(":")
    site = StatusSite(source, await pool.call(load_pages), pool)
    entrance = Entrance("status", site.answer, common=HEADERS)
    try:
        yield await entrance.listen(host.strip("[]"), int(port))
    finally:
        await entrance.stop(1.0)


def _web_settings(settings: Settings) -> WebSettings:
    public = settings.public
    address = settings.networks.public_address
    builtin = settings.publish is PublisherName.BUILTIN
    return WebSettings(
        state_dir=settings.state_dir / "web",
        mount_root=settings.mount_root,
        listen_hosts=(public.listen or (address,)) if builtin else (),
        public_hosts=tuple(name for name in (address, *public.names) if name),
        http_port=public.http_port,
        https_port=public.https_port,
        upload_host=settings.upload.listen_host,
        upload_port=settings.upload.listen_port,
        use_https_to_upload=settings.use_https_to_upload,
        trusted_proxies=tuple(ip_network(one) for one in public.trusted_proxies),
        link_life=timedelta(days=public.link_days),
        require_copy_user=public.require_copy_user,
        upload_limits=UploadLimits(
            running=settings.upload.max_concurrent, idle_timeout_s=settings.upload.idle_timeout_s
        ),
    )


def _publisher(settings: Settings, parts: WebParts) -> Publisher:
    if settings.publish is PublisherName.BUILTIN:
        return BuiltinPublisher()
    return ApachePublisher(
        layout=ApacheLayout(mount_root=settings.mount_root),
        site=ApacheSite(
            address=settings.networks.public_address,
            name=settings.name,
            http_port=settings.public.http_port,
            https_port=settings.public.https_port,
            upload_port=settings.upload.listen_port,
            upload_https=settings.use_https_to_upload,
            patience=Patience(body_s=math.ceil(settings.upload.idle_timeout_s)),
        ),
        control=ApacheControl(),
        runner=parts.runner,
        pool=parts.pool,
    )
