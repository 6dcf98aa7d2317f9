# SPDX-License-Identifier: Apache-2.0
"""The connection doctor: the first step that fails is named, in one sentence (requirements R1)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ssvm_agent.config.settings import LinkSettings
from ssvm_agent.link.errors import Step
from ssvm_agent.link.status import LinkState, LinkStatus
from ssvm_agent.link.tls import server_context
from tests.fakes.link_parts import FACTS, CertificateFiles, RunningLink, running_link
from tests.fakes.manual_clock import ManualClock
from tests.fakes.scripted_server import scripted_server


async def first_failure(running: RunningLink) -> LinkStatus:
    """The status after the first failed attempt."""
    status = await running.until(lambda status: status.last_error is not None)
    assert status.state is LinkState.DISCONNECTED
    return status


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port that accepts nothing more: the queue of its listener is full."""
    with socket.socket() as listener, socket.socket() as filler, socket.socket() as another:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for client in (filler, another):
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield port


async def test_a_name_that_does_not_resolve(files: CertificateFiles) -> None:
    async with running_link(
        files.conf, port=1, clock=ManualClock(), servers=["no-such-host.invalid"]
    ) as running:
        status = await first_failure(running)
    assert status.failing_step is Step.DNS
    assert (status.last_error or "").startswith("The name no-such-host.invalid cannot be resolved")


async def test_a_name_that_cannot_be_one(files: CertificateFiles) -> None:
    async with running_link(files.conf, port=1, clock=ManualClock(), servers=["x" * 70]) as running:
        assert (await first_failure(running)).failing_step is Step.DNS


async def test_an_address_without_a_route(files: CertificateFiles) -> None:
    # The kernel lets no socket go to this address: it means "broadcast" and needs leave.
    async with running_link(
        files.conf, port=1, clock=ManualClock(), servers=["255.255.255.255"]
    ) as running:
        status = await first_failure(running)
    assert status.failing_step is Step.ROUTE
    assert (status.last_error or "").startswith("There is no route to 255.255.255.255")


async def test_a_port_nobody_listens_on(files: CertificateFiles) -> None:
    async with scripted_server(files.server_context()) as server:
        port = server.port
    async with running_link(files.conf, port=port, clock=ManualClock()) as running:
        status = await first_failure(running)
    assert status.failing_step is Step.TCP
    assert status.last_error == (
        f"127.0.0.1 port {port} refuses the connection; does a management server run there?"
    )


async def test_a_server_that_does_not_answer(files: CertificateFiles, full_port: int) -> None:
    async with running_link(
        files.conf,
        port=full_port,
        clock=ManualClock(),
        link=LinkSettings(connect_timeout_s=0.1),
    ) as running:
        status = await first_failure(running)
    assert status.failing_step is Step.TCP
    assert "does not answer within 0.1 s" in (status.last_error or "")


async def test_a_name_is_shown_with_its_address(files: CertificateFiles) -> None:
    async with scripted_server(files.server_context()) as server:
        port = server.port
    async with running_link(
        files.conf, port=port, clock=ManualClock(), servers=["localhost"]
    ) as running:
        status = await first_failure(running)
    assert (status.last_error or "").startswith(f"localhost (127.0.0.1) port {port} refuses")


