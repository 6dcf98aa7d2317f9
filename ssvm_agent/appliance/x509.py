# SPDX-License-Identifier: Apache-2.0
"""Questions about keys and certificates: do they fit, are they valid, what do they say.

PEM texts in, answers out; no files. ``cryptography`` is loaded at the first question, because the
agent starts before it needs any.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from ssvm_agent.appliance.errors import BadRequestError
from ssvm_agent.masking import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate, Name, SubjectAlternativeName

_BLOCK: Final = re.compile(
    r"-----BEGIN (?P<label>[A-Z0-9 ]+)-----.*?-----END (?P=label)-----", re.DOTALL
)
_KEY_BITS: Final = 2048
# Certificates are valid from a little before now, for machines whose clock is behind.
_CLOCK_SKEW: Final = timedelta(hours=12)
_MAX_CHAIN: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """A key with its certificate and the CA certificates above it, all parsed."""

    key: PrivateKeyTypes
    certificate: Certificate
    chain: tuple[Certificate, ...]


def parse_key(pem: Secret, what: str = "The private key") -> PrivateKeyTypes:
    """A private key, unencrypted PEM.

    Raises:
        BadRequestError: It is none. ``what`` names it in the message, which never quotes it.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(pem.reveal().strip().encode(), None)
    except TypeError:
        raise BadRequestError(f"{what} is encrypted; give it without password") from None
    except ValueError:
        raise BadRequestError(f"{what} cannot be read") from None


def parse_certificates(pem: str, what: str) -> tuple[Certificate, ...]:
    """The certificates of a PEM text, in order; text between them is ignored.

    Raises:
        BadRequestError: There is none, or one cannot be read. ``what`` names it in the message.
    """
    from cryptography.x509 import load_pem_x509_certificate

    blocks = [found[0] for found in _BLOCK.finditer(pem) if found["label"] == "CERTIFICATE"]
    if not blocks:
        raise BadRequestError(f"{what} holds no certificate")
    try:
        return tuple(load_pem_x509_certificate(block.encode()) for block in blocks)
    except ValueError:
        raise BadRequestError(f"{what} cannot be read") from None


def certificates_pem(certificates: Iterable[Certificate]) -> str:
    """The PEM text of certificates, one after the other."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return "".join(one.public_bytes(Encoding.PEM).decode("ascii") for one in certificates)


def key_pem(key: PrivateKeyTypes) -> Secret:
    """The PKCS#8 PEM text of a key."""
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Secret(text.decode("ascii"))


def new_key() -> PrivateKeyTypes:
    """A fresh RSA key of the size the cloud's CA uses (agent-lifecycle.md 4.2)."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)


def check_material(material: Material, now: datetime) -> None:
    """Refuse what would not work (R2): wrong key, outside its dates, chain that does not lead up.

    Raises:
        BadRequestError: With the reason.
    """
    certificate = material.certificate
    if not key_fits(material.key, certificate):
        raise BadRequestError("The private key does not belong to the certificate")
    check_dates(certificate, "The certificate", now)
    if not material.chain:
        raise BadRequestError("There is no CA certificate")
    for one in material.chain:
        check_dates(one, f"The CA certificate {one.subject.rfc4514_string()!r}", now)
    check_chain(certificate, material.chain)


def key_fits(key: PrivateKeyTypes, certificate: Certificate) -> bool:
    """Whether the key is the one the certificate was made for."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)


def check_dates(certificate: Certificate, what: str, now: datetime) -> None:
    """Refuse a certificate that is not valid now.

    Raises:
        BadRequestError: With the date it breaks.
    """
    if now < certificate.not_valid_before_utc - _CLOCK_SKEW:
        since = certificate.not_valid_before_utc
        raise BadRequestError(f"{what} is not valid before {since:%Y-%m-%d %H:%M} UTC")
    if now > certificate.not_valid_after_utc:
        until = certificate.not_valid_after_utc
        raise BadRequestError(f"{what} expired at {until:%Y-%m-%d %H:%M} UTC")


def check_chain(certificate: Certificate, authorities: Sequence[Certificate]) -> None:
    """Refuse a certificate that none of these, step by step, has signed up to a self-signed one.

    A chain that ends at a given certificate without its root counts as complete: what the cloud
    names as its CA is the anchor, whoever signed it (agent-lifecycle.md 4.6).

    Raises:
        BadRequestError: Nobody given has signed the certificate, or the chain is a circle.
    """
    current = certificate
    for _ in range(_MAX_CHAIN):
        issuer = next((one for one in authorities if _signed_by(current, one)), None)
        if issuer is None:
            if current is not certificate:
                return
            name = certificate.issuer.rfc4514_string()
            raise BadRequestError(f"The certificate's issuer {name!r} is not among the CAs given")
        if _signed_by(issuer, issuer):
            return
        current = issuer
    raise BadRequestError("The CA certificates form no chain")


def self_made(*, address: str, name: str, now: datetime, days: int) -> tuple[Secret, str]:
    """A key and a self-signed certificate for an address and a name (R4), PEM texts."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = _common_name(name or address)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(_names(filter(None, (address, name))), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return key_pem(key), certificates_pem([certificate])


def signing_request(key: PrivateKeyTypes, *, name: str, names: Sequence[str]) -> str:
    """A signing request, PEM: CN the name, OU and O ``cloudstack``, SAN all the names.

    Compat: storage-commands.md 3.4, SetupKeyStoreCommand.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding

    assert isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey))
    builder = x509.CertificateSigningRequestBuilder().subject_name(_request_name(name))
    if names:
        builder = builder.add_extension(_names(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode("ascii")


def _signed_by(certificate: Certificate, issuer: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _common_name(name: str) -> Name:
    from cryptography import x509

    # The field holds 64 characters (X.520); the full name is among the alternative ones.
    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name[:64])])


def _request_name(name: str) -> Name:
    from cryptography import x509

    # Differs: storage-commands.md 3.4 also puts the word into the country, which has two letters.
    kinds = x509.oid.NameOID
    words = (
        (kinds.COMMON_NAME, name[:64]),
        (kinds.ORGANIZATIONAL_UNIT_NAME, "cloudstack"),
        (kinds.ORGANIZATION_NAME, "cloudstack"),
    )
    return x509.Name([x509.NameAttribute(kind, word) for kind, word in words])


def _names(names: Iterable[str]) -> SubjectAlternativeName:
    from cryptography import x509

    alternatives: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            alternatives.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(alternatives)
