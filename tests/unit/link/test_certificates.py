# SPDX-License-Identifier: Apache-2.0
"""The agent's certificate files and the rule by which a server is believed."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ssvm_agent.link.certificates import (
    Trust,
    check_peer,
    client_context,
    load_material,
    own_certificate_problem,
)
from ssvm_agent.link.errors import Step, TlsError, TlsMaterialError
from tests.fakes.link_parts import CertificateFiles

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    """Certificates of a provisioned agent."""
    files = CertificateFiles(tmp_path / "tls")
    files.install()
    return files


def der(pem: trustme.Blob) -> bytes:
    """A PEM certificate as DER."""
    return ssl.PEM_cert_to_DER_cert(pem.bytes().decode())


def test_an_empty_directory_means_bootstrap(tmp_path: Path) -> None:
    """requirements S9 and agent-lifecycle.md 4.6: nothing known yet, anything is believed."""
    material = load_material(tmp_path)
    assert (material.certificate, material.key, material.authorities) == (None, None, ())
    client_context(material)
    assert check_peer(material, b"whatever", now=NOW) is Trust.BOOTSTRAP
    assert check_peer(material, None, now=NOW) is Trust.BOOTSTRAP


def test_the_ca_itself_is_believed(files: CertificateFiles) -> None:
    """agent-lifecycle.md 4.6: the server shows its root CA certificate."""
    material = load_material(files.conf)
    assert check_peer(material, der(files.authority.cert_pem), now=NOW) is Trust.PINNED


def test_any_certificate_of_the_ca_file_is_believed(files: CertificateFiles) -> None:
    other = trustme.CA()
    path = files.conf / "cloud.ca.crt"
    path.write_bytes(b"some text\n" + other.cert_pem.bytes() + path.read_bytes())
    material = load_material(files.conf)
    assert len(material.authorities) == 2
    for authority in (other, files.authority):
        assert check_peer(material, der(authority.cert_pem), now=NOW) is Trust.PINNED


def test_a_certificate_signed_by_the_ca_is_believed(files: CertificateFiles) -> None:
    leaf = files.authority.issue_cert("ms.example.org")
    material = load_material(files.conf)
    assert check_peer(material, der(leaf.cert_chain_pems[0]), now=NOW) is Trust.SIGNED


def test_a_foreign_certificate_is_refused_and_named(files: CertificateFiles) -> None:
    foreign = trustme.CA(organization_name="Somebody else").issue_cert("ms.example.org")
    with pytest.raises(TlsError, match="neither the known CA nor signed by it") as caught:
        check_peer(load_material(files.conf), der(foreign.cert_chain_pems[0]), now=NOW)
    assert "Somebody else" in caught.value.message
    assert caught.value.step is Step.TLS


def test_a_ca_of_the_same_name_is_refused(files: CertificateFiles) -> None:
    """The signature counts, not the name."""
    key = ec.generate_private_key(ec.SECP256R1())
    known = x509.load_pem_x509_certificate(files.authority.cert_pem.bytes())
    forged = (
        x509.CertificateBuilder()
        .subject_name(known.subject)
        .issuer_name(known.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    with pytest.raises(TlsError):
        check_peer(
            load_material(files.conf),
            forged.public_bytes(serialization.Encoding.DER),
            now=NOW,
        )


@pytest.mark.parametrize(
    ("shift", "message"),
    [(timedelta(days=-36500), "valid only from"), (timedelta(days=2), "expired on")],
)
def test_dates_of_a_signed_certificate_count(
    files: CertificateFiles, shift: timedelta, message: str
) -> None:
    leaf = files.authority.issue_cert("ms.example.org", not_after=NOW + timedelta(days=1))
    with pytest.raises(TlsError, match=message):
        check_peer(load_material(files.conf), der(leaf.cert_chain_pems[0]), now=NOW + shift)


@pytest.mark.parametrize("shown", [None, b"no certificate at all"])
def test_a_server_without_a_certificate_is_refused(
    files: CertificateFiles, shown: bytes | None
) -> None:
    with pytest.raises(TlsError):
        check_peer(load_material(files.conf), shown, now=NOW)


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"],
    ids=["empty", "garbage", "damaged"],
)
def test_a_damaged_ca_file_is_never_taken_for_none(files: CertificateFiles, content: bytes) -> None:
    """requirements S9: no falling back to trusting everything."""
    (files.conf / "cloud.ca.crt").write_bytes(content)
    with pytest.raises(TlsMaterialError, match=r"cloud\.ca\.crt"):
        load_material(files.conf)


def test_an_unreadable_ca_file_is_an_error(files: CertificateFiles) -> None:
    (files.conf / "cloud.ca.crt").unlink()
    (files.conf / "cloud.ca.crt").mkdir()
    with pytest.raises(TlsMaterialError, match="cannot be read"):
        load_material(files.conf)


@pytest.mark.parametrize("missing", ["cloud.crt", "cloud.key"])
def test_half_a_pair_is_no_client_certificate(files: CertificateFiles, missing: str) -> None:
    """agent-lifecycle.md 4.2: the provisioning script writes them one after the other."""
    (files.conf / missing).unlink()
    material = load_material(files.conf)
    assert material.certificate is None
    problem = own_certificate_problem(material, now=NOW)
    assert problem is not None
    assert "no client certificate" in problem


def test_a_key_of_another_certificate_is_named(files: CertificateFiles) -> None:
    other = files.authority.issue_cert("other")
    (files.conf / "cloud.key").write_bytes(other.private_key_pem.bytes())
    with pytest.raises(TlsMaterialError, match="does not belong to the certificate"):
        client_context(load_material(files.conf))


@pytest.mark.parametrize("name", ["cloud.crt", "cloud.key"])
def test_a_file_that_is_no_pem_is_named(files: CertificateFiles, name: str) -> None:
    (files.conf / name).write_bytes(b"garbage")
    with pytest.raises(TlsMaterialError, match="are not a PEM certificate"):
        client_context(load_material(files.conf))


def test_an_encrypted_key_is_named_and_nobody_is_asked(files: CertificateFiles) -> None:
    key = serialization.load_pem_private_key((files.conf / "cloud.key").read_bytes(), None)
    (files.conf / "cloud.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(TlsMaterialError, match="is encrypted"):
        client_context(load_material(files.conf))


def test_a_pair_that_vanishes_is_an_error(files: CertificateFiles) -> None:
    material = load_material(files.conf)
    (files.conf / "cloud.key").unlink()
    with pytest.raises(TlsMaterialError, match="cannot be read"):
        client_context(material)


def test_the_agents_own_certificate_is_looked_at(files: CertificateFiles) -> None:
    files.install(not_after=NOW + timedelta(days=1))
    material = load_material(files.conf)
    assert own_certificate_problem(material, now=NOW) is None
    late = NOW + timedelta(days=2)
    assert "expired on" in (own_certificate_problem(material, now=late) or "")
    (files.conf / "cloud.crt").write_bytes(b"garbage")
    assert "no readable" in (own_certificate_problem(material, now=NOW) or "")
