# SPDX-License-Identifier: Apache-2.0
"""Keeps the served certificate on disk and in the TLS contexts, and swaps it under running servers.

Theory of operation: a listener's own context carries a certificate only so that OpenSSL begins the
handshake; a callback then gives each handshake the context current at that moment. A new
certificate is loaded into a new context first; only when OpenSSL took it does it become current, in
one assignment. Connections that are open keep what they have.

The cloud's certificate and our own lie in two files below the state directory, each with its key
and with what is known about it, so that one rename replaces all of it and a start needs no
certificate library. After a restart the cloud's is used until it expires, else ours.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ssvm_agent import log
from ssvm_agent.appliance.base import WebCertificate
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.files import atomic_write
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.web.certificate_shop import CertificateShop
from ssvm_agent.web.certificates import ServerCertificate, covers, server_context
from ssvm_agent.web.errors import CertificateRefusedError

_logger = logging.getLogger(__name__)

_DEADLINE_S: Final = 30.0


class CertificateStore:
    """The certificate in use.

    Args:
        directory: For the two files; made when missing.
        hosts: Public addresses and names our own certificate is made for.
        shop: Makes and checks certificates.
        pool: Threads for the local disk.
        clock: For dates.
    """

    def __init__(
        self,
        directory: Path,
        *,
        hosts: Sequence[str],
        shop: CertificateShop,
        pool: WorkPool,
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._hosts = tuple(hosts)
        self._shop = shop
        self._pool = pool
        self._clock = clock
        self._current: ServerCertificate | None = None
        self._given = ""
        self._context: ssl.SSLContext | None = None

    @property
    def current(self) -> ServerCertificate | None:
        """What is served now; ``None`` before :meth:`start`."""
        return self._current

    async def start(self) -> None:
        """Serve the cloud's certificate of an earlier run if it still holds, else our own."""
        stored, given = await self._pool.call(_read, self._cloud_file, deadline_s=_DEADLINE_S)
        if stored is not None and stored.is_current(self._clock.now()) and await self._try(stored):
            self._given = given
            return
        await self._use_own()

    async def install(self, certificate: WebCertificate | None) -> bool:
        """Serve this certificate from now on; ``None``: our own.

        Returns:
            Whether anything changed.

        Raises:
            CertificateRefusedError: It fails a check; what was served before still is.
        """
        if certificate is None:
            if self._current is not None and self._current.is_own:
                return False
            await self._pool.call(_remove, self._cloud_file, deadline_s=_DEADLINE_S)
            await self._use_own()
            return True
        given = _fingerprint(certificate)
        if self._current is not None and given == self._given:
            return False
        checked = await self._shop.check(certificate, self._clock.now())
        await self._use(checked)
        self._given = given
        await self._pool.call(_write, self._cloud_file, checked, given, deadline_s=_DEADLINE_S)
        return True

    async def renew(self) -> bool:
        """Have nothing served that has expired or is about to; to be called now and then.

        Returns:
            Whether another certificate is served now.
        """
        now = self._clock.now()
        current = self._current
        if current is None or not current.needs_renewal(now):
            return False
        if not current.is_own:
            if current.not_after > now:
                return False
            _logger.warning("certificate of the cloud expired subject=%s", current.subject)
        await self._use_own()
        return True

    async def listener_context(self) -> ssl.SSLContext:
        """A context for a listener; it follows every later change."""
        context = server_context()
        context.sni_callback = self._choose
        # A context without any certificate refuses every handshake before it asks the callback.
        if self._current is not None:
            await self._pool.call(_load, context, self._current, deadline_s=_DEADLINE_S)
        return context

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:  # noqa: ARG002 - one certificate whatever the name
        if self._context is not None:
            connection.context = self._context

    async def _use_own(self) -> None:
        now = self._clock.now()
        self._given = ""
        stored, _ = await self._pool.call(_read, self._own_file, deadline_s=_DEADLINE_S)
        if (
            stored is not None
            and covers(stored, self._hosts)
            and not stored.needs_renewal(now)
            and await self._try(stored)
        ):
            return
        own = await self._shop.make(self._hosts, now)
        await self._pool.call(_write, self._own_file, own, "", deadline_s=_DEADLINE_S)
        await self._use(own)

    async def _try(self, certificate: ServerCertificate) -> bool:
        try:
            await self._use(certificate)
        except CertificateRefusedError as error:
            reason = error.for_operators()
            log.event(_logger, logging.WARNING, "stored certificate unusable", reason=reason)
            return False
        return True

    async def _use(self, certificate: ServerCertificate) -> None:
        context = server_context()
        await self._pool.call(_load, context, certificate, deadline_s=_DEADLINE_S)
        self._context, self._current = context, certificate
        log.event(
            _logger,
            logging.INFO,
            "certificate in use",
            subject=certificate.subject,
            issuer=certificate.issuer,
            own=certificate.is_own,
            days_left=certificate.days_left(self._clock.now()),
        )

    @property
    def _cloud_file(self) -> Path:
        return self._directory / "cloud.json"

    @property
    def _own_file(self) -> Path:
        return self._directory / "own.json"


def _fingerprint(certificate: WebCertificate) -> str:
    """Tells whether the server sent the same texts again, as it does with every connect."""
    texts = (
        certificate.key.reveal(),
        certificate.certificate,
        certificate.chain,
        certificate.root,
    )
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _load(context: ssl.SSLContext, certificate: ServerCertificate) -> None:
    """Give a context the certificate. OpenSSL reads files only: an unnamed one in memory.

    It refuses a key that does not belong to the certificate.
    """
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        text = certificate.key_pem.reveal() + certificate.chain_pem
        os.write(descriptor, text.encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    except ssl.SSLError as error:
        raise CertificateRefusedError(
            "The certificate cannot be used for TLS.", detail=str(error)
        ) from error
    finally:
        os.close(descriptor)


def _read(path: Path) -> tuple[ServerCertificate | None, str]:
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        return ServerCertificate.from_document(document), str(document["given"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None, ""


def _write(path: Path, certificate: ServerCertificate, given: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    document = {**certificate.to_document(), "given": given}
    atomic_write(path, json.dumps(document).encode(), mode=0o600)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
