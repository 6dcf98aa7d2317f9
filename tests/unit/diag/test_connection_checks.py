# SPDX-License-Identifier: Apache-2.0
"""The verdicts of checks that look at servers, the agent and its doors."""

from __future__ import annotations

import errno
import json
import os
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ssvm_agent.bootargs import parse
from ssvm_agent.config.settings import Persisted
from ssvm_agent.diag.checks import (
    agent,
    certificates,
    dns,
    management_servers,
    proxy,
    storage,
    storage_servers,
    url,
    web,
)
from ssvm_agent.diag.checks.routes import Way
from ssvm_agent.diag.egress_rules import Decision, allowed_sites, decide
from ssvm_agent.diag.facts import AgentWord, Process, find_processes, nameservers
from ssvm_agent.diag.http_probe import HttpReply
from ssvm_agent.diag.runner import run_check
from ssvm_agent.diag.store_trial import Trial, try_store
from ssvm_agent.diag.stores import StoreServer, listed_servers, merge, server_of, store_mounts
from ssvm_agent.diag.verdict import Status, Verdict
from ssvm_agent.host.run import ProgramResult
from ssvm_agent.link.certificates import Trust
from ssvm_agent.link.errors import Step
from ssvm_agent.storage.mounts import MountEntry, parse_mountinfo
from tests.fakes.checked_machine import NOW, TEXT, machine, put, running

OK, WARNING, ERROR, SKIPPED = Status.OK, Status.WARNING, Status.ERROR, Status.SKIPPED
MOUNTINFO = (
    "30 1 0:50 / /mnt/SecStorage/abc rw,relatime - nfs4 10.1.40.2:/exp/sec rw,vers=4.1,soft\n"
    "31 1 0:51 / /mnt/SecStorage/def rw - cifs //10.1.40.3/share rw,vers=3.1.1,username=u\n"
    "32 1 0:52 / /proc rw - proc proc rw\n"
)


def statuses(verdicts: list[Verdict]) -> list[Status]:
    return [verdict.status for verdict in verdicts]


# --- management servers and certificates ---------------------------------------------------------

REACHED = management_servers.Walk(server="10.1.32.5", port=8250, trust=Trust.PINNED)
FAILED = management_servers.Walk(
    server="10.1.32.6", port=8250, step=Step.TCP, problem="It refuses the connection."
)


@pytest.mark.parametrize("step", [Step.DNS, Step.ROUTE, Step.TCP, Step.TLS])
def test_the_first_failing_step_is_named_with_its_own_remedy(step: Step) -> None:
    """requirements R1."""
    (verdict,) = management_servers.judge([replace(FAILED, step=step)], is_connected=False)
    assert verdict.status is ERROR
    assert f"fails at the step {step}: It refuses" in verdict.what
    assert verdict.how == "dns → route → tcp → tls to 10.1.32.6 port 8250"


def test_one_dead_server_of_two_is_a_warning() -> None:
    assert statuses(management_servers.judge([REACHED, FAILED], is_connected=False)) == [
        OK,
        WARNING,
    ]
    assert statuses(management_servers.judge([FAILED], is_connected=True)) == [WARNING]


def test_a_server_believed_without_a_ca_is_a_warning() -> None:
    """requirements S9."""
    blind = replace(REACHED, trust=Trust.BOOTSTRAP)
    assert statuses(management_servers.judge([blind], is_connected=True)) == [WARNING]


def test_servers_the_cloud_told_about_are_tried_too(tmp_path: Path) -> None:
    facts = machine(tmp_path)
    told = Persisted(server_list="10.1.32.6,10.1.32.7@static")
    facts = replace(facts, settings=replace(facts.settings, persisted=told))
    assert management_servers.known_servers(facts) == ("10.1.32.5", "10.1.32.6", "10.1.32.7")


