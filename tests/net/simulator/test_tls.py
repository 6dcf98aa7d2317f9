# SPDX-License-Identifier: Apache-2.0
"""Certificates at the simulator's door, as at a real server's (agent-lifecycle.md 4.3)."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from ssvm_agent.simulator.authority import CertificateAuthority, Issued, names_in
from ssvm_agent.simulator.model import HostStatus
from ssvm_agent.simulator.server import ClientCertificates, ManagementServer
from tests.fakes.agent import anonymous_context, fake_agent
from tests.fixtures.agents import StartServer


def context_with(issued: Issued, folder: Path) -> ssl.SSLContext:
    (folder / "crt").write_text(issued.certificate)
    (folder / "key").write_text(issued.private_key)
    context = anonymous_context()
    context.load_cert_chain(folder / "crt", folder / "key")
    return context


async def test_the_server_shows_its_root_itself(
    start_server: StartServer, cloud_authority: CertificateAuthority
) -> None:
    """agent-lifecycle.md 0.5: CA, for signing only, without alternative names."""
    server: ManagementServer = await start_server()
    async with fake_agent(server.port) as agent:
        shown = agent.channel.peer_certificate()
    assert shown is not None
    certificate = x509.load_der_x509_certificate(shown)
    root = x509.load_pem_x509_certificate(cloud_authority.certificate.encode())
    assert certificate == root
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert not usage.digital_signature
    assert names_in(shown) == frozenset()


async def test_without_certificate_a_strict_server_refuses(start_server: StartServer) -> None:
    server: ManagementServer = await start_server(client_certificates=ClientCertificates.NEEDED)
    with pytest.raises((ssl.SSLError, OSError, ConnectionError, Exception)):
        async with fake_agent(server.port):
            pass
    await server.wait_until(lambda: bool(server.handshakes_failed))


@pytest.mark.parametrize("validity", [timedelta(days=30), timedelta(days=-30)])
async def test_a_certificate_with_our_address_is_let_in(
    start_server: StartServer,
    cloud_authority: CertificateAuthority,
    tmp_path: Path,
    validity: timedelta,
) -> None:
    """agent-lifecycle.md 4.3: expired ones too, by default."""
    server: ManagementServer = await start_server(client_certificates=ClientCertificates.NEEDED)
    issued = cloud_authority.issue("s-1-VM", ["127.0.0.1"], validity=validity)
    async with fake_agent(server.port, context=context_with(issued, tmp_path), startup={}):
        await server.wait_for_status(HostStatus.UP)


async def test_a_certificate_with_another_address_is_refused(
    start_server: StartServer, cloud_authority: CertificateAuthority, tmp_path: Path
) -> None:
    """agent-lifecycle.md 4.3, ownership."""
    server: ManagementServer = await start_server(client_certificates=ClientCertificates.NEEDED)
    issued = cloud_authority.issue("s-1-VM", ["10.9.9.9"])
    async with fake_agent(server.port, context=context_with(issued, tmp_path), startup={}) as agent:
        await agent.until(lambda: agent.at_eof)
    assert server.handshakes_failed == ["the certificate does not name 127.0.0.1"]


async def test_a_new_certificate_is_sent_with_the_addresses_of_the_host(
    start_server: StartServer,
) -> None:
    """agent-lifecycle.md 4.4."""
    server: ManagementServer = await start_server()
    async with fake_agent(server.port, startup={}) as agent:
        await server.wait_for_status(HostStatus.UP)
        assert (await server.provision_certificate(reconnect=True)).result
        name, fields, _ = agent.requests[-1]
        assert name == "SetupCertificateCommand"
        sent = x509.load_pem_x509_certificate(fields["certificate"].encode())
        from cryptography.hazmat.primitives.serialization import Encoding

        assert {"10.1.34.20", "203.0.113.21"} <= names_in(sent.public_bytes(Encoding.DER))
        await agent.until(lambda: agent.at_eof)
