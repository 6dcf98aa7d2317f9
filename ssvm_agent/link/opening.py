# SPDX-License-Identifier: Apache-2.0
"""Opening one link: TCP, TLS, and making sure that the server is ours.

The first half of the connection doctor's walk; whatever fails says at which step and why (R1). No
byte of the protocol is sent before the server is believed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ssvm_agent import log
from ssvm_agent.config.settings import LinkSettings
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.link.certificates import (
    ClientMaterial,
    Trust,
    check_peer,
    client_context,
    load_material,
    own_certificate_problem,
)
from ssvm_agent.link.errors import TlsError, TlsMaterialError
from ssvm_agent.link.reach import open_tcp
from ssvm_agent.link.transport import LinkTransport
from ssvm_agent.wire.connection import Connection, Event

_logger: Final = logging.getLogger(__name__)


class Opener:
    """Opens links to any server; the certificate files are looked at anew each time.

    Args:
        conf_dir: Where cloud.crt, cloud.key and cloud.ca.crt are.
        settings: Deadlines.
        pool: For files and the resolver.
        clock: For the dates of certificates.
    """

    def __init__(
        self, conf_dir: Path, settings: LinkSettings, *, pool: WorkPool, clock: Clock
    ) -> None:
        self._conf_dir = conf_dir
        self._settings = settings
        self._pool = pool
        self._clock = clock

    async def open(
        self,
        server: str,
        port: int,
        connection: Connection,
        *,
        on_event: Callable[[Event], None],
        on_handshake: Callable[[], None],
    ) -> tuple[LinkTransport, Trust]:
        """A link whose handshake is done and whose server is believed.

        Args:
            server: Name or address.
            port: TCP port.
            connection: The protocol machine of the new link.
            on_event: Hears what comes over the link.
            on_handshake: Called when TCP is there and TLS begins.

        Raises:
            LinkError: A step failed; it says which and why.
        """
        material = await self._pool.call(load_material, self._conf_dir)
        context = await self._pool.call(client_context, material)
        tcp = await open_tcp(
            server, port, deadline_s=self._settings.connect_timeout_s, pool=self._pool
        )
        on_handshake()
        try:
            transport = await LinkTransport.open(
                tcp,
                context,
                connection,
                on_event,
                handshake_deadline_s=self._settings.handshake_timeout_s,
            )
        except TlsMaterialError:
            raise
        except TlsError as error:
            raise await self._with_own_problem(error, material) from error
        try:
            trust = await self._believe(transport, material)
        except BaseException:
            transport.abort()
            raise
        log.event(
            _logger, logging.INFO, "TLS established", server=server, suite=transport.description,
            trust=trust.value, client_certificate=material.certificate is not None,
        )  # fmt: skip
        return transport, trust

    async def _believe(self, transport: LinkTransport, material: ClientMaterial) -> Trust:
        shown = transport.peer_certificate()
        trust = await self._pool.call(check_peer, material, shown, now=self._clock.now())
        if trust is Trust.BOOTSTRAP:
            # Requirements S9: trusting any server is a mode that says so, and ends with the CA.
            _logger.warning(
                "no CA certificate is known yet (cloud.ca.crt): the management server is believed"
                " without a check until one is delivered"
            )
        return trust

    async def _with_own_problem(self, error: TlsError, material: ClientMaterial) -> TlsError:
        """The error with what is wrong on our side, if that may be why the server hung up."""
        problem = await self._pool.call(own_certificate_problem, material, now=self._clock.now())
        message = f"{error.message} {problem}" if problem else error.message
        return TlsError(message, detail=error.detail)
