# SPDX-License-Identifier: Apache-2.0
"""``ssvm-check`` as a program, beside a real agent and management server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from ssvm_agent.simulator.authority import CertificateAuthority
from ssvm_agent.simulator.model import HostStatus
from ssvm_agent.simulator.server import ManagementServer
from tests.fakes.machine import until
from tests.fixtures.agents import LIVELY, AgentProcess, RunAgent, StartServer, agent_process
from tests.fixtures.certificates import write_agent_certificates
from tests.fixtures.ports import free_port

_REPOSITORY = Path(__file__).parents[3]
# Where no other process of the machine is seen: other agents may run on it.
_ALONE = ("unshare", "--pid", "--fork", "--mount-proc")


@dataclass(frozen=True)
class Ended:
    """What a run of the program left."""

    code: int
    output: str

    @property
    def checks(self) -> dict[str, Any]:
        """The checks of a ``--json`` run by name."""
        document = json.loads(self.output)
        assert document["schema"] == 1
        return {check["name"]: check for check in document["checks"]}


async def program(*words: str | Path, within_s: float = 60) -> Ended:
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=_REPOSITORY,
        env={**os.environ, "SSVM_AGENT_HOME": str(Path(sys.executable).parents[1])},
    )  # fmt: skip
    async with asyncio.timeout(within_s):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, output.decode())


async def check(agent_folder: Path, *words: str, prefix: tuple[str, ...] = ()) -> Ended:
    where = ["--config", str(agent_folder / "agent.yaml"), "--boot-text", str(agent_folder / "no")]
    tool = Path(sys.executable).with_name("ssvm-check")
    return await program(*prefix, tool, "--json", *where, *words)


@pytest.fixture
async def server(start_server: StartServer, tmp_path: Path) -> ManagementServer:
    (tmp_path / "store").mkdir()
    return await start_server(stores=[f"file://{tmp_path / 'store'}"], timing=LIVELY)


@pytest.fixture
def status_port() -> int:
    return free_port()


@pytest.fixture
def closed_port() -> int:
    """Where nobody listens."""
    return free_port()


@pytest.fixture
async def agent(
    server: ManagementServer, run_agent: RunAgent, status_port: int, tmp_path: Path,
    cloud_authority: CertificateAuthority,
) -> AgentProcess:  # fmt: skip
    """An agent that is Up, with the certificate its server's authority made for it."""
    folder = tmp_path / "agent"
    (folder / "conf").mkdir(parents=True)
    write_agent_certificates(folder / "conf", cloud_authority)
    running = await run_agent(server, folder, status={"listen": f"127.0.0.1:{status_port}"})
    await server.wait_for_status(HostStatus.UP)
    return running


async def test_all_is_well_beside_an_agent_that_is_up(agent: AgentProcess) -> None:
    ended = await check(agent.folder, "settings", "certificates", "management-servers", "agent")
    statuses = {name: one["status"] for name, one in ended.checks.items()}
    assert statuses["agent"] == "ok", ended.output
    assert statuses["management-servers"] == "ok", ended.output
    assert statuses["settings"] == "ok"
    assert "Connected to 127.0.0.1" in ended.checks["agent"]["what"]
    assert ended.code == 0
    for one in ended.checks.values():
        assert one["how"]
        assert {"what", "how", "remedy", "status"} <= set(one["parts"][0])


@pytest.mark.needs_root
async def test_an_agent_that_was_killed_is_named_with_what_to_do(agent: AgentProcess) -> None:
    await agent.stop(signal.SIGKILL)
    ended = await check(agent.folder, "agent", prefix=_ALONE)
    assert ended.code == 1
    assert "not running" in ended.checks["agent"]["what"]
    assert "journalctl -u cloud.service" in ended.checks["agent"]["remedy"]


async def test_a_frozen_agent_is_told_from_a_dead_one(agent: AgentProcess) -> None:
    agent.process.send_signal(signal.SIGSTOP)
    try:
        ended = await check(agent.folder, "agent")
    finally:
        agent.process.send_signal(signal.SIGCONT)
    assert ended.code == 1
    assert "does not answer on its status page" in ended.checks["agent"]["what"]


async def test_the_first_step_that_fails_is_named_when_nobody_listens(
    status_port: int, closed_port: int, tmp_path: Path
) -> None:
    folder = tmp_path / "agent"
    listen = {"listen": f"127.0.0.1:{status_port}"}
    async with agent_process(folder, closed_port, status=listen):
        status = folder / "state" / "status.json"
        await until(lambda: status.exists() and json.loads(status.read_text())["failing_step"])
        ended = await check(folder, "agent", "management-servers")
    assert ended.code == 1
    assert "at the step tcp" in ended.checks["agent"]["what"]
    assert "refuses the connection" in ended.checks["management-servers"]["what"]
    assert ended.checks["management-servers"]["remedy"]


