# SPDX-License-Identifier: Apache-2.0
"""The certificate of the public https entrance: checked before use, never expired (requirement R4).

Pure except for randomness: PEM texts in, PEM texts and facts out. The cloud's own certificate comes
with SecStorageSetup; without one, or when it has expired, one made here for the public address and
names is used. Nothing here trusts or verifies peers.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Self

from ssvm_agent.appliance.base import WebCertificate
from ssvm_agent.masking import Secret
from ssvm_agent.web.errors import CertificateRefusedError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

# The longest life browsers accept, less a day for clocks that differ.
_OWN_LIFE: Final = timedelta(days=397)
_RENEW_BEFORE: Final = timedelta(days=30)
_CLOCK_SKEW: Final = timedelta(hours=1)
_MAX_CHAIN: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCertificate:
    """A certificate ready for use: PEM texts and what an operator wants to know.

    Attributes:
        chain_pem: The certificate and its intermediates, in the order they are sent.
        is_own: Made by this agent.
    """

    key_pem: Secret
    chain_pem: str
    root_pem: str
    subject: str
    names: tuple[str, ...]
    issuer: str
    not_before: datetime
    not_after: datetime
    is_own: bool

    def days_left(self, now: datetime) -> int:
        """Whole days until it expires; negative once it has."""
        return (self.not_after - now) // timedelta(days=1)

    def needs_renewal(self, now: datetime) -> bool:
        """Whether a certificate of ours should be made anew."""
        return now >= self.not_after - _RENEW_BEFORE or now < self.not_before

    def is_current(self, now: datetime) -> bool:
        """Whether its dates hold."""
        return self.not_before - _CLOCK_SKEW <= now < self.not_after

    def to_document(self) -> dict[str, object]:
        """All of it as JSON values; **the key included**."""
        return {
            "key": self.key_pem.reveal(),
            "chain": self.chain_pem,
            "root": self.root_pem,
            "subject": self.subject,
            "names": list(self.names),
            "issuer": self.issuer,
            "not_before": self.not_before.isoformat(),
            "not_after": self.not_after.isoformat(),
            "own": self.is_own,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The opposite of :meth:`to_document`.

        Raises:
            KeyError: Something is missing.
            ValueError: A time is none.
        """
        return cls(
            key_pem=Secret(document["key"]),
            chain_pem=document["chain"],
            root_pem=document["root"],
            subject=document["subject"],
            names=tuple(document["names"]),
            issuer=document["issuer"],
            not_before=datetime.fromisoformat(document["not_before"]),
            not_after=datetime.fromisoformat(document["not_after"]),
            is_own=document["own"],
        )


def check(certificate: WebCertificate, now: datetime) -> ServerCertificate:
    """Read a certificate of the cloud and prove that it can be served.

    The key must belong to the certificate, each certificate of the chain must have signed the one
    before it, the given root must have signed the last, and none may be out of its dates.

    Raises:
        CertificateRefusedError: With the first reason found.
    """
    from cryptography.hazmat.primitives import serialization

    key = _load_key(certificate.key)
    leaf, *more = _load_certificates("certificate", certificate.certificate)
    chain = more + (_load_certificates("chain", certificate.chain) if certificate.chain else [])
    roots = _load_certificates("root", certificate.root) if certificate.root else []
    if leaf.public_key() != key.public_key():
        raise CertificateRefusedError("The private key does not belong to the certificate.")
    _check_dates([leaf, *chain], now)
    sent = _ordered(leaf, chain)
    if roots and not any(_signed_by(sent[-1], root) for root in roots):
        raise CertificateRefusedError(
            "The root certificate did not sign the end of the certificate chain.",
            detail=f"{_name(sent[-1])} was issued by {sent[-1].issuer.rfc4514_string()}",
        )
    return _describe(
        leaf,
        key_pem=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        chain_pem="".join(_pem(one) for one in sent),
        root_pem="".join(_pem(one) for one in roots),
        is_own=False,
    )


def make_own(hosts: Sequence[str], now: datetime) -> ServerCertificate:
    """Make a self-signed certificate for these addresses and names; the first is its subject."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    hosts = tuple(dict.fromkeys(host for host in hosts if host)) or ("localhost",)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _OWN_LIFE)
        .add_extension(
            x509.SubjectAlternativeName([_general_name(h) for h in hosts]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return _describe(
        certificate, key_pem=key_pem, chain_pem=_pem(certificate), root_pem="", is_own=True
    )


def covers(certificate: ServerCertificate, hosts: Sequence[str]) -> bool:
    """Whether the certificate names all these addresses and names."""
    return set(hosts) <= set(certificate.names)


def server_context() -> ssl.SSLContext:
    """A context for https: TLS 1.2 and later, and no certificate yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load_key(key: Secret) -> RSAPrivateKey | EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        loaded = load_pem_private_key(key.reveal().encode(), password=None)
    except (ValueError, TypeError) as error:
        # The text of the library's error may quote the key; it is left out.
        raise CertificateRefusedError(
            "The private key of the certificate cannot be read.", detail=type(error).__name__
        ) from None
    if not isinstance(loaded, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise CertificateRefusedError("The private key must be an RSA or EC key.")
    return loaded


def _load_certificates(what: str, text: str) -> list[x509.Certificate]:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise CertificateRefusedError(f"The {what} cannot be read.", detail=str(error)) from error
    if len(found) > _MAX_CHAIN:
        raise CertificateRefusedError(f"The {what} holds more than {_MAX_CHAIN} certificates.")
    return found


def _check_dates(certificates: Sequence[x509.Certificate], now: datetime) -> None:
    for one in certificates:
        if now >= one.not_valid_after_utc:
            raise CertificateRefusedError(
                f"The certificate {_name(one)} expired on {one.not_valid_after_utc:%Y-%m-%d}."
            )
        if now + _CLOCK_SKEW < one.not_valid_before_utc:
            raise CertificateRefusedError(
                f"The certificate {_name(one)} is not valid before "
                f"{one.not_valid_before_utc:%Y-%m-%d}."
            )


def _ordered(leaf: x509.Certificate, chain: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """The certificates in the order of TLS: each signed by the next; a root at the end is fine."""
    ordered, rest = [leaf], [one for one in chain if one != leaf]
    while rest:
        issuer = next((one for one in rest if _signed_by(ordered[-1], one)), None)
        if issuer is None:
            raise CertificateRefusedError(
                f"The certificate chain is broken: nothing in it signed {_name(ordered[-1])}.",
                detail=f"its issuer is {ordered[-1].issuer.rfc4514_string()}",
            )
        ordered.append(issuer)
        rest.remove(issuer)
    return ordered


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _describe(
    leaf: x509.Certificate, *, key_pem: str, chain_pem: str, root_pem: str, is_own: bool
) -> ServerCertificate:
    return ServerCertificate(
        key_pem=Secret(key_pem),
        chain_pem=chain_pem,
        root_pem=root_pem,
        subject=_name(leaf),
        names=_names(leaf),
        issuer=leaf.issuer.rfc4514_string(),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        is_own=is_own,
    )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return (
        *found.get_values_for_type(x509.DNSName),
        *(str(address) for address in found.get_values_for_type(x509.IPAddress)),
    )


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "(no subject)"


def _general_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()
