# SPDX-License-Identifier: Apache-2.0
"""The certificate of the https port: self-made, installed, renewed, swapped under connections."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import trustme

from ssvm_agent.appliance.base import WebCertificate
from ssvm_agent.host.clock import SystemClock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import SystemRunner
from ssvm_agent.masking import Secret
from ssvm_agent.web.certificate_shop import CertificateShop
from ssvm_agent.web.certificate_store import CertificateStore
from ssvm_agent.web.certificates import make_own
from ssvm_agent.web.errors import CertificateRefusedError
from tests.net.web.rig import Rig

CLOUD = trustme.CA(organization_name="Example")


def cloud_certificate(*names: str, ca: trustme.CA = CLOUD) -> WebCertificate:
    """What SecStorageSetup brings (storage-commands.md 3.1)."""
    intermediate = ca.create_child_ca()
    issued = intermediate.issue_cert(*(names or ("127.0.0.1",)))
    own, *chain = (pem.bytes().decode() for pem in issued.cert_chain_pems)
    return WebCertificate(
        key=Secret(issued.private_key_pem.bytes().decode()),
        certificate=own,
        chain="".join(chain),
        root=ca.cert_pem.bytes().decode(),
    )


def trusting(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


async def peer_certificate(port: int, context: ssl.SSLContext | None = None) -> bytes:
    """The certificate a new connection is shown."""
    if context is None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(True)
    writer.close()
    return found


async def test_without_a_certificate_of_the_cloud_one_for_the_address_is_made(rig: Rig) -> None:
    """Requirement R4."""
    from cryptography import x509

    shown = x509.load_der_x509_certificate(await peer_certificate(rig.https_port))
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert names.get_values_for_type(x509.DNSName) == ["127-0-0-1.example.com"]
    left = shown.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=300) < left < timedelta(days=398)


async def test_an_installed_certificate_is_served_with_its_chain(rig: Rig) -> None:
    """storage-commands.md 3.1."""
    await rig.web.install_certificate(cloud_certificate())

    async def trusted() -> bool:
        try:
            await peer_certificate(rig.https_port, trusting(CLOUD))
        except (ssl.SSLError, OSError):
            return False
        return True

    # Apache's reload goes on in the background.
    async with asyncio.timeout(10):
        while not await trusted():  # noqa: ASYNC110 - Apache announces nothing
            await asyncio.sleep(0.05)


async def test_a_transfer_goes_on_while_the_certificate_changes(rig: Rig) -> None:
    path = await rig.publish(bytes(32 << 20))
    async with (
        aiohttp.ClientSession() as session,
        session.get(rig.https + path, ssl=False) as answer,
    ):
        first = await answer.content.readexactly(1 << 16)
        await rig.web.install_certificate(cloud_certificate())
        rest = await answer.content.read()
    assert len(first) + len(rest) == 32 << 20


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_old_protocols_are_refused(rig: Rig, version: ssl.TLSVersion) -> None:
    """TLS 1.2 is the least."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = context.maximum_version = version
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await peer_certificate(rig.https_port, context)


