# SPDX-License-Identifier: Apache-2.0
"""The stock script's output, word for word (boot-and-system.md 5.1)."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ssvm_agent.diag import compat
from ssvm_agent.diag.checks import storage
from ssvm_agent.diag.dns import Outcome
from ssvm_agent.diag.facts import AgentWord, Facts, Process
from ssvm_agent.diag.store_trial import Trial
from ssvm_agent.host.run import ProgramResult
from ssvm_agent.storage.mounts import MountEntry
from tests.fakes.checked_machine import TEXT, FakeResolver, machine, put

NAME = "cloudstack.apache.org"
LINE = "=" * 48
MOUNTS = (
    "30 1 0:50 / /mnt/SecStorage/abc rw - nfs4 10.1.40.2:/exp/sec rw,vers=4.1\n"
    "31 1 0:51 / /mnt/SecStorage/def rw - nfs4 10.1.40.2:/exp/two rw,vers=4.1\n"
    "32 1 0:52 / /proc/fs/nfsd rw - nfsd nfsd rw\n"
)


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


class Cloud:
    """Programs of the machine: who answers ping."""

    def __init__(self) -> None:
        self.silent: set[str] = set()

    def react(self, call: list[str]) -> ProgramResult:
        if call[0] == "ping":
            code = 1 if call[-1] in self.silent else 0
            return ProgramResult(returncode=code, stdout=b"PING output\n", stderr=b"")
        return ProgramResult(returncode=0, stdout=b"default via 203.0.113.1 dev eth2\n", stderr=b"")


def good(
    tmp_path: Path, port: int, cloud: Cloud, *, text: str = TEXT, mounts: str = MOUNTS
) -> Facts:
    put(
        tmp_path,
        {
            "etc/resolv.conf": "nameserver 10.1.32.2\nnameserver 8.8.8.8\n",
            "proc/self/mountinfo": mounts,
        },
    )
    facts = machine(tmp_path, text=text, react=cloud.react)
    return replace(
        facts,
        settings=replace(facts.settings, management_servers=("127.0.0.1",), port=port),
        resolver=FakeResolver({("10.1.32.2", NAME): ("151.101.2.132",)}),
        agent=AgentWord(processes=(Process(pid=20),)),
    )


@pytest.fixture(autouse=True)
def stores_work(monkeypatch: pytest.MonkeyPatch) -> dict[str, Trial]:
    results: dict[str, Trial] = {}

    def trial(mount: MountEntry) -> Trial:
        return results.get(mount.mount_point.name, Trial())

    monkeypatch.setattr(storage, "try_store", trial)
    return results


async def printed(facts: Facts) -> tuple[int, list[str]]:
    lines: list[str] = []
    code = await compat.run(facts, lines.append)
    return code, lines


async def test_all_is_well(tmp_path: Path, port: int) -> None:
    """requirements R28: the words ERROR and WARNING stand in the last line only."""
    code, lines = await printed(good(tmp_path, port, Cloud()))
    assert lines == [
        LINE,
        "First DNS server is  10.1.32.2",
        "PING output",
        "Good: Can ping DNS server",
        LINE,
        "Good: DNS resolves cloudstack.apache.org",
        LINE,
        "nfs is currently mounted",
        "Mount point is /mnt/SecStorage/abc",
        "Good: Can write to mount point",
        "Mount point is /mnt/SecStorage/def",
        "Good: Can write to mount point",
        LINE,
        "Management server is 127.0.0.1.  Checking connectivity.",
        f"Good: Can connect to management server 127.0.0.1 port {port}",
        LINE,
        "Good: Java process is running",
        LINE,
        "Tests Complete. Look for ERROR or WARNING above.",
    ]
    assert code == 0
    text = "\n".join(lines)
    assert (text.count("ERROR"), text.count("WARNING")) == (1, 1)


async def test_a_name_server_that_is_gone(tmp_path: Path, port: int) -> None:
    cloud = Cloud()
    cloud.silent = {"10.1.32.2"}
    facts = good(tmp_path, port, cloud)
    facts = replace(facts, resolver=FakeResolver({("8.8.8.8", NAME): ("151.101.2.132",)}))
    code, lines = await printed(facts)
    assert lines[3:6] == [
        "WARNING: cannot ping DNS server",
        "route follows",
        "default via 203.0.113.1 dev eth2",
    ]
    assert "Good: DNS resolves cloudstack.apache.org" in lines
    assert code == 0


async def test_a_name_server_that_answers_questions_but_no_ping(tmp_path: Path, port: int) -> None:
    cloud = Cloud()
    cloud.silent = {"10.1.32.2"}
    _, lines = await printed(good(tmp_path, port, cloud))
    assert "Good: DNS server answers" in lines
    assert not any(line.startswith("WARNING") for line in lines)


@pytest.mark.parametrize("outcome", [Outcome.SILENT, Outcome.NO_SUCH_NAME, Outcome.FAILED])
async def test_names_that_do_not_resolve_end_it_with_two(
    tmp_path: Path, port: int, outcome: Outcome
) -> None:
    facts = good(tmp_path, port, Cloud())
    servers = ("10.1.32.2", "8.8.8.8")
    facts = replace(facts, resolver=FakeResolver({(one, NAME): outcome for one in servers}))
    code, lines = await printed(facts)
    assert lines[-4:] == [
        "ERROR: DNS not resolving cloudstack.apache.org",
        "resolv.conf follows",
        "nameserver 10.1.32.2",
        "nameserver 8.8.8.8",
    ]
    assert code == 2


async def test_a_store_that_cannot_be_written_does_not_end_it(
    tmp_path: Path, port: int, stores_work: dict[str, Trial]
) -> None:
    stores_work["abc"] = Trial(error_number=errno.EACCES, step="creating a file")
    code, lines = await printed(good(tmp_path, port, Cloud()))
    at = lines.index("Mount point is /mnt/SecStorage/abc")
    assert lines[at + 1 : at + 5] == [
        "ERROR: Cannot write to mount point",
        "You need to export with norootsquash",
        "Mount point is /mnt/SecStorage/def",
        "Good: Can write to mount point",
    ]
    assert code == 0


async def test_a_stale_store_is_not_taken_for_a_squashed_one(
    tmp_path: Path, port: int, stores_work: dict[str, Trial]
) -> None:
    stores_work["abc"] = Trial(error_number=errno.ESTALE, step="statvfs")
    _, lines = await printed(good(tmp_path, port, Cloud()))
    assert "statvfs: Stale file handle" in lines
    assert "You need to export with norootsquash" not in lines


async def test_no_store_but_servers_that_answer(tmp_path: Path, port: int) -> None:
    code, lines = await printed(good(tmp_path, port, Cloud(), mounts=""))
    at = lines.index("ERROR: Storage nfs is not currently mounted")
    assert lines[at + 1 : at + 5] == [
        "Verifying if we can at least ping the storage",
        "Pinging storage address: 10.1.40.2",
        "PING output",
        "Good: Can ping nfs storage address",
    ]
    assert code == 0


async def test_no_store_and_servers_that_are_silent(tmp_path: Path, port: int) -> None:
    cloud = Cloud()
    cloud.silent = {"10.1.40.2"}
    _, lines = await printed(good(tmp_path, port, cloud, mounts=""))
    at = lines.index("WARNING: Cannot ping nfs storage address")
    assert lines[at + 1 : at + 3] == ["routing table follows", "default via 203.0.113.1 dev eth2"]


async def test_no_store_and_no_list_of_servers(tmp_path: Path, port: int) -> None:
    text = f"{TEXT} secondaryStorageServerAddress=null"
    cloud = Cloud()
    _, lines = await printed(good(tmp_path, port, cloud, text=text, mounts=""))
    assert any("storage network gateway" in line and "(10.1.40.1)" in line for line in lines)
    assert "Good: Can ping nfs storage network gateway" in lines
    cloud.silent = {"10.1.40.1"}
    _, lines = await printed(good(tmp_path, port, cloud, text=text, mounts=""))
    assert "WARNING: Cannot ping nfs storage network gateway" in lines


async def test_a_management_server_that_is_gone_ends_it_with_four(
    tmp_path: Path, port: int
) -> None:
    facts = good(tmp_path, port, Cloud())
    with socket.create_server(("127.0.0.2", 0)) as listener:
        gone = listener.getsockname()[1]
    settings = replace(facts.settings, management_servers=("127.0.0.2", "127.0.0.1"), port=gone)
    code, lines = await printed(replace(facts, settings=settings))
    assert lines[-3] == "Management server is 127.0.0.2,127.0.0.1.  Checking connectivity."
    assert lines[-2] == f"ERROR: Cannot connect to 127.0.0.2 port {gone}"
    assert "refuses the connection" in lines[-1]
    assert code == 4


async def test_no_agent_ends_it_with_three(tmp_path: Path, port: int) -> None:
    facts = replace(good(tmp_path, port, Cloud()), agent=AgentWord())
    code, lines = await printed(facts)
    assert lines[-1] == "ERROR: Java process not running.  Try restarting the SSVM."
    assert code == 3


async def test_cifs_is_called_by_its_name(tmp_path: Path, port: int) -> None:
    mounts = MOUNTS + "33 1 0:53 / /mnt/SecStorage/ghi rw - cifs //10.1.40.3/share rw\n"
    _, lines = await printed(good(tmp_path, port, Cloud(), mounts=mounts))
    assert "cifs is currently mounted" in lines
    assert sum(line.startswith("Mount point is") for line in lines) == 3