def certificate(**changes: object) -> certificates.Shown:
    shown = certificates.Shown(
        subject="CN=s-1-VM",
        not_before=NOW - timedelta(days=1),
        not_after=NOW + timedelta(days=300),
        names=frozenset({"10.1.34.20", "s-1-VM"}),
    )
    return replace(shown, **changes)  # type: ignore[arg-type]


GOOD = certificates.CertificateFacts(
    directory="/conf",
    own=certificate(),
    authorities=(certificate(subject="CN=ca"),),
    addresses=("10.1.34.20", "203.0.113.21"),
    now=NOW,
)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, OK, "CN=s-1-VM, valid until"),
        ({"problem": "The key does not fit."}, ERROR, "The key does not fit."),
        ({"own": None}, WARNING, "no certificate yet"),
        ({"authorities": ()}, WARNING, "any management server would be believed"),
        ({"own": certificate(not_after=NOW - timedelta(days=3))}, ERROR, "expired on 2026-11-20"),
        ({"own": certificate(not_after=NOW + timedelta(days=3))}, WARNING, "expires in 3 days"),
        ({"own": certificate(not_before=NOW + timedelta(days=3))}, ERROR, "valid only from"),
        ({"is_signed": False}, ERROR, "not signed by the CA"),
        ({"own": certificate(names=frozenset({"10.9.9.9"}))}, WARNING, "is for 10.9.9.9"),
        (
            {"authorities": (certificate(subject="CN=ca", not_after=NOW - timedelta(days=1)),)},
            ERROR,
            "The CA certificate CN=ca expired",
        ),
    ],
)
def test_certificate_verdicts(changes: dict[str, object], status: Status, words: str) -> None:
    """boot-and-system.md 5.3.7, agent-lifecycle.md 4.3."""
    (verdict,) = certificates.judge(replace(GOOD, **changes))  # type: ignore[arg-type]
    assert verdict.status is status
    assert words in verdict.what


# --- agent ---------------------------------------------------------------------------------------


def judged(word: AgentWord, **unit: str) -> list[Verdict]:
    return agent.judge(agent.AgentFacts(word=word, unit=unit, listen="127.0.0.1:9180"))


def test_an_agent_that_is_content() -> None:
    connected, work = judged(running(host_id=7))
    assert connected.what == ("Connected to 10.1.32.5 since 2026-11-23 03:11 UTC, host id 7.")
    assert (work.status, work.what) == (OK, "Version 1.0, no jobs running.")


def test_an_agent_that_is_not_there_leaves_its_last_word() -> None:
    word = AgentWord(status={"state": "disconnected", "last_error": "It refuses."})
    (verdict,) = judged(word, ActiveState="failed", Result="start-limit-hit")
    assert verdict.status is ERROR
    assert verdict.what == (
        "The agent is not running. The unit is failed (start-limit-hit). Its last word was: It"
        " refuses."
    )


def test_a_link_that_fails_names_server_step_and_reason() -> None:
    word = running("disconnected", failing_step="startup", last_error="No such zone.")
    verdict = judged(word)[0]
    assert verdict.status is ERROR
    assert verdict.what == (
        "The agent is not connected; 10.1.32.5 fails at the step startup: No such zone."
    )
    assert "zone, pod and name" in verdict.remedy
    assert judged(running("connecting"))[0].status is WARNING


def test_the_status_file_stands_in_for_an_agent_that_does_not_answer() -> None:
    word = AgentWord(
        processes=(Process(pid=1),),
        status={"state": "ready", "server": "10.1.32.5", "since": NOW.isoformat()},
        problem="no answer within 3 s",
    )
    link, silent = judged(word)
    assert link.what.startswith("Connected to 10.1.32.5")
    assert (silent.status, "no answer within 3 s" in silent.what) == (ERROR, True)
    foreign = replace(word, processes=(Process(pid=1, is_ours=False),), status=None)
    assert statuses(judged(foreign)) == [SKIPPED, SKIPPED]


