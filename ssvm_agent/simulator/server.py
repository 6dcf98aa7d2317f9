# SPDX-License-Identifier: Apache-2.0
"""A management server in small: accepts agents, sets them up, keeps them Up and gives them work.

It serves tests, the demo and ``ssvm-sim``. It behaves as agent-lifecycle.md describes the real one
and writes down as a violation whatever a real one would drop, misroute or refuse.

Theory of operation
    Every accepted socket has one task (``_serve``): handshake, then a :class:`Session` until the
    link ends. A Startup makes an attaché on the link and starts a connect run in the background.
    Downloads are watched by tasks of their own, which ask whichever agent is connected at that
    moment. Whatever changes wakes ``wait_until``.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import ssl
import tempfile
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ssvm_agent.host.pools import WorkPool
from ssvm_agent.link.errors import TlsError
from ssvm_agent.link.tls import server_context
from ssvm_agent.simulator import commands
from ssvm_agent.simulator.authority import CertificateAuthority
from ssvm_agent.simulator.downloads import Download, Image
from ssvm_agent.simulator.errors import NoAgentError
from ssvm_agent.simulator.link import AgentLink
from ssvm_agent.simulator.model import Host, HostStatus, ImageStore, Message, Violation
from ssvm_agent.simulator.session import Session
from ssvm_agent.simulator.state import Faults, ServerState
from ssvm_agent.simulator.timing import Timing
from ssvm_agent.simulator.zone import Zone
from ssvm_agent.wire.errors import RemoteProtocolError

_logger = logging.getLogger(__name__)

# OpenSSL's X509_V_FLAG_NO_CHECK_TIME: the server lets expired certificates in by default
# (agent-lifecycle.md 4.3); Python has no name for it.
_NO_CHECK_TIME: Final = 0x200000
_FIRST_IMAGE_ID: Final = 200  # where the ids of users' templates begin


class ClientCertificates(StrEnum):
    """How the server treats client certificates (agent-lifecycle.md 4.3)."""

    NONE = "none"
    WANTED = "wanted"
    NEEDED = "needed"


class ManagementServer:
    """The server; use as an async context manager.

    Args:
        stores: URLs of the image stores of the zone; shorthand for ``zone``.
        zone: Everything the server is configured with.
        timing: Waits and intervals; scale them down for tests.
        authority: Root of the certificates; a new one unless given.
        client_certificates: Whether agents must show a certificate with their address in it.
        host: Address to listen on.
        port: Port; 0 takes a free one.
    """

    def __init__(
        self,
        stores: Sequence[str] = (),
        *,
        zone: Zone | None = None,
        timing: Timing | None = None,
        authority: CertificateAuthority | None = None,
        client_certificates: ClientCertificates = ClientCertificates.WANTED,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        zone = zone or Zone(stores=[ImageStore(url=url) for url in stores])
        self._state = ServerState(zone=zone, timing=timing or Timing())
        self.authority = authority or CertificateAuthority.create()
        self._client_certificates = client_certificates
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._context: ssl.SSLContext | None = None
        self._ids = itertools.count(_FIRST_IMAGE_ID)
        self.handshakes_failed: list[str] = []
        self.connections_accepted = 0

    # --- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        pool = WorkPool("simulator", threads=1)
        try:
            self._context = await pool.call(self._make_context, deadline_s=30)
        finally:
            pool.close()
        await self._state.tasks.__aenter__()
        self._server = await asyncio.start_server(self._accept, self._host, self._port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._state.tasks.__aexit__(kind, error, trace)
        await self._server.wait_closed()

    def _make_context(self) -> ssl.SSLContext:
        with tempfile.TemporaryDirectory(prefix="ssvm-sim-") as folder:
            certificate, key = Path(folder, "ca.crt"), Path(folder, "ca.key")
            certificate.write_text(self.authority.certificate)
            key.touch(mode=0o600)
            key.write_text(self.authority.private_key)
            wanted = self._client_certificates is not ClientCertificates.NONE
            context = server_context(
                certificate,
                key,
                client_ca=certificate if wanted else None,
                require_client=self._client_certificates is ClientCertificates.NEEDED,
            )
        context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
        return context

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections_accepted += 1
        if self.faults.close_at_accept:
            writer.close()
        else:
            self._state.tasks.start(self._serve(reader, writer), name="serve an agent")
        self._state.changed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._context is not None
        link = AgentLink(reader, writer, self._context)
        try:
            if self.faults.stall_handshake:
                await asyncio.sleep(self.timing.handshake_s)
                return
            try:
                await link.shake_hands(self.timing.handshake_s)
                self._check_ownership(link)
            except (TlsError, TimeoutError) as error:
                self.handshakes_failed.append(str(error) or "timed out")
                self._state.changed()
                return
            await Session(link, self._state).run()
        except RemoteProtocolError as error:
            _logger.warning("link broken by the agent error=%s", error.for_operators())
        finally:
            link.close()

    def _check_ownership(self, link: AgentLink) -> None:
        """The peer's address must be one its certificate names; only told when not strict."""
        names = link.peer_names
        if names is None or link.peer_address in names:
            return
        text = f"the certificate does not name {link.peer_address}"
        if self._client_certificates is ClientCertificates.NEEDED:
            raise TlsError(text)
        _logger.warning("%s", text)

    # --- looking ---------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def zone(self) -> Zone:
        """Configuration and rows."""
        return self._state.zone

    @property
    def timing(self) -> Timing:
        """Waits and intervals."""
        return self._state.timing

    @property
    def faults(self) -> Faults:
        """Ways to misbehave."""
        return self._state.faults

    @property
    def violations(self) -> list[Violation]:
        """What agents did against the rules so far."""
        return self._state.violations

    @property
    def unknown_images(self) -> set[str]:
        """What agents listed and nobody registered."""
        return self._state.unknown_images

    def host(self, name: str | None = None) -> Host:
        """The row of this name; the only one when no name is given.

        Raises:
            NoAgentError: There is none.
        """
        for host in self.zone.hosts.values():
            if name is None or host.name == name:
                return host
        raise NoAgentError(f"The host {name} is not known." if name else "No host is known.")

    def session(self, name: str | None = None) -> Session:
        """The live session of a host.

        Raises:
            NoAgentError: It is not connected.
        """
        for session in self._state.sessions.values():
            if session.attache is not None and name in (None, session.attache.host.name):
                return session
        raise NoAgentError(f"{name} is not connected." if name else "No agent is connected.")

    def wake(self) -> None:
        """Make every waiter look again, for conditions that are not all the server's."""
        self._state.changed()

    async def next_change(self) -> None:
        """Wait for the next thing to happen: a status, an answer about a download, a violation."""
        await self._state.next_change()

    async def wait_until(self, predicate: Callable[[], bool], deadline_s: float = 20.0) -> None:
        """Wait until something about the server is true.

        Raises:
            TimeoutError: It did not become so.
        """
        await self._state.wait_until(predicate, deadline_s)

    async def wait_for_status(
        self, status: HostStatus = HostStatus.UP, name: str | None = None, deadline_s: float = 20.0
    ) -> Host:
        """Wait until a host has this status."""

        def matches() -> bool:
            return any(
                host.status is status and name in (None, host.name)
                for host in self.zone.hosts.values()
            )

        await self.wait_until(matches, deadline_s)
        return self.host(name)

    # --- doing -----------------------------------------------------------------------------------

    async def send(
        self,
        *messages: Message,
        host: str | None = None,
        wait_s: float | None = None,
        in_sequence: bool | None = None,
        stop_on_error: bool = True,
    ) -> list[Message]:
        """Send one request of one or more commands and return the answers.

        Raises:
            NoAgentError: The host is not connected.
            AnswerTimeoutError: No answer within the wait.
            AgentGoneError: The link ended first.
        """
        attache = self.session(host).attache
        assert attache is not None
        return await attache.send(
            messages,
            wait_s=self.timing.command_wait_s if wait_s is None else wait_s,
            in_sequence=in_sequence,
            stop_on_error=stop_on_error,
        )

    async def ask(self, message: Message, *, host: str | None = None) -> Message:
        """Send one command and return its answer; errors as :meth:`send`."""
        return (await self.send(message, host=host))[0]

    def register(
        self, *, name: str, url: str, store: int = 0, image_id: int | None = None, **more: object
    ) -> Download:
        """Register an image: it is downloaded at once, or when an agent connects.

        Args:
            name: Unique name.
            url: Source.
            store: Index of the image store.
            image_id: Taken from a counter unless given.
            more: Further fields of :class:`Image`.
        """
        number = self.take_image_id() if image_id is None else image_id
        image = Image(id=number, name=name, url=url, **more)  # type: ignore[arg-type]
        download = Download(image, self.zone.stores[store], self.timing, self._state.changed)
        self.zone.downloads[number] = download
        if self._state.sessions:
            self._state.start(download)
        return download

    def take_image_id(self) -> int:
        """The id of a new template or volume."""
        return next(self._ids)

    async def provision_certificate(
        self, name: str | None = None, *, addresses: Iterable[str] = (), reconnect: bool = False
    ) -> Message:
        """Send a new client certificate (agent-lifecycle.md 4.4) and return the answer."""
        host = self.host(name)
        known = ("privateIpAddress", "publicIpAddress", "storageIpAddress")
        all_addresses = {str(host.startup[key]) for key in known if host.startup.get(key)}
        issued = self.authority.issue(host.name, all_addresses | set(addresses))
        message = commands.setup_certificate(
            issued.certificate, issued.private_key, self.authority.certificate
        )
        answer = await self.ask(message, host=host.name)
        if reconnect:
            self.disconnect(host.name)
        return answer

    def disconnect(self, name: str | None = None) -> None:
        """Close the link of a host, as the reconnectHost call does."""
        self.session(name).disconnect(HostStatus.DISCONNECTED)

    def storage_parent(self, store: int = 0) -> str:
        """The ``_dir`` an agent reported for a store."""
        return self.zone.stores[store].parent