@pytest.mark.parametrize(
    ("version", "refused"),
    [("-tls1", True), ("-tls1_1", True), ("-tls1_2", False), ("-tls1_3", False)],
)
@pytest.mark.needs("openssl")
async def test_openssl_gets_a_modern_cipher_or_none(rig: Rig, version: str, refused: bool) -> None:
    process = await asyncio.create_subprocess_exec(
        "openssl", "s_client", "-connect", f"127.0.0.1:{rig.https_port}", version,
        "-cipher", "ALL:@SECLEVEL=0",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    out, _ = await process.communicate()
    line = next(one for one in out.decode().splitlines() if "Cipher is" in one)
    if refused:
        assert "(NONE)" in line
    else:
        assert "GCM" in line or "CHACHA20" in line


async def test_a_wrong_certificate_is_refused_and_the_old_one_stays(rig: Rig) -> None:
    before = await peer_certificate(rig.https_port)
    good = cloud_certificate()
    other = cloud_certificate()
    stranger = trustme.CA()
    for bad, reason in (
        (WebCertificate(key=other.key, certificate=good.certificate), "does not belong"),
        (WebCertificate(key=Secret("junk"), certificate=good.certificate), "cannot be read"),
        (WebCertificate(key=good.key, certificate="junk"), "cannot be read"),
        (
            WebCertificate(key=good.key, certificate=good.certificate, chain=other.chain),
            "chain is broken",
        ),
        (
            WebCertificate(
                key=good.key,
                certificate=good.certificate,
                chain=good.chain,
                root=stranger.cert_pem.bytes().decode(),
            ),
            "did not sign",
        ),
    ):
        with pytest.raises(CertificateRefusedError, match=reason) as caught:
            await rig.web.install_certificate(bad)
        assert "junk" not in caught.value.for_operators()
    assert await peer_certificate(rig.https_port) == before


async def test_the_same_certificate_again_changes_nothing(rig: Rig) -> None:
    """storage-commands.md 11.12: setup comes with every connect."""
    certificate = cloud_certificate()
    assert await rig.web.certificates.install(certificate)
    assert not await rig.web.certificates.install(certificate)
    assert await rig.web.certificates.install(None)
    assert not await rig.web.certificates.install(None)


def make_store(
    directory: Path, hosts: Sequence[str], pool: WorkPool, clock: SystemClock
) -> CertificateStore:
    shop = CertificateShop(SystemRunner())
    return CertificateStore(directory, hosts=hosts, shop=shop, pool=pool, clock=clock)


class Clock(SystemClock):
    """The real clock with an offset."""

    offset = timedelta()

    def now(self) -> datetime:
        return super().now() + self.offset


async def test_our_certificate_is_kept_over_restarts_and_renewed_in_time(tmp_path: Path) -> None:
    clock, pool = Clock(), WorkPool("disk")

    def store(*hosts: str) -> CertificateStore:
        return make_store(tmp_path / "tls", hosts, pool, clock)

    async def serial(one: CertificateStore) -> str:
        await one.start()
        assert one.current is not None
        return one.current.chain_pem

    first = store("127.0.0.1")
    served = await serial(first)
    assert await serial(store("127.0.0.1")) == served
    assert await serial(store("127.0.0.1", "name.example.com")) != served
    served = await serial(first)
    clock.offset = timedelta(days=360)
    assert not await first.renew()
    clock.offset = timedelta(days=368)
    assert await first.renew()
    assert first.current is not None
    assert first.current.chain_pem != served
    assert first.current.days_left(clock.now()) > 300
    assert (tmp_path / "tls/own.json").stat().st_mode & 0o777 == 0o600
    pool.close()


def serves_own(store: CertificateStore) -> bool:
    assert store.current is not None
    return store.current.is_own


async def test_an_expired_certificate_of_the_cloud_gives_way_to_ours(tmp_path: Path) -> None:
    """Requirement R4: never serve an expired certificate."""
    clock, pool = Clock(), WorkPool("disk")
    store = make_store(tmp_path, ["127.0.0.1"], pool, clock)
    await store.start()
    own = make_own(["127.0.0.1"], clock.now())
    cloud = WebCertificate(key=own.key_pem, certificate=own.chain_pem)
    assert await store.install(cloud)
    assert not serves_own(store)
    again = make_store(tmp_path, ["127.0.0.1"], pool, clock)
    await again.start()
    assert not serves_own(again)
    clock.offset = timedelta(days=396)
    assert not await again.renew()
    clock.offset = timedelta(days=398)
    assert await again.renew()
    assert serves_own(again)
    with pytest.raises(CertificateRefusedError, match="expired"):
        await again.install(cloud)
    pool.close()


async def test_a_silent_handshake_keeps_nobody_waiting(rig: Rig) -> None:
    with socket.create_connection(("127.0.0.1", rig.https_port)):
        assert await peer_certificate(rig.https_port)