def test_restarts_stores_and_downloads_that_fail() -> None:
    word = running()
    report = {
        **(word.report or {}),
        "stores": [{"url": "nfs://a/b", "state": "does not respond", "health": "bad"}],
        "downloads": [
            {"what": "template/tmpl/2/201", "message": "404", "health": "bad", "is_running": False}
        ],
    }
    verdicts = judged(replace(word, report=report), NRestarts="12")
    assert statuses(verdicts) == [WARNING, OK, WARNING, WARNING]
    assert "nfs://a/b does not respond" in verdicts[2].what


def test_agents_are_found_among_processes(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "1/cmdline": "/sbin/init\0",
            "20/cmdline": "java\0-Xmx\0com.cloud.agent.AgentShell\0",
            "30/cmdline": "python3\0-m\0ssvm_agent\0run\0",
            "self/cmdline": "python3\0-m\0ssvm_agent\0run\0",
        },
    )
    assert find_processes(tmp_path) == (Process(pid=20, is_ours=False), Process(pid=30))
    assert find_processes(tmp_path / "none") == ()


def test_name_servers_of_a_resolver_file() -> None:
    text = "# nameserver 1.1.1.1\nsearch a\nnameserver 10.1.32.2\nnameserver\nnameserver ::1 x\n"
    assert nameservers(text) == ("10.1.32.2", "::1")


async def test_the_names_that_are_needed(tmp_path: Path) -> None:
    facts = machine(tmp_path, url="https://images.example.org/x", text=TEXT + ",nfs2.example.org")
    settings = replace(facts.settings, management_servers=("ms1", "10.1.32.5"))
    assert await dns.needed_names(replace(facts, settings=settings)) == {
        "ms1": "management server",
        "nfs2.example.org": "storage server",
        "images.example.org": "source",
    }


# --- stores --------------------------------------------------------------------------------------

NFS, CIFS, _ = parse_mountinfo(MOUNTINFO)


def test_stores_and_their_servers_from_all_places() -> None:
    mounts = store_mounts(parse_mountinfo(MOUNTINFO), Path("/mnt/SecStorage"))
    assert mounts == [NFS, CIFS]
    assert server_of(NFS) == StoreServer(host="10.1.40.2", exports=("/exp/sec",))
    assert server_of(CIFS) == StoreServer(host="10.1.40.3", kind="cifs", exports=("/share",))
    assert listed_servers(parse("secondaryStorageServerAddress=a,b,")) == ("a", "b")
    assert listed_servers(parse("secondaryStorageServerAddress=null")) == ()
    merged = merge([StoreServer(host="a", kind="cifs", exports=("/x",)), StoreServer(host="a")])
    assert merged == (StoreServer(host="a", kind="cifs", exports=("/x",)),)


def trial(**changes: object) -> Trial:
    values = {
        "total_bytes": 100 << 30, "free_bytes": 50 << 30, "total_inodes": 1000, "free_inodes": 900,
    }  # fmt: skip
    return Trial(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "version", "status", "words"),
    [
        (trial(), None, OK, "alive and writable (nfs4, version 4.1, 50 GiB free)"),
        (None, None, ERROR, "hangs: it waits"),
        (trial(error_number=errno.ESTALE, step="statvfs"), None, ERROR, "is stale"),
        (trial(error_number=errno.EACCES), None, ERROR, "cannot be written by root"),
        (trial(error_number=errno.EROFS), None, ERROR, "read-only"),
        (trial(error_number=errno.ENOSPC), None, ERROR, "is full"),
        (trial(error_number=errno.EINVAL, step="renaming"), None, ERROR, "renaming failed"),
        (trial(free_bytes=5 << 30), None, WARNING, "5 % of its space left"),
        (trial(free_inodes=10), None, ERROR, "1 % of its inodes left"),
        (trial(owner=65534), None, WARNING, "root_squash"),
        (trial(skew_s=-120.0), None, WARNING, "120 s behind"),
        (trial(), "3", WARNING, "mounted with NFS version 4.1; set is 3"),
        (trial(), "4", OK, "alive"),
        (trial(), "4.1", OK, "alive"),
    ],
)
def test_store_verdicts(
    found: Trial | None, version: str | None, status: Status, words: str
) -> None:
    """boot-and-system.md 5.3.6."""
    finding = storage.StoreFinding(mount=NFS, trial=found, problem="" if found else "it waits")
    (verdict,) = storage.judge(finding, version)
    assert verdict.status is status
    assert words in verdict.what


