# SPDX-License-Identifier: Apache-2.0
"""The agent's certificate files: checked, written, read back (agent-lifecycle.md 4, R2)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509 as crypto
from cryptography.hazmat.primitives.serialization import pkcs12
from trustme import CA, LeafCert

from ssvm_agent.appliance.errors import ApplianceError, BadRequestError
from ssvm_agent.appliance.keystore import AgentKeystore
from ssvm_agent.config.state import AgentState
from ssvm_agent.masking import Secret

NOW = datetime.now(UTC)


class Place:
    """A conf directory with its state."""

    def __init__(self, root: Path) -> None:
        self.dir = root
        self.state = AgentState(root / "agent.properties", "NfsSecondaryStorageResource")
        self.keystore = AgentKeystore(root, self.state)

    def install(self, leaf: LeafCert, ca: CA, **changes: str | datetime | Secret) -> None:
        texts: dict[str, str | datetime | Secret] = {
            "certificate": leaf.cert_chain_pems[0].bytes().decode(),
            "private_key": Secret(leaf.private_key_pem.bytes().decode()),
            "ca_certificates": ca.cert_pem.bytes().decode(),
            "now": NOW,
        }
        self.keystore.install(**(texts | changes))  # type: ignore[arg-type] # a table of texts

    def files(self) -> dict[str, int]:
        """Names and modes."""
        return {path.name: path.stat().st_mode & 0o777 for path in self.dir.iterdir()}


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(name="ca", scope="module")
def _ca() -> CA:
    return CA()


@pytest.fixture(name="leaf", scope="module")
def _leaf(ca: CA) -> LeafCert:
    return ca.issue_cert("s-1-VM", "10.1.34.20")


def test_a_good_set_is_written_and_reads_back(place: Place, ca: CA, leaf: LeafCert) -> None:
    place.install(leaf, ca)
    assert place.files() == {
        "cloud.crt": 0o644,
        "cloud.ca.crt": 0o644,
        "cloud.key": 0o600,
        "cloud.jks": 0o600,
    }
    place.keystore.check(NOW)


def test_the_keystore_is_pkcs12_under_the_default_passphrase(
    place: Place, ca: CA, leaf: LeafCert
) -> None:
    place.install(leaf, ca)
    store = pkcs12.load_pkcs12((place.dir / "cloud.jks").read_bytes(), b"vmops.com")
    assert store.key is not None
    assert store.cert is not None
    assert store.cert.friendly_name == b"cloud"
    aliases = [one.friendly_name for one in store.additional_certs]
    assert b"cloudca.1" in aliases


def test_the_passphrase_of_agent_properties_is_used(place: Place, ca: CA, leaf: LeafCert) -> None:
    """agent-lifecycle.md 4.1; a script may have written it after we started."""
    (place.dir / "agent.properties").write_text("keystore.passphrase=abcDEF0123456789\n")
    place.install(leaf, ca)
    assert pkcs12.load_pkcs12((place.dir / "cloud.jks").read_bytes(), b"abcDEF0123456789").key


@pytest.mark.needs("keytool")
def test_java_sees_the_key_and_the_trusted_cas(place: Place) -> None:
    root = CA()
    middle = root.create_child_ca()
    own = middle.issue_cert("s-1-VM")
    chain = middle.cert_pem.bytes().decode() + root.cert_pem.bytes().decode()
    place.install(own, root, ca_certificates=chain)
    listing = subprocess.run(
        ["keytool", "-list", "-keystore", place.dir / "cloud.jks", "-storepass", "vmops.com"],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    text = listing.stdout
    assert "cloud, " in text
    assert "PrivateKeyEntry" in text
    assert text.count("trustedCertEntry") == 2
    assert "cloudca.1, " in text
    assert "cloudca.2, " in text


def _break(what: str, ca: CA, leaf: LeafCert) -> dict[str, str | datetime | Secret]:
    other = CA()
    stranger = other.issue_cert("s-9-VM")
    cases: dict[str, dict[str, str | datetime | Secret]] = {
        "a key of another certificate": {
            "private_key": Secret(stranger.private_key_pem.bytes().decode())
        },
        "a CA that did not sign": {"ca_certificates": other.cert_pem.bytes().decode()},
        "no CA": {"ca_certificates": ""},
        "no certificate": {"certificate": "nonsense"},
        "a damaged certificate": {
            "certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        },
        "a damaged key": {"private_key": Secret("-----BEGIN PRIVATE KEY-----\nx")},
        "no key of ours": {"private_key": Secret("")},
        "too late": {"now": NOW + timedelta(days=365_000)},
        "too early": {"now": NOW - timedelta(days=36_500)},
    }
    return cases[what]


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("a key of another certificate", "private key does not belong"),
        ("a CA that did not sign", "is not among the CAs given"),
        ("no CA", "The CA certificate holds no certificate"),
        ("no certificate", "The certificate holds no certificate"),
        ("a damaged certificate", "The certificate cannot be read"),
        ("a damaged key", "The private key cannot be read"),
        ("no key of ours", "belongs to no signing request of ours"),
        ("too late", "The certificate expired at"),
        ("too early", "The certificate is not valid before"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    place: Place, ca: CA, leaf: LeafCert, what: str, reason: str
) -> None:
    """R2: otherwise result=false with the reason."""
    with pytest.raises(BadRequestError, match=reason):
        place.install(leaf, ca, **_break(what, ca, leaf))
    assert place.files() == {}


def test_an_encrypted_key_is_refused_with_advice(place: Place, ca: CA, leaf: LeafCert) -> None:
    from cryptography.hazmat.primitives import serialization as s

    key = s.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    text = key.private_bytes(
        s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"x")
    ).decode()
    with pytest.raises(BadRequestError, match="without password"):
        place.install(leaf, ca, private_key=Secret(text))


def test_a_certificate_for_our_signing_request_uses_its_key(place: Place) -> None:
    """agent-lifecycle.md 4.4: the private key is empty then."""
    request_text = place.keystore.make_request(
        name="s-1-VM", names=("s-1-VM", "10.1.34.20"), offered=Secret("abcDEF0123456789")
    )
    request = crypto.load_pem_x509_csr(request_text.encode())
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "O=cloudstack,OU=cloudstack,CN=s-1-VM"
    names = request.extensions.get_extension_for_class(crypto.SubjectAlternativeName).value
    assert names.get_values_for_type(crypto.DNSName) == ["s-1-VM"]
    assert [str(one) for one in names.get_values_for_type(crypto.IPAddress)] == ["10.1.34.20"]
    assert place.files()["cloud.csr"] == 0o600
    assert "keystore.passphrase=abcDEF0123456789" in (place.dir / "agent.properties").read_text()
    authority, pem = _sign(request)
    place.keystore.install(
        certificate=pem, private_key=Secret(""), ca_certificates=authority, now=NOW
    )
    assert ".cloud.key.pending" not in place.files()
    place.keystore.check(NOW)


def _sign(request: crypto.CertificateSigningRequest) -> tuple[str, str]:
    """A CA and its certificate for a signing request, PEM."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    key = ec.generate_private_key(ec.SECP256R1())
    issuer = crypto.Name([crypto.NameAttribute(crypto.oid.NameOID.COMMON_NAME, "cloud CA")])

    def build(subject: crypto.Name, public_key: object) -> crypto.CertificateBuilder:
        return crypto.CertificateBuilder(
            subject_name=subject, issuer_name=issuer, public_key=public_key,  # type: ignore[arg-type] # either kind
            serial_number=crypto.random_serial_number(), not_valid_before=NOW,
            not_valid_after=NOW + timedelta(days=1),
        )  # fmt: skip

    authority = build(issuer, key.public_key()).sign(key, hashes.SHA256())
    own = build(request.subject, request.public_key()).sign(key, hashes.SHA256())
    return tuple(one.public_bytes(Encoding.PEM).decode() for one in (authority, own))  # type: ignore[return-value] # two


