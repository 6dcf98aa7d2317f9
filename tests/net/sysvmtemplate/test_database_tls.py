# SPDX-License-Identifier: Apache-2.0
"""TLS to a real MariaDB, as an option or ``db.properties`` wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from ssvm_agent.masking import Secret
from ssvm_agent.sealed import seal
from ssvm_agent.sysvmtemplate.access import resolve
from ssvm_agent.sysvmtemplate.database import TemplateTable
from ssvm_agent.sysvmtemplate.errors import DatabaseAccessError, DatabaseFailedError
from ssvm_agent.sysvmtemplate.hypervisors import HYPERVISORS
from ssvm_agent.sysvmtemplate.request import DatabaseRequest
from tests.fixtures.certificates import WebIdentity
from tests.fixtures.mariadb import PASSWORD, USER, MariaDb, run_mariadb

pytestmark = [pytest.mark.needs("mariadbd"), pytest.mark.timeout(120)]

Ask = Callable[..., int]
STORE_PASSWORD = "store pass"
KEY = "management key"
UNTRUSTED = "certificate verify failed: .*Check the certificates it is verified with"


@pytest.fixture(scope="module")
def encrypted(
    tmp_path_factory: pytest.TempPathFactory, web_identity: WebIdentity
) -> Iterator[MariaDb]:
    """A server that lets the user in over TLS only."""
    options = (f"--ssl-cert={web_identity.certificate}", f"--ssl-key={web_identity.private_key}")
    with run_mariadb(tmp_path_factory.mktemp("mariadb-tls"), *options) as database:
        database.fill()
        database.execute(f"ALTER USER {USER}@'127.0.0.1' REQUIRE SSL")
        yield database


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Look for the newest KVM template with a ``db.properties`` of these lines; its id."""

    def newest(database: MariaDb, *, ca_file: Path | None = None, **lines: object) -> int:
        values = {
            "host": "127.0.0.1", "port": database.port, "username": USER, "password": PASSWORD,
            "encryption.type": "none", **lines,
        }  # fmt: skip
        path = tmp_path / "db.properties"
        path.write_text("".join(f"db.cloud.{key}={value}\n" for key, value in values.items()))
        request = DatabaseRequest(properties=path, ca_file=ca_file, key=Secret(KEY))
        return TemplateTable(resolve(request)).newest(HYPERVISORS["kvm"]).id

    return newest


def trust_store(path: Path, *certificates: bytes) -> Path:
    """As keytool makes one: certificates without keys."""
    held = [
        pkcs12.PKCS12Certificate(x509.load_pem_x509_certificate(one), b"mysql")
        for one in certificates
    ]
    encryption = BestAvailableEncryption(STORE_PASSWORD.encode())
    path.write_bytes(pkcs12.serialize_java_truststore(held, encryption))
    return path


def test_what_the_server_can_do_is_used(ask: Ask, encrypted: MariaDb) -> None:
    assert ask(encrypted) == 201


def test_the_file_asks_for_tls(ask: Ask, encrypted: MariaDb) -> None:
    assert ask(encrypted, useSSL="true") == 201


@pytest.mark.parametrize("wanted", ["by the file", "by the option"])
def test_a_server_without_tls_is_not_talked_to(
    ask: Ask, mariadb: MariaDb, web_identity: WebIdentity, wanted: str
) -> None:
    ca_file = web_identity.ca if wanted == "by the option" else None
    with pytest.raises(DatabaseFailedError, match=r"check that the server has a certificate"):
        ask(mariadb, ca_file=ca_file, useSSL="true" if ca_file is None else "false")
    assert ask(mariadb, useSSL="false") == 201


def test_an_option_s_certificates_verify_the_server(
    ask: Ask, encrypted: MariaDb, web_identity: WebIdentity, tmp_path: Path
) -> None:
    assert ask(encrypted, ca_file=web_identity.ca) == 201
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with pytest.raises(DatabaseFailedError, match=UNTRUSTED):
        ask(encrypted, ca_file=other)


def test_only_an_option_s_certificates_verify_the_name(
    ask: Ask, encrypted: MariaDb, web_identity: WebIdentity, tmp_path: Path
) -> None:
    # The same address by a name that the certificate does not have.
    with pytest.raises(
        DatabaseFailedError, match=r"not valid for '127\.1'\. Check the certificates"
    ):
        ask(encrypted, ca_file=web_identity.ca, host="127.1")
    store = trust_store(tmp_path / "good.p12", web_identity.ca.read_bytes())
    lines = {"useSSL": "true", "trustStore": store, "trustStorePassword": STORE_PASSWORD}
    assert ask(encrypted, host="127.1", **lines) == 201


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_an_option_without_certificates_is_refused(
    ask: Ask, encrypted: MariaDb, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatabaseAccessError, match=r"ca\.pem holds no readable certificates"):
        ask(encrypted, ca_file=path)


@pytest.mark.parametrize(
    "password", [STORE_PASSWORD, f"ENC({seal(Secret(KEY), STORE_PASSWORD, iv=bytes(12))})"]
)
def test_the_trust_store_verifies_the_server(
    ask: Ask, encrypted: MariaDb, web_identity: WebIdentity, tmp_path: Path, password: str
) -> None:
    good = trust_store(tmp_path / "good.p12", web_identity.ca.read_bytes())
    own = trust_store(tmp_path / "own.p12", web_identity.certificate.read_bytes())
    other = trust_store(tmp_path / "other.p12", trustme.CA().cert_pem.bytes())
    for store in (good, own):
        found = ask(encrypted, useSSL="true", trustStore=store, trustStorePassword=password)
        assert found == 201
    with pytest.raises(DatabaseFailedError, match=UNTRUSTED):
        ask(encrypted, useSSL="true", trustStore=other, trustStorePassword=password)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file"),
        (b"\xfe\xed\xfe\xed\0\0\0\2", "is a JKS file"),
        (b"rubbish", "it is damaged, or the db.cloud.trustStorePassword is wrong"),
    ],
)
def test_a_trust_store_that_is_none_is_refused(
    ask: Ask, encrypted: MariaDb, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "trust.p12"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatabaseAccessError, match=reason) as caught:
        ask(encrypted, useSSL="true", trustStore=path, trustStorePassword=STORE_PASSWORD)
    assert STORE_PASSWORD not in str(caught.value)


def test_a_wrong_password_of_the_trust_store_is_told(
    ask: Ask, encrypted: MariaDb, web_identity: WebIdentity, tmp_path: Path
) -> None:
    store = trust_store(tmp_path / "trust.p12", web_identity.ca.read_bytes())
    with pytest.raises(DatabaseAccessError, match="trustStorePassword is wrong"):
        ask(encrypted, useSSL="true", trustStore=store, trustStorePassword="other")
