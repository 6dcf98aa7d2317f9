# SPDX-License-Identifier: Apache-2.0
"""Fetching over SSH (storage-commands.md 4.6)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from ssvm_agent.config.settings import HostKeyRule
from ssvm_agent.ingest.errors import BadUrlError, BlockedAddressError, SourceFailedError
from tests.fakes.ingest import Rig, ingest_rig
from tests.fakes.machine import beside_the_loop
from tests.fakes.ssh_origin import SshOrigin, ssh_origin

MIB = 1 << 20
BODY = os.urandom(5 * MIB + 321)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshOrigin]:
    root = tmp_path / "ssh"
    root.mkdir()
    (root / "i 1.raw").write_bytes(BODY)
    with ssh_origin(root) as origin:
        yield origin


def url(server: SshOrigin, path: str = "/i%201.raw", password: str = "s3cret") -> str:
    return f"scp://images@127.0.0.1:{server.port}{path}?password={password}"


async def test_a_file_arrives_and_the_host_key_is_recorded(rig: Rig, server: SshOrigin) -> None:
    source = rig.source(url(server))
    installed = await rig.run(source)
    assert (rig.root / installed.install_path).read_bytes() == BODY
    assert "s3cret" not in source.describe()
    known = rig.settings.state_dir / "known_hosts"
    assert known.read_text().startswith(f"[127.0.0.1]:{server.port} ssh-rsa ")
    assert known.stat().st_mode & 0o777 == 0o600
    assert await rig.fetch(url(server)) == BODY
    assert known.read_text().count("\n") == 1


async def test_another_host_key_is_refused(rig: Rig, server: SshOrigin) -> None:
    await rig.fetch(url(server))
    server.key = paramiko.RSAKey.generate(2048)
    with pytest.raises(SourceFailedError, match="is not the recorded one"):
        await rig.fetch(url(server))


async def test_an_unknown_host_key_is_refused_where_only_recorded_ones_count(
    tmp_path: Path, server: SshOrigin
) -> None:
    """An operator writes the keys down beforehand."""
    async with ingest_rig(tmp_path, scp_host_keys=HostKeyRule.STRICT) as rig:
        with pytest.raises(SourceFailedError, match=r"host key of 127\.0\.0\.1 is unknown"):
            await rig.fetch(url(server))
        known = rig.settings.state_dir / "known_hosts"
        key = server.key
        line = f"[127.0.0.1]:{server.port} {key.get_name()} {key.get_base64()}\n"
        beside_the_loop(known.parent.mkdir, exist_ok=True)
        beside_the_loop(known.write_text, line)
        assert await rig.fetch(url(server)) == BODY


async def test_drops_are_resumed(rig: Rig, server: SshOrigin) -> None:
    server.drop_after = 3 * MIB
    installed = await rig.run(rig.source(url(server)))
    assert (rig.root / installed.install_path).read_bytes() == BODY
    assert len(server.connections) >= 2


async def test_a_wrong_password_is_not_retried(rig: Rig, server: SshOrigin) -> None:
    with pytest.raises(SourceFailedError, match="Unable to authenticate") as caught:
        await rig.fetch(url(server, password="wrong"))
    assert "wrong" not in caught.value.for_operators()
    assert len(server.connections) == 1


async def test_a_missing_file_is_not_retried(rig: Rig, server: SshOrigin) -> None:
    with pytest.raises(SourceFailedError, match="Unable to find"):
        await rig.fetch(url(server, path="/none"))
    (server.root / "empty").touch()
    with pytest.raises(SourceFailedError, match="is empty"):
        await rig.fetch(url(server, path="/empty"))


async def test_an_unreachable_server_is_given_up(rig: Rig, tmp_path: Path) -> None:
    with ssh_origin(tmp_path) as gone:
        address = url(gone)
    with pytest.raises(SourceFailedError, match=r"The SSH connection to .* failed .gave up"):
        await rig.fetch(address)


async def test_the_guard_stands_before_ssh_too(tmp_path: Path, server: SshOrigin) -> None:
    """requirements S2."""
    async with ingest_rig(tmp_path, allow_loopback_sources=False) as rig:
        with pytest.raises(BlockedAddressError):
            await rig.fetch(url(server))
    assert not server.connections


async def test_a_user_is_needed(rig: Rig) -> None:
    with pytest.raises(BadUrlError):
        rig.source("scp://host/path")