def local(path: Path) -> MountEntry:
    return MountEntry(
        mount_point=path, file_system="ext4", source="/dev/x", options=(), read_only=False
    )


def test_a_trial_leaves_nothing_behind(tmp_path: Path) -> None:
    found = try_store(local(tmp_path))
    assert (found.error_number, found.owner) == (0, os.getuid())
    assert abs(found.skew_s) < 5
    assert found.total_bytes >= found.free_bytes > 0
    assert list(tmp_path.iterdir()) == []


def test_a_trial_of_what_is_not_there(tmp_path: Path) -> None:
    found = try_store(local(tmp_path / "gone"))
    assert (found.step, found.error_number) == ("statvfs", errno.ENOENT)


def test_a_file_system_that_breaks_in_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fsync", fails)
    found = try_store(local(tmp_path))
    assert (found.step, found.error_number) == ("writing a file", errno.EIO)
    assert list(tmp_path.iterdir()) == []


async def test_a_store_that_hangs_is_a_verdict_and_the_others_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requirements R12."""
    gate = threading.Event()

    def hanging(mount: MountEntry) -> Trial:
        if mount.file_system == "nfs4":
            gate.wait()
        return trial()

    monkeypatch.setattr(storage, "try_store", hanging)
    monkeypatch.setattr(storage.look, "__defaults__", (0.05,))
    put(tmp_path, {"proc/self/mountinfo": MOUNTINFO})
    try:
        result = await run_check(storage.StorageCheck(), machine(tmp_path))
    finally:
        gate.set()
    hangs, fine = result.verdicts
    assert (hangs.status, fine.status) == (ERROR, OK)
    assert "10.1.40.2:/exp/sec hangs" in hangs.what
    assert "umount -f -l /mnt/SecStorage/abc" in hangs.remedy


def test_no_store_at_all(tmp_path: Path) -> None:
    facts = machine(tmp_path)
    assert storage.judge_none(facts).status is ERROR
    assert "no management server" in storage.judge_none(facts).what
    assert "is connected" in storage.judge_none(replace(facts, agent=running())).what
    bare = machine(tmp_path, text=TEXT.replace("secondaryStorageServerAddress", "x"))
    assert storage.judge_none(bare).status is SKIPPED
    word = running()
    known = replace(word, report={**(word.report or {}), "stores": [{"url": "file:///x"}]})
    assert storage.judge_none(replace(facts, agent=known)).status is OK


def test_storage_server_verdicts() -> None:
    server = StoreServer(host="10.1.40.2", exports=("/exp/sec",))
    good = storage_servers.Reached(server=server, exports=frozenset({"/exp"}))
    assert statuses(storage_servers.judge([good], None)) == [OK]
    assert statuses(storage_servers.judge([replace(good, problem="It refuses.")], None)) == [ERROR]
    other = replace(good, exports=frozenset({"/export"}))
    assert statuses(storage_servers.judge([other], None)) == [OK, WARNING]
    assert statuses(storage_servers.judge([replace(good, exports=frozenset())], None)) == [OK]
    closed = replace(good, has_portmapper=False, exports=None)
    assert statuses(storage_servers.judge([closed], "4.1")) == [OK]
    assert statuses(storage_servers.judge([closed], "3")) == [OK, WARNING]
    assert statuses(storage_servers.judge([], None)) == [SKIPPED]


def test_exports_as_the_server_lists_them() -> None:
    assert storage_servers.parse_exports("/exp/sec 10.1.40.0/24\n/home (everyone)\nx\n") == {
        "/exp/sec",
        "/home",
    }


# --- web, proxy, source --------------------------------------------------------------------------

SERVED = HttpReply(status=200)
WEB = web.WebFacts(
    http_place="203.0.113.21:80",
    https_place="203.0.113.21:443",
    http=SERVED,
    https=SERVED,
    upload=HttpReply(status=204),
    certificate=web.PublicCertificate(
        subject="CN=*.example.org", not_after=NOW + timedelta(days=100), is_self_signed=False
    ),
    now=NOW,
)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, OK, "203.0.113.21:80 and 203.0.113.21:443 answer"),
        ({"http": HttpReply(problem="nothing listens there")}, ERROR, "203.0.113.21:80 does not"),
        ({"upload": HttpReply(status=503)}, ERROR, "Uploads are not taken"),
        ({"dangling": ("a/x.qcow2",)}, WARNING, "1 published links lead nowhere: a/x.qcow2"),
        ({"has_copy_rules": False}, WARNING, "copies between zones are refused"),
    ],
)
def test_web_verdicts(changes: dict[str, object], status: Status, words: str) -> None:
    """boot-and-system.md 5.3.9."""
    (verdict,) = web.judge(replace(WEB, **changes))  # type: ignore[arg-type]
    assert verdict.status is status
    assert words in verdict.what


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"not_after": NOW - timedelta(days=3000)}, ERROR),
        ({"is_self_signed": True}, WARNING),
        ({"not_after": NOW + timedelta(days=3)}, WARNING),
    ],
)
def test_certificates_browsers_do_not_believe(changes: dict[str, object], status: Status) -> None:
    """requirements R4."""
    assert WEB.certificate is not None
    shown = replace(WEB.certificate, **changes)  # type: ignore[arg-type]
    assert statuses(web.judge(replace(WEB, certificate=shown))) == [status]


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "uuid").mkdir()
    (tmp_path / "uuid" / "gone.qcow2").symlink_to(tmp_path / "nothing")
    (tmp_path / "fine").symlink_to(tmp_path / "uuid")
    assert web.dangling_links(tmp_path) == ("uuid/gone.qcow2",)


def test_proxy_verdicts() -> None:
    """requirements R34."""
    assert statuses(proxy.judge("http://p:3128", "x:443", HttpReply(status=200))) == [OK]
    assert statuses(proxy.judge("http://p:3128", "x:443", HttpReply(status=407))) == [ERROR]
    assert statuses(proxy.judge("http://p:3128", "x:443", HttpReply(status=503))) == [WARNING]
    assert statuses(proxy.judge("http://p:3128", "x:443", HttpReply(problem="refused"))) == [ERROR]
    assert proxy.destination("http://images.example.org/a") == "images.example.org:80"
    assert proxy.destination("") == "cloudstack.apache.org:443"


RULES = [
    "-P OUTPUT ACCEPT",
    "-A OUTPUT -d 10.1.50.0/24 -o eth1 -p tcp -m state --state NEW -m tcp -j ACCEPT",
    (
        "-A OUTPUT -o eth1 -p tcp -m state --state NEW -m tcp --dport 80 -j REJECT"
        " --reject-with icmp-port-unreachable"
    ),
    "-A OUTPUT ! -o eth3 -p tcp -m tcp --dport 8000:8010 -j DROP",
    "-A OUTPUT -m owner --uid-owner 33 -j DROP",
    "-A OUTPUT -p udp -j DROP",
]


@pytest.mark.parametrize(
    ("device", "address", "port", "allowed", "words"),
    [
        ("eth1", "10.1.50.7", 80, True, "-d 10.1.50.0/24"),
        ("eth1", "10.1.60.7", 80, False, "--dport 80 -j REJECT"),
        ("eth2", "198.51.100.7", 80, True, "the policy of OUTPUT, ACCEPT"),
        ("eth2", "198.51.100.7", 8005, False, "--dport 8000:8010"),
        ("eth3", "198.51.100.7", 8005, True, "the policy"),
    ],
)
def test_the_rule_that_decides(
    device: str, address: str, port: int, allowed: bool, words: str
) -> None:
    """boot-and-system.md 2.5 and 5.3.10."""
    decision = decide(RULES, device, address, port)
    assert decision.is_allowed is allowed
    assert words in decision.rule


def test_a_closed_policy_and_the_allowed_sites() -> None:
    assert not decide(["-P OUTPUT DROP"], "eth2", "198.51.100.7", 80).is_allowed
    assert allowed_sites(RULES) == ["10.1.50.0/24"]


SOURCE = url.UrlFacts(
    url="http://images.example.org/a.qcow2",
    addresses=("198.51.100.7",),
    way=Way(what="source", address="198.51.100.7", device="eth2", gateway="203.0.113.1"),
    decision=Decision(is_allowed=True, rule="the policy of OUTPUT, ACCEPT"),
    reply=HttpReply(status=200, headers={"content-length": "1048576"}),
)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, [OK, OK]),
        ({"problem": "URI is incorrect"}, [ERROR]),
        ({"refusal": "Illegal host"}, [ERROR]),
        ({"proxy": True}, [SKIPPED]),
        ({"way": Way(what="source", address="198.51.100.7")}, [ERROR, OK]),
        ({"decision": Decision(is_allowed=False, rule="REJECT")}, [ERROR, OK]),
        ({"decision": None}, [OK, OK]),
        ({"reply": None}, [OK]),
        ({"reply": HttpReply(problem="no answer within 15 s")}, [OK, ERROR]),
        ({"reply": HttpReply(status=403)}, [OK, ERROR]),
        ({"reply": HttpReply(status=404)}, [OK, ERROR]),
        ({"reply": HttpReply(status=405)}, [OK, WARNING]),
        ({"reply": HttpReply(status=302, headers={"location": "http://b/"})}, [OK, WARNING]),
    ],
)
def test_source_verdicts(changes: dict[str, object], found: list[Status]) -> None:
    assert statuses(url.judge(replace(SOURCE, **changes))) == found  # type: ignore[arg-type]


def test_a_source_says_its_way_its_rule_and_its_size() -> None:
    way, reply = url.judge(SOURCE)
    assert way.what == (
        "198.51.100.7 leaves by eth2 via 203.0.113.1; allowed by: the policy of OUTPUT, ACCEPT."
    )
    assert reply.what == "The server has the file: status 200, 1048576 bytes."


async def test_an_internal_source_outside_the_allowed_sites(tmp_path: Path) -> None:
    """boot-and-system.md 5.2: refused on eth1 by the packet filter."""

    def react(call: list[str]) -> ProgramResult:
        if call[0] == "iptables":
            return ProgramResult(returncode=0, stdout="\n".join(RULES).encode(), stderr=b"")
        entry = json.dumps([{"dst": call[4], "dev": "eth1", "gateway": "10.1.34.1"}])
        return ProgramResult(returncode=0, stdout=entry.encode(), stderr=b"")

    class NotAsked(url.UrlCheck):
        deadline_s = 5.0

    facts = machine(tmp_path, react=react, url="scp://images@10.1.60.7/a.qcow2")
    (path,) = (await run_check(NotAsked(), facts)).verdicts
    assert (path.status, "leaves by eth1 via 10.1.34.1" in path.what) == (OK, True)
    facts = replace(facts, url="http://169.254.169.254/latest")
    (refused,) = (await run_check(NotAsked(), facts)).verdicts
    assert "does not fetch from 169.254.169.254" in refused.what