@pytest.fixture
def mute_port() -> Iterator[int]:
    """Accepts connections, by the kernel's backlog, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


async def test_a_frozen_server_costs_no_more_than_the_deadline(
    agent: AgentProcess, mute_port: int
) -> None:
    ended = await check(
        agent.folder, "--set", f"port={mute_port}", "--timeout", "4", "management-servers"
    )
    assert ended.code == 1
    found = ended.checks["management-servers"]
    assert found["status"] == "error"
    assert found["elapsed_s"] < 6


@pytest.mark.needs_root
async def test_a_server_with_another_authority_is_not_believed(
    agent: AgentProcess, start_server: StartServer, tmp_path: Path
) -> None:
    stranger = await start_server(
        stores=[f"file://{tmp_path / 'store'}"],
        timing=LIVELY,
        authority=await asyncio.to_thread(CertificateAuthority.create),
    )
    port = f"port={stranger.port}"
    beside = await check(agent.folder, "--set", port, "management-servers")
    assert beside.checks["management-servers"]["status"] == "warning", "another one is in charge"
    await agent.stop()
    ended = await check(agent.folder, "--set", port, "management-servers", prefix=_ALONE)
    assert ended.code == 1
    assert "at the step tls" in ended.checks["management-servers"]["what"]


# --- the words of the old script ------------------------------------------------------------------


class NameServer(asyncio.DatagramProtocol):
    """Answers every question for an address with 192.0.2.1, and for any other type with nothing."""

    def __init__(self, *, knows: bool = True) -> None:
        self._knows = knows

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str | Any, int]) -> None:
        question_end = data.index(b"\0", 12) + 5
        question = data[12:question_end]
        wants_address = question[-4:-2] == b"\0\1" and self._knows
        flags = 0x8180 if self._knows else 0x8183  # NXDOMAIN
        head = data[:2] + struct.pack(">HHHHH", flags, 1, int(wants_address), 0, 0)
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1" if wants_address else b""
        self._transport.sendto(head + question + answer, address)


async def name_server(*, knows: bool) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: NameServer(knows=knows), ("127.0.0.1", 0)
    )
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


@pytest.fixture
async def dns_port() -> AsyncIterator[int]:
    async for port in name_server(knows=True):
        yield port


@pytest.fixture
async def empty_dns_port() -> AsyncIterator[int]:
    async for port in name_server(knows=False):
        yield port


async def old_script(
    agent_folder: Path, dns_port: int, *more: str, with_store: bool = True,
    prefix: tuple[str, ...] = (),
) -> Ended:  # fmt: skip
    """The wrapper in a mount namespace that has a store and a name server of the test."""
    folder = agent_folder.parent
    resolver, store = folder / "resolv.conf", agent_folder / "mnt" / "6b9c"
    await asyncio.to_thread(resolver.write_text, "nameserver 127.0.0.1\n")
    await asyncio.to_thread(store.mkdir, exist_ok=True)
    mount = f"mount -t tmpfs none {store} && " if with_store else ""
    return await program(
        *prefix, "unshare", "--mount", "sh", "-c",
        f'{mount}mount --bind {resolver} /etc/resolv.conf && exec scripts/ssvm-check.sh "$@"',
        "sh", "--config", agent_folder / "agent.yaml", "--boot-text", agent_folder / "no",
        "--dns-port", str(dns_port), *more,
    )  # fmt: skip


@pytest.mark.needs_root
async def test_the_old_script_says_error_and_warning_once_each_when_all_is_well(
    agent: AgentProcess, dns_port: int
) -> None:
    """boot-and-system.md 5.1; requirements R28."""
    ended = await old_script(agent.folder, dns_port)
    assert ended.code == 0, ended.output
    assert ended.output.split().count("ERROR") == 1, ended.output
    assert ended.output.split().count("WARNING") == 1, ended.output
    good = [line for line in ended.output.splitlines() if line.startswith("Good:")]
    assert good[0] in {"Good: Can ping DNS server", "Good: DNS server answers"}
    assert good[1:] == [
        "Good: DNS resolves cloudstack.apache.org",
        "Good: Can write to mount point",
        f"Good: Can connect to management server 127.0.0.1 port {agent_port(agent)}",
        "Good: Java process is running",
    ]
    assert ended.output.endswith("Tests Complete. Look for ERROR or WARNING above.\n")


def agent_port(agent: AgentProcess) -> int:
    lines = (agent.folder / "agent.yaml").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("port:")).split()[1])


@pytest.mark.needs_root
async def test_the_old_script_ends_with_two_when_names_do_not_resolve(
    agent: AgentProcess, empty_dns_port: int
) -> None:
    ended = await old_script(agent.folder, empty_dns_port)
    assert ended.code == 2
    assert "ERROR: DNS not resolving cloudstack.apache.org" in ended.output
    assert "nameserver 127.0.0.1" in ended.output


@pytest.mark.needs_root
async def test_the_old_script_goes_on_when_no_store_is_mounted(
    agent: AgentProcess, dns_port: int
) -> None:
    ended = await old_script(agent.folder, dns_port, with_store=False)
    assert ended.code == 0
    assert "ERROR: Storage nfs is not currently mounted" in ended.output


@pytest.mark.needs_root
async def test_the_old_script_ends_with_four_when_the_server_is_gone(
    agent: AgentProcess, dns_port: int, closed_port: int
) -> None:
    ended = await old_script(agent.folder, dns_port, "--set", f"port={closed_port}")
    assert ended.code == 4
    assert "ERROR: Cannot connect to 127.0.0.1 port" in ended.output


@pytest.mark.needs_root
async def test_the_old_script_ends_with_three_when_no_agent_runs(
    agent: AgentProcess, dns_port: int
) -> None:
    await agent.stop(signal.SIGKILL)
    ended = await old_script(agent.folder, dns_port, prefix=_ALONE)
    assert ended.code == 3
    assert "ERROR: Java process not running.  Try restarting the SSVM." in ended.output
