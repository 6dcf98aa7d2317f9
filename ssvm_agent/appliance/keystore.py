# SPDX-License-Identifier: Apache-2.0
"""The agent's own key and certificate: the files in the conf directory (agent-lifecycle.md 4).

PEM files are what this agent uses; ``cloud.jks`` is kept in step for software that reads a Java
keystore (it holds PKCS#12, as current Java tools write it). Everything is checked before and read
back after writing (R2). Blocking: call through a pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssvm_agent.appliance import pkcs12, x509
from ssvm_agent.appliance.errors import ApplianceError, BadRequestError
from ssvm_agent.config.state import AgentState
from ssvm_agent.host.files import NewFile, replace_together
from ssvm_agent.masking import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

CERTIFICATE_FILE: Final = "cloud.crt"
CA_FILE: Final = "cloud.ca.crt"
KEY_FILE: Final = "cloud.key"
REQUEST_FILE: Final = "cloud.csr"
KEYSTORE_FILE: Final = "cloud.jks"
_ALIAS: Final = "cloud"
# A key made for a signing request waits here, so that the present pair stays usable until the
# certificate has come.
_PENDING_KEY_FILE: Final = ".cloud.key.pending"
_PRIVATE: Final = 0o600
_PUBLIC: Final = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledCertificate:
    """What is in place now, for the log.

    Attributes:
        subject: Name in the certificate.
        not_after: End of its validity, UTC.
        ca_pem: The CA certificates as written.
    """

    subject: str
    not_after: datetime
    ca_pem: str


class AgentKeystore:
    """Key, certificate and CA of the link to the management server."""

    def __init__(self, conf_dir: Path, state: AgentState) -> None:
        self._dir = conf_dir
        self._state = state

    def make_request(self, *, name: str, names: tuple[str, ...], offered: Secret) -> str:
        """A new key and its signing request (SetupKeyStore, agent-lifecycle.md 4.4).

        Args:
            name: Common name, the machine's full name.
            names: Alternative names and addresses.
            offered: Passphrase to store unless there is one.

        Raises:
            ApplianceError: A file cannot be written.
        """
        if offered:
            self._state.keep_passphrase(offered)
        key = x509.new_key()
        request = x509.signing_request(key, name=name, names=names)
        self._write(
            (_PENDING_KEY_FILE, x509.key_pem(key).reveal().encode(), _PRIVATE),
            (REQUEST_FILE, request.encode(), _PRIVATE),
        )
        return request

    def install(
        self,
        *,
        certificate: str,
        private_key: Secret,
        ca_certificates: str,
        now: datetime,
        offered: Secret | None = None,
    ) -> InstalledCertificate:
        """Check and write a certificate, its key and its CA (SetupCertificate).

        Args:
            certificate: PEM; what follows the first certificate joins the CA certificates.
            private_key: PEM; empty: the key of the last signing request, or the present one.
            ca_certificates: PEM, concatenated.
            now: Aware time to judge validity by.
            offered: Passphrase to store unless there is one.

        Raises:
            BadRequestError: The parts do not fit together; nothing was changed.
            ApplianceError: A file cannot be written (the old set stays), or reads back wrong.
        """
        own, *rest = x509.parse_certificates(certificate, "The certificate")
        authorities = (*rest, *x509.parse_certificates(ca_certificates, "The CA certificate"))
        key = x509.parse_key(private_key) if private_key else self._waiting_key(own)
        material = x509.Material(key=key, certificate=own, chain=authorities)
        x509.check_material(material, now)
        if offered:
            self._state.keep_passphrase(offered)
        store = self._keystore(material)
        ca_pem = x509.certificates_pem(authorities)
        self._write(
            (KEY_FILE, x509.key_pem(key).reveal().encode(), _PRIVATE),
            (CA_FILE, ca_pem.encode(), _PUBLIC),
            (CERTIFICATE_FILE, x509.certificates_pem([own]).encode(), _PUBLIC),
            (KEYSTORE_FILE, store, _PRIVATE),
        )
        self.check(now)
        (self._dir / _PENDING_KEY_FILE).unlink(missing_ok=True)
        return InstalledCertificate(
            subject=own.subject.rfc4514_string(),
            not_after=own.not_valid_after_utc,
            ca_pem=ca_pem,
        )

    def check(self, now: datetime) -> None:
        """Judge what the files hold: the next connect will use exactly that (R2).

        Raises:
            ApplianceError: A file is missing or they do not fit together.
        """
        (own, *_) = x509.parse_certificates(self._read(CERTIFICATE_FILE), CERTIFICATE_FILE)
        material = x509.Material(
            key=x509.parse_key(Secret(self._read(KEY_FILE))),
            certificate=own,
            chain=x509.parse_certificates(self._read(CA_FILE), CA_FILE),
        )
        x509.check_material(material, now)

    def _waiting_key(self, certificate: Certificate) -> PrivateKeyTypes:
        for name in (_PENDING_KEY_FILE, KEY_FILE):
            if (self._dir / name).is_file():
                key = x509.parse_key(Secret(self._read(name)), f"The private key in {name}")
                if x509.key_fits(key, certificate):
                    return key
        raise BadRequestError(
            "The certificate came without private key and belongs to no signing request of ours"
        )

    def _keystore(self, material: x509.Material) -> bytes:
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        key = material.key
        if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
            raise BadRequestError("The private key is neither RSA nor EC")
        self._state.refresh()
        return pkcs12.keystore(
            key=key,
            alias=_ALIAS,
            chain=(material.certificate, *material.chain),
            # Compat: agent-lifecycle.md 4.1, the aliases of the import script.
            trusted=[(f"cloudca.{at}", one) for at, one in enumerate(material.chain, 1)],
            passphrase=self._state.passphrase(),
        )

    def _read(self, name: str) -> str:
        try:
            return (self._dir / name).read_text("utf-8", "replace")
        except OSError as error:
            raise ApplianceError(f"{name} cannot be read: {error.strerror}") from error

    def _write(self, *files: tuple[str, bytes, int]) -> None:
        """Write files that belong together, each by name, content and mode."""
        new = [NewFile(path=self._dir / name, data=data, mode=mode) for name, data, mode in files]
        try:
            self._dir.mkdir(parents=True, exist_ok=True)
            replace_together(new)
        except OSError as error:
            name = Path(error.filename).name if error.filename else self._dir
            raise ApplianceError(f"{name} cannot be written: {error.strerror}") from error
