# SPDX-License-Identifier: Apache-2.0
"""What outgoing TLS trusts: the bundle of the operating system and a drop-in directory (R9).

Blocking; called through a pool before each job. The context is rebuilt only when a file changed, so
a certificate dropped into the directory counts from the next job on, without a restart.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Final

_logger = logging.getLogger(__name__)

# Debian's bundle. OpenSSL's own default follows where the interpreter was built, which need not be
# this system, so it is only added to it.
SYSTEM_BUNDLE: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_SUFFIXES: Final = frozenset({".crt", ".pem"})

_Signature = tuple[tuple[str, int, int], ...]


class TrustStore:
    """Makes the client context of the next job.

    Args:
        ca_dir: Operators put ``*.crt`` and ``*.pem`` files here; may be missing.
        bundle: The system's certificates.
    """

    def __init__(self, ca_dir: Path, *, bundle: Path = SYSTEM_BUNDLE) -> None:
        self._ca_dir = ca_dir
        self._bundle = bundle
        self._context: ssl.SSLContext | None = None
        self._signature: _Signature = ()

    def context(self) -> ssl.SSLContext:
        """A verifying client context of the certificates as they lie there now (blocking)."""
        files = self._files()
        signature = tuple(_sign(path) for path in files)
        if self._context is None or signature != self._signature:
            self._context = _build(files)
            self._signature = signature
        return self._context

    def _files(self) -> list[Path]:
        extra: list[Path] = []
        if self._ca_dir.is_dir():
            extra = sorted(p for p in self._ca_dir.iterdir() if p.suffix in _SUFFIXES)
        return [path for path in (self._bundle, *extra) if path.is_file()]


def _sign(path: Path) -> tuple[str, int, int]:
    facts = path.stat()
    return str(path), facts.st_mtime_ns, facts.st_size


def _build(files: list[Path]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in files:
        try:
            context.load_verify_locations(cafile=path)
        except (ssl.SSLError, OSError) as error:
            # One unreadable file must not take the trust in all others away.
            _logger.warning("certificate file not usable path=%s reason=%s", path, error)
    return context
