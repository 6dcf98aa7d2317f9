# SPDX-License-Identifier: Apache-2.0
"""The agent's certificate files, and the rule by which a management server is believed.

The server shows its root CA certificate itself, which stock verification rejects as a server
certificate. So OpenSSL verifies nothing here; the certificate shown is compared with those of
``cloud.ca.crt`` once the handshake is done and before a byte of ours is sent (agent-lifecycle.md
4.6). Host names play no part. Everything in this module blocks: call it through a pool.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssvm_agent.link.errors import TlsError, TlsMaterialError
from ssvm_agent.link.tls import pin_version

if TYPE_CHECKING:
    from cryptography import x509

CERTIFICATE_FILE: Final = "cloud.crt"
KEY_FILE: Final = "cloud.key"
AUTHORITY_FILE: Final = "cloud.ca.crt"

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class Trust(StrEnum):
    """Why a server was believed."""

    BOOTSTRAP = "no CA known yet"
    PINNED = "its certificate is the pinned CA"
    SIGNED = "its certificate is signed by the pinned CA"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientMaterial:
    """What the certificate directory holds at this moment.

    Attributes:
        certificate: cloud.crt, when it and its key are both there.
        key: cloud.key, likewise.
        authorities: The certificates of cloud.ca.crt as DER; empty when there is no such file.
    """

    certificate: Path | None
    key: Path | None
    authorities: tuple[bytes, ...]


def load_material(conf_dir: Path) -> ClientMaterial:
    """Looks at the certificate files; done anew for every connect, so renewed files are used.

    A certificate without its key, or the other way round, is a state the provisioning script passes
    through (agent-lifecycle.md 4.2): the agent then connects without a client certificate.

    Raises:
        TlsMaterialError: cloud.ca.crt is there but holds no certificate. It is never taken for
            "no CA known", or damaging a file would switch off the check (requirements S9).
    """
    certificate, key = conf_dir / CERTIFICATE_FILE, conf_dir / KEY_FILE
    is_complete = _has_content(certificate) and _has_content(key)
    return ClientMaterial(
        certificate=certificate if is_complete else None,
        key=key if is_complete else None,
        authorities=_read_authorities(conf_dir / AUTHORITY_FILE),
    )


def client_context(material: ClientMaterial) -> ssl.SSLContext:
    """A fresh context for one connect; a new one each time, so no session is ever resumed.

    Raises:
        TlsMaterialError: Certificate and key cannot be read or do not belong together.
    """
    context = pin_version(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # check_peer decides, see the module docstring
    if material.certificate is not None and material.key is not None:
        try:
            # The empty passphrase keeps OpenSSL from asking for one on the terminal.
            context.load_cert_chain(material.certificate, material.key, password="")
        except ssl.SSLError as error:
            reason = _explain_material(error, material.key)
            raise TlsMaterialError(reason, detail=str(error)) from error
        except OSError as error:
            raise TlsMaterialError(
                f"{CERTIFICATE_FILE} or {KEY_FILE} cannot be read: {error.strerror}."
            ) from error
    return context


def check_peer(material: ClientMaterial, der: bytes | None, *, now: datetime) -> Trust:
    """Decides whether the server that showed this certificate is ours.

    Args:
        material: The authorities to compare with.
        der: The certificate shown.
        now: The time at which it has to be valid, when it is not the pinned one itself.

    Raises:
        TlsError: It is not; the message says why.
    """
    if not material.authorities:
        return Trust.BOOTSTRAP
    if der is None:
        raise TlsError("The management server showed no certificate.")
    if der in material.authorities:
        return Trust.PINNED
    _check_signed(der, material.authorities, now)
    return Trust.SIGNED


def own_certificate_problem(material: ClientMaterial, *, now: datetime) -> str | None:
    """Why a server may have refused our certificate, as a sentence; None when nothing is seen."""
    if material.certificate is None:
        return f"The agent has no client certificate ({CERTIFICATE_FILE} and {KEY_FILE})."
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(material.certificate.read_bytes())
    except (OSError, ValueError):
        return f"{CERTIFICATE_FILE} holds no readable certificate."
    return _date_problem(certificate, "The agent's certificate", now)


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _read_authorities(path: Path) -> tuple[bytes, ...]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise TlsMaterialError(f"{path.name} cannot be read: {error.strerror}.") from error
    blocks = _PEM.findall(text)
    if not blocks:
        raise TlsMaterialError(f"{path.name} is there but holds no certificate.")
    try:
        found = tuple(ssl.PEM_cert_to_DER_cert(block.decode("ascii") + "\n") for block in blocks)
        # OpenSSL reads what is compared later, so a damaged certificate is told from a foreign one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=b"".join(found))
    except (ValueError, ssl.SSLError) as error:
        raise TlsMaterialError(f"{path.name} holds a damaged certificate.") from error
    return found


def _explain_material(error: ssl.SSLError, key: Path) -> str:
    if b"ENCRYPTED" in key.read_bytes():
        return f"The key in {KEY_FILE} is encrypted; a plain PEM key is needed."
    match error.reason:
        case "KEY_VALUES_MISMATCH" | "KEY_TYPE_MISMATCH":
            return (
                f"The key in {KEY_FILE} does not belong to the certificate in {CERTIFICATE_FILE}."
            )
        case "EE_KEY_TOO_SMALL" | "CA_MD_TOO_WEAK":
            return f"The certificate in {CERTIFICATE_FILE} is too weak: {error.reason}."
        case _:
            return f"{CERTIFICATE_FILE} and {KEY_FILE} are not a PEM certificate and its key."


def _check_signed(der: bytes, authorities: tuple[bytes, ...], now: datetime) -> None:
    # Needed by the providers that give the server a certificate of its own, so the import waits.
    from cryptography import x509

    try:
        shown = x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise TlsError("The management server showed an unreadable certificate.") from error
    if not any(_is_issued_by(shown, authority) for authority in authorities):
        raise TlsError(
            "The management server's certificate is neither the known CA nor signed by it:"
            f" it is {shown.subject.rfc4514_string()},"
            f" issued by {shown.issuer.rfc4514_string()}.",
            detail=f"known CAs are in {AUTHORITY_FILE}",
        )
    problem = _date_problem(shown, "The management server's certificate", now)
    if problem:
        raise TlsError(problem)


def _is_issued_by(shown: x509.Certificate, authority: bytes) -> bool:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        shown.verify_directly_issued_by(x509.load_der_x509_certificate(authority))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _date_problem(certificate: x509.Certificate, what: str, now: datetime) -> str | None:
    if now > certificate.not_valid_after_utc:
        return f"{what} expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC."
    if now < certificate.not_valid_before_utc:
        return (
            f"{what} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on;"
            " is the clock of this machine right?"
        )
    return None