def test_a_renewal_without_key_keeps_the_present_one(place: Place, ca: CA, leaf: LeafCert) -> None:
    place.install(leaf, ca)
    place.install(leaf, ca, private_key=Secret(""))


def test_damage_on_the_disk_is_found(place: Place, ca: CA, leaf: LeafCert) -> None:
    place.install(leaf, ca)
    (place.dir / "cloud.key").unlink()
    with pytest.raises(ApplianceError, match=r"cloud\.key cannot be read"):
        place.keystore.check(NOW)


def test_a_directory_that_cannot_be_written_is_an_error(
    tmp_path: Path, ca: CA, leaf: LeafCert
) -> None:
    (tmp_path / "file").write_text("")
    place = Place(tmp_path)
    place.keystore = AgentKeystore(tmp_path / "file", place.state)
    with pytest.raises(ApplianceError, match="cannot be written"):
        place.install(leaf, ca)


@pytest.mark.parametrize("order", [lambda pair: pair, lambda pair: pair[::-1]])
def test_a_chain_is_accepted_in_either_order(
    place: Place, order: Callable[[list[CA]], list[CA]]
) -> None:
    """agent-lifecycle.md 4.4: 4.23 may send a chain, the signing certificate first."""
    root = CA()
    middle = root.create_child_ca()
    chain = "".join(one.cert_pem.bytes().decode() for one in order([middle, root]))
    place.install(middle.issue_cert("s-1-VM"), root, ca_certificates="# text\n" + chain)


def test_a_chain_without_its_root_is_accepted(place: Place) -> None:
    root = CA()
    middle = root.create_child_ca()
    place.install(
        middle.issue_cert("s-1-VM"), root, ca_certificates=middle.cert_pem.bytes().decode()
    )