async def test_a_server_of_another_cloud_is_not_spoken_to(
    files: CertificateFiles, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """agent-lifecycle.md 4.6 and requirements S9."""
    other = CertificateFiles(tmp_path_factory.mktemp("other"))
    async with (
        scripted_server(server_context(other.server_certificate, other.server_key)) as server,
        running_link(files.conf, port=server.port, clock=ManualClock()) as running,
    ):
        peer = await server.peer()
        await peer.shake_hands()
        with pytest.raises((EOFError, ConnectionError)):
            await peer.event()  # not a byte of the protocol came
        status = await first_failure(running)
    assert status.failing_step is Step.TLS
    assert "neither the known CA nor signed by it" in (status.last_error or "")


async def test_before_a_ca_is_known_any_server_is_believed_and_that_is_logged(
    files: CertificateFiles, caplog: pytest.LogCaptureFixture
) -> None:
    """requirements S9: an explicit bootstrap that logs itself, over at the next connect."""
    for path in files.conf.iterdir():
        path.unlink()
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=clock) as running,
    ):
        peer = await server.peer()
        await peer.set_up()
        status = await running.until_state(LinkState.READY)
        assert status.trust == "no CA known yet"
        assert "believed without a check" in caplog.text
        assert peer.channel.peer_certificate() is None

        files.install()
        peer.hang_up()
        clock.advance(await clock.sleeper(at_most_s=10))
        peer = await server.peer()
        await peer.set_up()
        status = await running.until(lambda status: status.is_ready and status.trust)
        assert status.trust == "its certificate is the pinned CA"
        assert peer.channel.peer_certificate() is not None


async def test_a_missing_client_certificate_is_named(files: CertificateFiles) -> None:
    """agent-lifecycle.md 4.2: with strictness on, until the certificate has come."""
    for path in files.conf.iterdir():
        path.unlink()
    files.install_authority()
    async with (
        scripted_server(files.server_context(require_client=True)) as server,
        running_link(files.conf, port=server.port, clock=ManualClock()) as running,
    ):
        peer = await server.peer()
        with pytest.raises(Exception, match="no certificate and one is needed"):
            await peer.shake_hands()
        status = await first_failure(running)
    assert status.failing_step is Step.TLS
    assert "The agent has no client certificate" in (status.last_error or "")


async def test_an_expired_client_certificate_is_named(files: CertificateFiles) -> None:
    files.install(not_after=ManualClock().now().replace(year=2021))
    async with (
        scripted_server(files.server_context(require_client=True)) as server,
        running_link(files.conf, port=server.port, clock=ManualClock()) as running,
    ):
        peer = await server.peer()
        with pytest.raises(Exception, match="handshake failed"):
            await peer.shake_hands()
        status = await first_failure(running)
    assert "The agent's certificate expired on 2021-" in (status.last_error or "")


async def test_a_key_that_does_not_match_is_named(files: CertificateFiles) -> None:
    other = files.authority.issue_cert("other")
    (files.conf / "cloud.key").write_bytes(other.private_key_pem.bytes())
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=clock) as running,
    ):
        status = await first_failure(running)
        assert status.failing_step is Step.TLS
        assert "does not belong to the certificate" in (status.last_error or "")
        assert server.accepted == 0
        files.install()
        clock.advance(await clock.sleeper())
        await (await server.peer()).set_up()


async def test_a_port_that_speaks_no_tls_is_named(files: CertificateFiles) -> None:
    async with (
        scripted_server(files.server_context()) as server,
        running_link(files.conf, port=server.port, clock=ManualClock()) as running,
    ):
        peer = await server.peer()
        peer.writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        status = await first_failure(running)
    assert status.failing_step is Step.TLS
    assert "does not speak TLS" in (status.last_error or "")


async def test_a_missing_fact_is_named_before_anything_is_sent(files: CertificateFiles) -> None:
    async with running_link(
        files.conf, port=1, clock=ManualClock(), facts=lambda: replace(FACTS, private=None)
    ) as running:
        status = await first_failure(running)
    assert status.failing_step is Step.STARTUP
    assert "eth1 has no usable IPv4 address" in (status.last_error or "")


async def test_facts_are_asked_anew_for_every_connect(files: CertificateFiles) -> None:
    names = iter(["first", "second"])
    clock = ManualClock()
    async with (
        scripted_server(files.server_context()) as server,
        running_link(
            files.conf,
            port=server.port,
            clock=clock,
            facts=lambda: replace(FACTS, name=next(names)),
        ),
    ):
        peer = await server.peer()
        _, command = await peer.accept_startup()
        assert command.name == "first"
        peer.hang_up()
        clock.advance(await clock.sleeper(at_most_s=10))
        _, command = await (await server.peer()).accept_startup()
        assert command.name == "second"
