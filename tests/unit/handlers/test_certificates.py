# SPDX-License-Identifier: Apache-2.0
"""Certificate commands over the link (agent-lifecycle.md 4.4, requirements R2)."""

from __future__ import annotations

import pytest
from cryptography import x509
from trustme import CA

from ssvm_agent.appliance.errors import ApplianceError
from ssvm_agent.messages.base import Command, UnsupportedAnswer
from ssvm_agent.messages.certificates import (
    SetupCertificateAnswer,
    SetupCertificateCommand,
    SetupKeystoreAnswer,
    SetupKeyStoreCommand,
)
from tests.fakes.services import Rig


def _command(ca: CA, **changes: str) -> SetupCertificateCommand:
    leaf = ca.issue_cert("s-1-VM", "10.1.34.20")
    texts = {
        "certificate": leaf.cert_chain_pems[0].bytes().decode(),
        "private_key": leaf.private_key_pem.bytes().decode(),
        "ca_certificates": ca.cert_pem.bytes().decode(),
    }
    return SetupCertificateCommand(handle_by_agent=True, **(texts | changes))  # type: ignore[arg-type] # texts


async def test_a_good_certificate_is_installed_and_its_ca_trusted(rig: Rig) -> None:
    answer = await rig.ask(_command(CA()))
    assert isinstance(answer, SetupCertificateAnswer)
    assert answer.result
    conf = rig.services.settings.conf_dir
    assert (conf / "cloud.key").stat().st_mode & 0o777 == 0o600
    assert rig.appliance.actions == ["trust 1 CA certificates"]


async def test_a_bad_certificate_keeps_the_answer_class_and_says_why(rig: Rig) -> None:
    """A plain Answer would be a cast error at the server."""
    answer = await rig.ask(_command(CA(), ca_certificates=CA().cert_pem.bytes().decode()))
    assert isinstance(answer, SetupCertificateAnswer)
    assert not answer.result
    assert "not among the CAs given" in (answer.details or "")
    assert not (rig.services.settings.conf_dir / "cloud.key").exists()


async def test_the_answer_never_repeats_the_key(rig: Rig) -> None:
    answer = await rig.ask(_command(CA(), private_key="geheim"))
    assert answer is not None
    assert "geheim" not in (answer.details or "")
    assert not answer.result


async def test_a_system_trust_that_fails_is_only_a_warning(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_certificates: str) -> None:
        raise ApplianceError("no such program")

    monkeypatch.setattr(rig.appliance, "trust_cloud_ca", fail)
    answer = await rig.ask(_command(CA()))
    assert answer is not None
    assert answer.result
    assert "CA not added to the trust of the system" in caplog.text


async def test_a_signing_request_is_answered_with_its_text(rig: Rig) -> None:
    command = SetupKeyStoreCommand(
        validity_days=365, keystore_password="abcDEF0123456789", handle_by_agent=True
    )
    answer = await rig.ask(command)
    assert isinstance(answer, SetupKeystoreAnswer)
    assert answer.result
    request = x509.load_pem_x509_csr((answer.csr or "").encode())
    assert "CN=s-1-VM" in request.subject.rfc4514_string()
    properties = rig.services.settings.agent_properties.read_text()
    assert "keystore.passphrase=abcDEF0123456789" in properties


@pytest.mark.parametrize(
    "command",
    [SetupCertificateCommand(handle_by_agent=False), SetupKeyStoreCommand(handle_by_agent=False)],
    ids=lambda command: type(command).__name__,
)
async def test_what_is_not_for_the_agent_is_unsupported(rig: Rig, command: Command) -> None:
    assert isinstance(await rig.ask(command), UnsupportedAnswer)
