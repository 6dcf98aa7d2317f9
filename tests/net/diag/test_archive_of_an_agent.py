# SPDX-License-Identifier: Apache-2.0
"""The archive for support, of a real agent that was given secrets in every way there is."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest

from ssvm_agent.simulator.authority import CertificateAuthority
from ssvm_agent.simulator.model import HostStatus, ImageStore
from ssvm_agent.simulator.zone import Zone
from tests.fakes.machine import until
from tests.fixtures.agents import LIVELY, RunAgent, StartServer
from tests.fixtures.certificates import write_agent_certificates
from tests.fixtures.ports import free_port

_REPOSITORY = Path(__file__).parents[3]
# The agent's log where a system VM has it, and a file only the appliance writes.
_AS_IN_A_SYSTEM_VM = """
set -e
mkdir -p /etc/cloudstack/agent
mount -t tmpfs none /var/log
mount -t tmpfs none /etc/cloudstack/agent
cp "$1" /var/log/cloud.log
printf '%s\\n' "$2" > /etc/cloudstack/agent/ms-psk
shift 2
exec "$@"
"""


def planted() -> dict[str, str]:
    """A secret for each way in; with characters that are written differently in URLs."""
    ways = (
        "upload key", "copy password", "password in a URL", "signature in a URL", "token in a URL",
        "proxy password", "passphrase", "root password", "user data", "signature of an upload",
    )  # fmt: skip
    return {way: f"planted+{secrets.token_hex(8)}/{len(way)}" for way in ways}


def spellings(secret: str) -> Iterator[bytes]:
    """The forms in which a secret could get out."""
    yield secret.encode()
    yield quote(secret, safe="").encode()
    yield quote(secret).encode()
    # Each of the three ways base64 can be aligned; ends depend on what stands around.
    for before in ("", "a", "ab"):
        text = base64.b64encode(f"{before}{secret}".encode()).decode()
        yield text[4 if before else 0 : -4].encode()


def members(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        files = {one.name: tar.extractfile(one) for one in tar.getmembers()}
        return {name: file.read() for name, file in files.items() if file is not None}


@pytest.mark.needs_root
@pytest.mark.needs("unshare", "curl")
async def test_no_secret_an_agent_was_given_is_in_its_archive(
    start_server: StartServer, run_agent: RunAgent, tmp_path: Path,
    cloud_authority: CertificateAuthority,
) -> None:  # fmt: skip
    secret = planted()
    (tmp_path / "store").mkdir()
    zone = Zone(
        stores=[ImageStore(url=f"file://{tmp_path / 'store'}")],
        upload_key=secret["upload key"],
        copy_password=secret["copy password"],
    )
    server = await start_server(zone=zone, timing=LIVELY)
    folder = tmp_path / "agent"
    (folder / "conf").mkdir(parents=True)
    write_agent_certificates(folder / "conf", cloud_authority)
    (folder / "conf/agent.properties").write_text(f"keystore.passphrase={secret['passphrase']}\n")
    boot_text = folder / "cmdline"
    boot_text.write_text(
        f"type=secstorage vmpassword={secret['root password']} userdata={secret['user data']}"
    )
    upload_port, status_port = free_port(), free_port()
    proxy = f"http://u:{quote(secret['proxy password'], safe='')}@127.0.0.1:{free_port()}"
    agent = await run_agent(
        server, folder, log={"level": "debug"}, status={"listen": f"127.0.0.1:{status_port}"},
        upload={"listen_port": upload_port},
        download={"proxy": proxy, "no_proxy": ["127.0.0.1"], "allow_loopback_sources": True},
    )  # fmt: skip
    await server.wait_for_status(HostStatus.UP)

    # Refused, tried where nobody listens, tried through a proxy that is none.
    address = f"127.0.0.1:{free_port()}/disk.qcow2"
    query = (
        f"X-Amz-Signature={quote(secret['signature in a URL'], safe='')}"
        f"&token={quote(secret['token in a URL'], safe='')}"
    )
    login = f"u:{quote(secret['password in a URL'], safe='')}"
    for url in (
        f"{login}@{address}",
        f"{address}?{query}",
        f"images.example.com/disk.qcow2?{query}",
    ):
        server.register(name="disk", url=f"http://{url}")
    signature = secret["signature of an upload"]
    await curl(f"http://127.0.0.1:{upload_port}/upload/{uuid4()}", signature)
    await until(lambda: "bad-url" in agent.log and agent.log.count("ingest started") == 2)

    archive = tmp_path / "diag.tar.gz"
    process = await asyncio.create_subprocess_exec(
        "unshare", "--mount", "sh", "-c", _AS_IN_A_SYSTEM_VM, "sh",
        folder / "agent.log", secret["upload key"],
        Path(sys.executable).with_name("ssvm-agent"), "diagnostics", "--output", archive,
        "--config", folder / "agent.yaml", "--boot-text", boot_text,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=_REPOSITORY,
        env={**os.environ, "SSVM_AGENT_HOME": str(Path(sys.executable).parents[1])},
    )  # fmt: skip
    async with asyncio.timeout(120):
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()

    files = await asyncio.to_thread(members, archive)
    # The log is there, with what happened.
    assert b"127.0.0.1" in files["diag/logs/cloud.log"]
    assert b"disk.qcow2" in files["diag/logs/cloud.log"]
    assert b'"SecStorageVMSetupCommand"' in files["diag/agent/status.json"]
    files |= {"what the command said": said, "the agent's own log": agent.log.encode()}
    key = (folder / "conf/cloud.key").read_text().splitlines()[1]
    out = [
        (name, way)
        for name, data in files.items()
        for way, text in {**secret, "private key": key}.items()
        if any(one in data for one in spellings(text))
    ]
    assert out == []


async def curl(url: str, signature: str) -> None:
    """An upload nobody ordered."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-o", "/dev/null", "-H", f"X-signature: {signature}",
        "-H", "X-metadata: eyJ9", "-H", "X-expires: 2030-01-01T00:00:00Z", "-F", "f=@/etc/hostname",
        url,
    )  # fmt: skip
    assert await process.wait() == 0
