# SPDX-License-Identifier: Apache-2.0
"""A certificate authority like the one inside the management server.

Its root certificate is also the certificate the server itself presents: CA, for signing only,
without names (agent-lifecycle.md 0.5). Client certificates carry the agent's addresses.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_VALIDITY = timedelta(days=365)
# A clock a little behind must not refuse a fresh certificate (agent-lifecycle.md 4.2).
_BACKDATED = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its private key, both PEM; the key unencrypted PKCS#8."""

    certificate: str
    private_key: str


class CertificateAuthority:
    """A root of its own, made anew for each simulator unless one is given."""

    def __init__(self, certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls) -> Self:
        """Make a new root: RSA 2048, CA:TRUE, keyCertSign and cRLSign, no alternative name."""
        key = _new_key()
        name = _name("ca.cloudstack.apache.org")
        public = key.public_key()
        builder = (
            _builder(name, name, public, _VALIDITY * 10)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_SIGNS_CERTIFICATES_ONLY, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    @property
    def certificate(self) -> str:
        """The root certificate as PEM."""
        return _certificate_pem(self._certificate)

    @property
    def private_key(self) -> str:
        """The root's private key as PEM."""
        return _key_pem(self._key)

    def issue(
        self, name: str, addresses: Iterable[str], *, validity: timedelta = _VALIDITY
    ) -> Issued:
        """A client certificate for an agent.

        Args:
            name: Common name and DNS name.
            addresses: IP addresses of the machine; the server compares the peer's with them.
            validity: From now on; negative makes one that has expired.
        """
        key = _new_key()
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        builder = (
            _builder(_name(name), self._certificate.subject, key.public_key(), validity)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        return Issued(_certificate_pem(certificate), _key_pem(key))


def names_in(certificate_der: bytes) -> frozenset[str]:
    """The alternative names of a certificate as text, addresses and DNS names alike."""
    certificate = x509.load_der_x509_certificate(certificate_der)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return frozenset(addresses + names.get_values_for_type(x509.DNSName))


_SIGNS_CERTIFICATES_ONLY = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cloudstack"),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public: rsa.RSAPublicKey, validity: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    end = now + validity
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, end) - _BACKDATED)
        .not_valid_after(end)
    )


def _certificate_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def _key_pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
