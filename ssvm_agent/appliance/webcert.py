# SPDX-License-Identifier: Apache-2.0
"""The certificate of Apache's public ports: checked, placed, and named in the site files.

The places are those of the stock script (storage-commands.md 3.1, ``config_ssl.sh``). A
certificate that is expired or does not fit its key is never put in service; without one from the
cloud a self-made one for the public address serves (R4). Blocking: call through a pool.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from ssvm_agent.appliance import x509
from ssvm_agent.appliance.base import WebCertificate
from ssvm_agent.appliance.errors import ApplianceError, BadRequestError
from ssvm_agent.host.files import atomic_write
from ssvm_agent.masking import Secret

_VALID_DAYS: Final = 365
_RENEW_BEFORE: Final = timedelta(days=30)
_SNAKEOIL_CERTIFICATE: Final = "/etc/ssl/certs/ssl-cert-snakeoil.pem"
_SNAKEOIL_KEY: Final = "/etc/ssl/private/ssl-cert-snakeoil.key"
_CHAIN_LINE: Final = re.compile(
    r"^(?P<indent>[ \t]*)#?[ \t]*SSLCertificateChainFile\b.*$", re.MULTILINE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebFiles:
    """Where Apache looks."""

    key: Path = Path("/etc/ssl/private/cert_apache.key")
    certificate: Path = Path("/etc/ssl/certs/cert_apache.crt")
    chain: Path = Path("/etc/ssl/certs/cert_apache_chain.crt")
    sites: Path = Path("/etc/apache2/sites-enabled")


def install(wanted: WebCertificate, files: WebFiles, now: datetime) -> bool:
    """Put a certificate of the cloud in place.

    Returns:
        Whether a file changed, so that Apache must reload.

    Raises:
        BadRequestError: It would not work; nothing was changed.
        ApplianceError: A file cannot be read or written.
    """
    key = x509.parse_key(wanted.key)
    own, *rest = x509.parse_certificates(wanted.certificate, "The web certificate")
    above = tuple(rest)
    if wanted.chain.strip():
        above += x509.parse_certificates(wanted.chain, "The certificate chain")
    anchors = above
    if wanted.root.strip():
        anchors += x509.parse_certificates(wanted.root, "The root CA certificate")
    if not x509.key_fits(key, own):
        raise BadRequestError("The private key does not belong to the web certificate")
    x509.check_dates(own, "The web certificate", now)
    if anchors:
        x509.check_chain(own, anchors)
    return _place(
        files, x509.key_pem(key), x509.certificates_pem([own]), x509.certificates_pem(above)
    )


def install_self_made(address: str, name: str, files: WebFiles, now: datetime) -> bool:
    """Make sure there is a valid certificate for this address, making one when needed.

    Returns:
        Whether a file changed.

    Raises:
        ApplianceError: A file cannot be written.
    """
    if _serves(address, files, now):
        return _name_in_sites(files, chain=files.chain.is_file())
    key, certificate = x509.self_made(address=address, name=name, now=now, days=_VALID_DAYS)
    return _place(files, key, certificate, "")


def site_text(text: str, files: WebFiles, *, chain: bool) -> str:
    """A site file that names our certificate files (pure)."""
    text = text.replace(_SNAKEOIL_CERTIFICATE, str(files.certificate))
    text = text.replace(_SNAKEOIL_KEY, str(files.key))
    mark = "" if chain else "#"
    return _CHAIN_LINE.sub(
        lambda found: f"{found['indent']}{mark}SSLCertificateChainFile {files.chain}", text
    )


def _serves(address: str, files: WebFiles, now: datetime) -> bool:
    """Whether the present pair is self-made, fits, names the address and is far from its end."""
    from cryptography.x509 import ExtensionNotFound, SubjectAlternativeName

    try:
        (own, *_) = x509.parse_certificates(files.certificate.read_text("utf-8"), "It")
        key = x509.parse_key(Secret(files.key.read_text("utf-8")))
        names = own.extensions.get_extension_for_class(SubjectAlternativeName).value
    except (OSError, UnicodeDecodeError, ApplianceError, ExtensionNotFound):
        return False
    return (
        own.issuer == own.subject
        and x509.key_fits(key, own)
        and own.not_valid_after_utc - _RENEW_BEFORE > now
        and address in {str(getattr(name, "value", "")) for name in names}
    )


def _place(files: WebFiles, key: Secret, certificate: str, chain: str) -> bool:
    try:
        changed = [
            _write(files.key, key.reveal(), 0o600),
            _write(files.certificate, certificate, 0o644),
        ]
        if chain:
            changed.append(_write(files.chain, chain, 0o644))
        elif files.chain.is_file():
            files.chain.unlink()
            changed.append(True)
        changed.append(_name_in_sites(files, chain=bool(chain)))
    except OSError as error:
        raise ApplianceError(
            f"The web certificate cannot be put in place: {error.strerror}",
            detail=str(error.filename),
        ) from error
    return any(changed)


def _name_in_sites(files: WebFiles, *, chain: bool) -> bool:
    changed = False
    for site in sorted(files.sites.glob("vhost*")):
        text = site.read_text("utf-8")
        changed |= _write(site, site_text(text, files, chain=chain), 0o644)
    return changed


def _write(path: Path, text: str, mode: int) -> bool:
    data = text.encode()
    if path.is_file() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, data, mode=mode)
    return True
