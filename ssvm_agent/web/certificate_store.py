# SPDX-License-Identifier: Apache-2.0
"""Keeps the served certificate on disk and in the TLS contexts, and swaps it under running servers.

Theory of operation: the context a listener was opened with carries no certificate of its own but a
callback, which gives each handshake the context current at that moment. A new certificate is loaded
into a new context first; only when OpenSSL took it does it become current, in one assignment.
Connections that are open keep what they have.

The cloud's certificate and our own lie in two files below the state directory, key and chain
together, so that one rename replaces all of it. After a restart the cloud's is used until it
expires, else ours.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ssvm_agent import log
from ssvm_agent.appliance.base import WebCertificate
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.files import atomic_write
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.masking import Secret
from ssvm_agent.web.certificates import ServerCertificate, check, covers, make_own, server_context
from ssvm_agent.web.errors import CertificateRefusedError

_logger = logging.getLogger(__name__)

_DEADLINE_S: Final = 30.0
_ROOT_MARK: Final = "# root\n"


class CertificateStore:
    """The certificate in use.

    Args:
        directory: For the two files; made when missing.
        hosts: Public addresses and names our own certificate is made for.
        pool: Threads for the local disk.
        clock: For dates.
    """

    def __init__(
        self, directory: Path, *, hosts: Sequence[str], pool: WorkPool, clock: Clock
    ) -> None:
        self._directory = directory
        self._hosts = tuple(hosts)
        self._pool = pool
        self._clock = clock
        self._current: ServerCertificate | None = None
        self._context: ssl.SSLContext | None = None

    @property
    def current(self) -> ServerCertificate | None:
        """What is served now; ``None`` before :meth:`start`."""
        return self._current

    async def start(self) -> None:
        """Serve the cloud's certificate of an earlier run if it still holds, else our own."""
        stored = await self._pool.call(_read, self._cloud_file, deadline_s=_DEADLINE_S)
        if stored is not None:
            try:
                await self._use(check(stored, self._clock.now()))
            except CertificateRefusedError as error:
                _note("stored certificate unusable", error)
            else:
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
        checked = check(certificate, self._clock.now())
        if self._current is not None and self._current.chain_pem == checked.chain_pem:
            return False
        await self._use(checked)
        pem = WebCertificate(
            key=checked.key_pem, certificate=checked.chain_pem, root=checked.root_pem
        )
        await self._pool.call(_write, self._cloud_file, pem, deadline_s=_DEADLINE_S)
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
        if current.is_own:
            await self._use_own()
            return True
        if current.not_after <= now:
            _logger.warning("certificate of the cloud expired subject=%s", current.subject)
            await self._use_own()
            return True
        return False

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
        stored = await self._pool.call(_read, self._own_file, deadline_s=_DEADLINE_S)
        if stored is not None:
            try:
                own = check(stored, now)
            except CertificateRefusedError as error:
                _note("own certificate unusable", error)
            else:
                if covers(own, self._hosts) and not own.needs_renewal(now):
                    await self._use(_as_own(own))
                    return
        own = make_own(self._hosts, now)
        pem = WebCertificate(key=own.key_pem, certificate=own.chain_pem)
        await self._pool.call(_write, self._own_file, pem, deadline_s=_DEADLINE_S)
        await self._use(own)

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
        return self._directory / "cloud.pem"

    @property
    def _own_file(self) -> Path:
        return self._directory / "own.pem"


def _as_own(certificate: ServerCertificate) -> ServerCertificate:
    return replace(certificate, is_own=True)


def _load(context: ssl.SSLContext, certificate: ServerCertificate) -> None:
    """Give a context the certificate. OpenSSL reads files only: an unnamed one in memory."""
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


def _read(path: Path) -> WebCertificate | None:
    try:
        text = path.read_text(encoding="ascii")
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    key, mark, rest = text.partition("-----END PRIVATE KEY-----\n")
    chain, _, root = rest.partition(_ROOT_MARK)
    return WebCertificate(key=Secret(key + mark), certificate=chain, root=root)


def _write(path: Path, certificate: WebCertificate) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = certificate.key.reveal() + certificate.certificate
    if certificate.root:
        text += _ROOT_MARK + certificate.root
    atomic_write(path, text.encode("ascii"), mode=0o600)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _note(text: str, error: CertificateRefusedError) -> None:
    log.event(_logger, logging.WARNING, text, reason=error.for_operators())
