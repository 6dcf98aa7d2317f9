# SPDX-License-Identifier: Apache-2.0
"""TLS to the database, as an option or the management server's file wants it (blocking).

Certificates given by an option verify the server and its name. ``db.cloud.useSSL`` asks for an
encrypted connection, and ``db.cloud.trustStore`` says which certificates the server may have; that
file tells nothing about names, so none is checked then, as the management server does.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ssvm_agent.masking import Secret
from ssvm_agent.sysvmtemplate.errors import DatabaseAccessError

# First bytes of the older kind of Java key store.
_JKS: Final = b"\xfe\xed\xfe\xed"
_MAX_FILE_BYTES: Final = 4 << 20
_INSTEAD: Final = "--db-ca takes certificates in PEM form instead."


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseTls:
    """What a connection has to be.

    Attributes:
        ca_file: PEM certificates that verify the server and its name.
        trust_store: PKCS#12 key store with the certificates that verify the server.
        trust_store_password: Opens it.
    """

    ca_file: Path | None = None
    trust_store: Path | None = None
    trust_store_password: Secret = field(default_factory=lambda: Secret(""))


def context_of(tls: DatabaseTls) -> ssl.SSLContext:
    """What the connection is encrypted and the server verified with.

    Raises:
        DatabaseAccessError: A file cannot be read, or has no certificates.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca_file is not None:
        try:
            context.load_verify_locations(cafile=str(tls.ca_file))
        except (OSError, ssl.SSLError) as error:
            raise DatabaseAccessError(
                f"{tls.ca_file} holds no readable certificates in PEM form (--db-ca): "
                f"{error.strerror or error}"
            ) from error
        return context
    context.check_hostname = False
    if tls.trust_store is None:
        context.verify_mode = ssl.CERT_NONE
        return context
    for certificate in _certificates(tls.trust_store, tls.trust_store_password):
        context.load_verify_locations(cadata=certificate)
    # One that is no authority may be in it, too: the server's own.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _certificates(path: Path, password: Secret) -> list[bytes]:
    from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise DatabaseAccessError(
            f"The db.cloud.trustStore {path} cannot be read: {error.strerror}. {_INSTEAD}"
        ) from error
    if data.startswith(_JKS):
        raise DatabaseAccessError(
            f"The db.cloud.trustStore {path} is a JKS file. Make a PKCS#12 one of it "
            f"(keytool -importkeystore -deststoretype PKCS12). {_INSTEAD}"
        )
    try:
        store = pkcs12.load_pkcs12(data, password.reveal().encode())
    except ValueError as error:
        raise DatabaseAccessError(
            f"The db.cloud.trustStore {path} cannot be opened: it is damaged, or the "
            f"db.cloud.trustStorePassword is wrong. {_INSTEAD}"
        ) from error
    held = [*([store.cert] if store.cert else []), *store.additional_certs]
    if not held:
        raise DatabaseAccessError(f"The db.cloud.trustStore {path} is empty. {_INSTEAD}")
    return [one.certificate.public_bytes(Encoding.DER) for one in held]
