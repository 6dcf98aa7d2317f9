# SPDX-License-Identifier: Apache-2.0
"""Everything the agent serves over HTTP, put together: the one object the rest of it talks to.

Theory of operation: tables (links, uploads, copy guard, certificate) hold what is so; a publisher
puts it before the public; entrances listen. Commands change a table first, then the publisher, and
the tables that must outlive the process are saved. A sweeper does what nobody asks for: expiry of
links, forgetting of old uploads, renewal of our own certificate.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from ssvm_agent import log
from ssvm_agent.appliance.base import WebCertificate
from ssvm_agent.errors import AgentError
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import Runner
from ssvm_agent.host.tasks import BackgroundTasks
from ssvm_agent.masking import Secret
from ssvm_agent.storage.errors import NotFoundError, StorageError
from ssvm_agent.storage.layout import check_relative
from ssvm_agent.storage.service import StoreService
from ssvm_agent.storage.stores import Store
from ssvm_agent.web import headers
from ssvm_agent.web.certificate_shop import CertificateShop
from ssvm_agent.web.certificate_store import CertificateStore
from ssvm_agent.web.copy_guard import CopyGuard
from ssvm_agent.web.counters import WebCounters
from ssvm_agent.web.downloads import Downloads
from ssvm_agent.web.entrance import Entrance, Limits
from ssvm_agent.web.errors import PublishError
from ssvm_agent.web.links import Link, LinkTable, key_of_url, link_key
from ssvm_agent.web.open_file import NotServedError, open_below
from ssvm_agent.web.origin import Network, OriginRules
from ssvm_agent.web.public import ProxiedSite, PublicSite
from ssvm_agent.web.publisher import Publisher
from ssvm_agent.web.state_file import StateFile
from ssvm_agent.web.upload_recovery import settle
from ssvm_agent.web.upload_table import Upload, UploadState, UploadTable
from ssvm_agent.web.uploads import UploadInstaller, UploadLimits, Uploads

_logger = logging.getLogger(__name__)

_SWEEP_S: Final = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """What is configured about the HTTP side.

    Attributes:
        state_dir: Own directory for tables and certificates.
        mount_root: Where stores are mounted; for texts.
        listen_hosts: Addresses of the public ports, when this agent serves them; empty: it does
            not (``publish: apache``).
        public_hosts: Address and names the public knows us by.
        http_port: 80, or 0 for any.
        https_port: 443, or 0 for any.
        upload_host: Loopback address of the port behind a proxy.
        upload_port: 8210, or 0 for any.
        use_https_to_upload: Scheme the server signs with.
        trusted_proxies: Peers whose ``X-Forwarded-*`` headers are believed, besides loopback.
        link_life: After this a link nobody withdrew is; longer than any
            ``extract.url.expiration.interval``.
        require_copy_user: Ask for the copy user besides the address.
        limits: Of each entrance.
        upload_limits: Of uploads.
        idle_timeout_s: How long a client of a download may take no data.
    """

    state_dir: Path
    mount_root: Path = Path("/mnt/SecStorage")
    listen_hosts: tuple[str, ...] = ()
    public_hosts: tuple[str, ...] = ()
    http_port: int = 80
    https_port: int = 443
    upload_host: str = "127.0.0.1"
    upload_port: int = 8210
    use_https_to_upload: bool = True
    trusted_proxies: tuple[Network, ...] = ()
    link_life: timedelta = timedelta(days=7)
    require_copy_user: bool = False
    limits: Limits = field(default_factory=Limits)
    upload_limits: UploadLimits = field(default_factory=UploadLimits)
    idle_timeout_s: float = 60.0


@dataclass(slots=True)
class Ports:
    """The ports in use; 0: not open."""

    http: int = 0
    https: int = 0
    upload: int = 0


class WebServices:
    """The HTTP side of the agent.

    Args:
        settings: See :class:`WebSettings`.
        stores: Finds stores by directory name.
        installer: The way of uploads into the stores.
        publisher: Who serves the public.
        runner: Starts programs.
        pool: Threads for the local disk.
        clock: Time.
    """

    def __init__(
        self,
        *,
        settings: WebSettings,
        stores: StoreService,
        installer: UploadInstaller,
        publisher: Publisher,
        runner: Runner,
        pool: WorkPool,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._stores = stores
        self._publisher = publisher
        self._clock = clock
        self._tasks = BackgroundTasks()
        self._stack = AsyncExitStack()
        self._link_file = StateFile(settings.state_dir / "links.json", pool)
        self._upload_file = StateFile(settings.state_dir / "uploads.json", pool)
        self._uploads_changed = asyncio.Event()
        self.counters = WebCounters()
        self.ports = Ports()
        self.links = LinkTable()
        self.uploads = UploadTable(self._uploads_changed.set, save=self._save_uploads)
        self.copy_guard = CopyGuard(require_user=settings.require_copy_user)
        self.certificates = CertificateStore(
            settings.state_dir / "tls",
            hosts=settings.public_hosts,
            shop=CertificateShop(runner),
            pool=pool,
            clock=clock,
        )
        rules = OriginRules(
            signed_scheme="https" if settings.use_https_to_upload else "http",
            public_hosts=settings.public_hosts,
            trusted_proxies=settings.trusted_proxies,
        )
        self._upload_entrance = Uploads(
            table=self.uploads,
            installer=installer,
            rules=rules,
            tasks=self._tasks,
            clock=clock,
            limits=settings.upload_limits,
            on_end=self._count_upload,
            on_bytes=self.counters.received,
        )
        self.downloads = Downloads(
            stores=stores,
            links=self.links,
            guard=self.copy_guard,
            clock=clock,
            idle_timeout_s=settings.idle_timeout_s,
            on_transfer=self.counters.transfer,
            on_sent=self.counters.sent,
        )
        public = PublicSite(downloads=self.downloads, uploads=self._upload_entrance, rules=rules)
        common = {**headers.SAFETY, **headers.CORS}
        self._public = Entrance(
            "public",
            public.answer,
            limits=settings.limits,
            common=common,
            on_answer=self.counters.request,
        )
        # The proxy in front adds the CORS headers itself (storage-commands.md 5.1).
        self._proxied = Entrance(
            "upload",
            ProxiedSite(self._upload_entrance).answer,
            limits=settings.limits,
            on_answer=self.counters.request,
        )

    @property
    def public_connections(self) -> int:
        """Open connections of the agent's own public ports."""
        return self._public.connections

    async def start(self) -> None:
        """Take up what an earlier run left, publish it, and listen.

        Raises:
            PortInUseError: A port cannot be listened on; nothing is left open.
        """
        await self._stack.enter_async_context(self._tasks)
        self.links.load(await self._link_file.load())
        self.uploads.load(await self._upload_file.load(), self._clock.now())
        await self.certificates.start()
        try:
            await self._start_publishing()
            await self._listen()
        except AgentError:
            await self.stop(0)
            raise
        self._tasks.start(self._keep_uploads_saved(), name="save uploads")
        self._tasks.start(self._keep_swept(), name="web sweep")
        self._settle_uploads()

    async def stop(self, deadline_s: float) -> None:
        """Accept nothing more, give transfers this long to end, and let everything go."""
        async with asyncio.TaskGroup() as group:
            for entrance in (self._public, self._proxied):
                group.create_task(entrance.stop(deadline_s))
        await self._stack.aclose()
        await self._upload_file.save(self.uploads.to_document())
        self.downloads.close()
        self.ports = Ports()

    async def set_upload_key(self, key: Secret) -> None:
        """Take the key of signed uploads; in use at once (storage-commands.md 3.1)."""
        self._upload_entrance.set_key(key)

    async def allow_copy_from(self, addresses: Sequence[str], *, replace: bool) -> None:
        """Let other secondary storage VMs fetch from the copy area (storage-commands.md 3.3).

        Raises:
            BadAddressError: One of them is no address; nothing changed.
            PublishError: Apache's files could not be written.
        """
        self.copy_guard.allow(addresses, replace=replace)
        await self._publisher.guard(self.copy_guard)

    async def configure_copy_auth(self, user: str, password: Secret) -> None:
        """Take the copy user (storage-commands.md 3.2)."""
        self.copy_guard.set_credentials(user, password)
        await self._publisher.guard(self.copy_guard)

    async def install_certificate(self, certificate: WebCertificate | None) -> None:
        """Serve https with this certificate; ``None``: with our own (storage-commands.md 3.1).

        Raises:
            CertificateRefusedError: It fails a check; what was served before still is.
        """
        if await self.certificates.install(certificate):
            await self._serve_certificate()

    async def publish(self, store_name: str, path: str, *names: str) -> Link:
        """Make a file downloadable (storage-commands.md 3.7).

        Args:
            store_name: Directory name of the store (``parent``).
            path: The file below the store's root (``installPath``).
            names: The link's one or two names.

        Raises:
            PublishError: There is no such file, or the link cannot be made.
            StorageError: The store does not answer.
        """
        key = link_key(*names)
        relative = check_relative(path.lstrip("/"))
        try:
            store = await self._stores.find(store_name)
            await store.run(_require_file, store, relative.parts)
        except (NotFoundError, NotServedError) as error:
            # Compat: storage-commands.md 3.7
            raise PublishError(
                f"Error in finding the file {self._settings.mount_root / store_name / relative}",
                detail=error.for_operators(),
            ) from error
        now = self._clock.now()
        link = Link(
            key=key,
            store=store.directory_name,
            path=str(relative),
            created=now,
            expires=now + self._settings.link_life,
        )
        await self._publisher.publish(link, store)
        self.links.add(link)
        await self._link_file.save(self.links.to_document())
        log.event(_logger, logging.INFO, "link published", link=key, path=str(relative))
        return link

    async def withdraw(self, url: str) -> None:
        """Take a link back by its URL; one that is not there, or not ours, is fine (3.8)."""
        key = key_of_url(url)
        if key is not None:
            await self._withdraw(key)

    async def _withdraw(self, key: str) -> None:
        await self._publisher.withdraw(key)
        if self.links.remove(key) is not None:
            await self._link_file.save(self.links.to_document())
            log.event(_logger, logging.INFO, "link withdrawn", link=key)

    async def _start_publishing(self) -> None:
        await self._publisher.start(self.links)
        await self._publisher.guard(self.copy_guard)
        await self._serve_certificate()

    async def _serve_certificate(self) -> None:
        current = self.certificates.current
        if current is not None:
            await self._publisher.serve_certificate(current)

    async def _listen(self) -> None:
        settings = self._settings
        self.ports.upload = await self._proxied.listen(settings.upload_host, settings.upload_port)
        tls = await self.certificates.listener_context()
        for host in settings.listen_hosts:
            self.ports.http = await self._public.listen(host, settings.http_port)
            self.ports.https = await self._public.listen(host, settings.https_port, tls=tls)

    async def _keep_uploads_saved(self) -> None:
        while True:
            await self._uploads_changed.wait()
            self._uploads_changed.clear()
            await self._save_uploads()

    async def _save_uploads(self) -> None:
        """Trouble with the local disk costs the memory of an upload, never the upload."""
        try:
            await self._upload_file.save(self.uploads.to_document())
        except (OSError, AgentError) as error:
            _logger.warning("uploads not saved reason=%s", error)

    def _count_upload(self, upload: Upload) -> None:
        self.counters.upload(upload.state.value)

    def _settle_uploads(self) -> None:
        for upload in self.uploads:
            if upload.state is UploadState.IN_PROGRESS:
                self._tasks.start(
                    settle(
                        upload, self.uploads, self._stores, self._clock, on_end=self._count_upload
                    ),
                    name=f"settle upload {upload.uuid}",
                )

    async def _keep_swept(self) -> None:
        while True:
            await self._clock.sleep(_SWEEP_S)
            try:
                await self.sweep()
            except (OSError, AgentError) as error:
                _logger.warning("web sweep failed reason=%s", error)

    async def sweep(self) -> None:
        """Withdraw expired and dangling links, forget old uploads, renew our certificate."""
        now = self._clock.now()
        self.uploads.sweep(now)
        for link in self.links:
            if link.expires <= now or await self._dangles(link):
                await self._withdraw(link.key)
        if await self.certificates.renew():
            await self._serve_certificate()

    async def _dangles(self, link: Link) -> bool:
        """Whether the file is certainly gone; a store that does not answer proves nothing."""
        try:
            store = await self._stores.find(link.store)
            await store.run(_require_file, store, tuple(link.path.split("/")))
        except NotServedError:
            return True
        except StorageError:
            return False
        return False


def _require_file(store: Store, parts: Sequence[str]) -> None:
    with open_below(store.root, parts):
        pass
