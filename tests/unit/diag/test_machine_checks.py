# SPDX-License-Identifier: Apache-2.0
"""The verdicts of checks that look at the machine itself."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from ssvm_agent.appliance.plan.build import build_plan
from ssvm_agent.appliance.plan.model import Hypervisor, Interface
from ssvm_agent.appliance.routes import Route
from ssvm_agent.bootargs import parse
from ssvm_agent.config.settings import DownloadSettings, Settings
from ssvm_agent.diag.check import Check
from ssvm_agent.diag.checks import (
    boot_text,
    clock,
    disk,
    firewall,
    interfaces,
    memory,
    path_mtu,
    payload,
    routes,
    secrets,
    settings,
    sshd,
)
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.listening import listeners
from ssvm_agent.diag.runner import run_check
from ssvm_agent.diag.verdict import Status, Verdict
from ssvm_agent.host.errors import ProgramMissingError
from ssvm_agent.host.run import ProgramResult
from ssvm_agent.masking import Secret
from tests.fakes.checked_machine import NOW, TEXT, machine, put

OK, WARNING, ERROR, SKIPPED = Status.OK, Status.WARNING, Status.ERROR, Status.SKIPPED


def statuses(verdicts: list[Verdict]) -> list[Status]:
    return [verdict.status for verdict in verdicts]


async def found(check: Check, facts: Facts) -> tuple[Verdict, ...]:
    return (await run_check(check, facts)).verdicts


def done(text: str = "", code: int = 0, stderr: str = "") -> ProgramResult:
    return ProgramResult(returncode=code, stdout=text.encode(), stderr=stderr.encode())


# --- settings and boot text ----------------------------------------------------------------------


def test_settings_that_cannot_be_used_and_those_that_were_corrected() -> None:
    (verdict,) = settings.judge("zone is not set", ())
    assert (verdict.status, "zone is not set" in verdict.what) == (ERROR, True)
    assert statuses(settings.judge("", ("boot text: port ignored",))) == [WARNING]
    assert statuses(settings.judge("", ())) == [OK]


def boot(text: str = TEXT, **changes: object) -> list[Verdict]:
    facts = boot_text.BootTextFacts(boot=parse(text), path="/var/cache/cloud/cmdline", length=600)
    return boot_text.judge(replace(facts, **changes))  # type: ignore[arg-type]


def test_a_whole_boot_text() -> None:
    assert statuses(boot()) == [OK]


def test_a_missing_boot_text_leads_to_the_channels() -> None:
    (verdict,) = boot("")
    assert verdict.status is ERROR
    assert "ssvm-agent boot show" in verdict.remedy


@pytest.mark.parametrize(
    ("key", "status"), [("zone", ERROR), ("eth1ip", ERROR), ("gateway", WARNING)]
)
def test_a_key_that_is_null_is_missing(key: str, status: Status) -> None:
    """boot-and-system.md 0 fact 5 and 5.3.1."""
    (verdict,) = boot(f"{TEXT} {key}=null")
    assert verdict.status is status
    assert f"has no {key}" in verdict.what


def test_the_text_of_another_kind_of_system_vm() -> None:
    (verdict,) = boot(f"{TEXT} type=consoleproxy")
    assert (verdict.status, "consoleproxy" in verdict.what) == (ERROR, True)


def test_a_text_from_before_this_boot_is_old() -> None:
    """boot-and-system.md 5.3.1, age."""
    assert statuses(boot(written=1000.0, booted=5000.0)) == [WARNING]
    assert statuses(boot(written=5000.0, booted=5000.0)) == [OK]
    assert statuses(boot(written=4900.0, booted=5000.0)) == [OK]  # the clock was set meanwhile


def test_a_text_at_the_limit_of_its_channel() -> None:
    """boot-and-system.md 1.4."""
    assert statuses(boot(hypervisor=Hypervisor.XEN_PV, length=1024)) == [WARNING]
    assert statuses(boot(hypervisor=Hypervisor.KVM, length=4000)) == [OK]


def test_what_could_not_be_followed_is_said() -> None:
    (verdict,) = boot(oddities=("mtu is no MTU",))
    assert (verdict.status, "mtu is no MTU" in verdict.what) == (WARNING, True)


async def test_without_boot_text_and_without_need_for_one_nothing_is_wrong(tmp_path: Path) -> None:
    facts = machine(tmp_path, text="")
    assert (await found(boot_text.BootTextCheck(), facts))[0].status is SKIPPED


# --- payload -------------------------------------------------------------------------------------


def test_payload_verdicts() -> None:
    good = payload.PayloadFacts()
    assert statuses(payload.judge(good)) == [OK]
    assert statuses(payload.judge(replace(good, has_agent_dir=False))) == [ERROR]
    assert statuses(payload.judge(replace(good, archive="a", signature="b"))) == [WARNING]
    assert statuses(payload.judge(replace(good, archive="a", signature=""))) == [OK]
    late = replace(good, is_boot_done=False, up_s=3600.0)
    assert statuses(payload.judge(late)) == [WARNING]
    assert statuses(payload.judge(replace(late, up_s=60.0))) == [OK]
    assert statuses(payload.judge(replace(good, patch_complaints=("x failed",)))) == [WARNING]


def test_only_the_end_of_a_patch_log_counts() -> None:
    old = "Failed to unpack\n" + "done\n" * 30
    assert payload.complaints(old) == ()
    assert payload.complaints(f"{old}ERROR: No space left on device\n") == (
        "ERROR: No space left on device",
    )


async def test_the_payload_of_a_machine(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "usr/local/cloud/systemvm/conf/agent.properties": "guid=s-1-VM\n",
            "usr/share/cloud/cloud-scripts.tgz": "scripts",
            "var/cache/cloud/cloud-scripts-signature": "0" * 128 + "\n",
            "var/cache/cloud/boot_up_done": "",
            "etc/cloudstack-release": "Cloudstack Release 4.22.0",
        },
    )
    (verdict,) = await found(payload.PayloadCheck(), machine(tmp_path))
    assert "signature" in verdict.what


# --- interfaces ----------------------------------------------------------------------------------


def address_entry(name: str, address: str, prefix: int, **more: object) -> dict[str, object]:
    return {
        "ifname": name, "flags": ["BROADCAST", "UP", "LOWER_UP"], "mtu": 1500,
        "address": "02:00:00:00:00:01",
        "addr_info": [{"family": "inet", "local": address, "prefixlen": prefix}], **more,
    }  # fmt: skip


ENTRIES = [
    address_entry("eth0", "169.254.102.7", 16),
    address_entry("eth1", "10.1.34.20", 24),
    address_entry("eth2", "203.0.113.21", 24),
    address_entry("eth3", "10.1.40.20", 24),
]


async def interfaces_found(
    tmp_path: Path, entries: list[dict[str, object]], *, taken: str = "", text: str = TEXT
) -> list[tuple[Status, str]]:
    def react(call: list[str]) -> ProgramResult:
        if call[0] == "arping":
            return done(code=1 if call[-2] == taken else 0)
        return done(json.dumps(entries))

    facts = machine(tmp_path, text=text, react=react)
    verdicts = await found(interfaces.InterfacesCheck(), facts)
    return [(verdict.status, verdict.what) for verdict in verdicts]


async def test_interfaces_as_the_text_says(tmp_path: Path) -> None:
    assert await interfaces_found(tmp_path, ENTRIES) == [
        (OK, "4 interfaces are up with their addresses.")
    ]


async def test_interfaces_that_are_not_as_the_text_says(tmp_path: Path) -> None:
    """boot-and-system.md 5.3.3."""
    entries = [
        address_entry("eth0", "169.254.102.7", 16),
        address_entry("eth1", "10.1.34.99", 24),
        address_entry("eth2", "203.0.113.21", 24, flags=["NO-CARRIER", "UP"]),
        address_entry("eth3", "10.1.40.20", 24, mtu=9000),
    ]
    assert await interfaces_found(tmp_path, entries) == [
        (ERROR, "eth1 lacks its address 10.1.34.20/24."),
        (ERROR, "eth2 is connected to nothing."),
        (WARNING, "eth3 has MTU 9000, the boot text says 1500."),
    ]
    gone = await interfaces_found(tmp_path, ENTRIES[:3])
    assert gone == [(ERROR, "There is no interface eth3.")]


async def test_an_address_somebody_else_has_too(tmp_path: Path) -> None:
    (verdict,) = await interfaces_found(tmp_path, ENTRIES, taken="eth2")
    assert verdict == (ERROR, "Another machine has the address of eth2 too: 203.0.113.21.")


async def test_without_the_program_for_it_duplicates_are_not_looked_for(tmp_path: Path) -> None:
    def react(call: list[str]) -> ProgramResult:
        if call[0] == "arping":
            raise ProgramMissingError("arping")
        return done(json.dumps(ENTRIES))

    verdicts = await found(interfaces.InterfacesCheck(), machine(tmp_path, react=react))
    assert [one.status for one in verdicts] == [OK]


def test_cards_in_another_order_and_dhcp() -> None:
    state = interfaces.NicState(addresses=frozenset(), mac="02:00:00:00:00:02", is_up=False)
    nic = Interface(name="eth1", dhcp=True, mac="02:00:00:00:00:01")
    verdicts = interfaces.judge([nic], {"eth1": state}, frozenset())
    assert [one.what.split(":")[0] for one in verdicts] == [
        "eth1 got no address by DHCP.",
        "eth1 is switched off.",
        "eth1 is the card 02",
    ]


# --- routes --------------------------------------------------------------------------------------


def route(text: str, device: str, gateway: str | None = None) -> Route:
    return Route(
        destination=ip_network(text), device=device,
        gateway=ip_address(gateway) if gateway else None,
    )  # fmt: skip


TABLE = [
    route("0.0.0.0/0", "eth2", "203.0.113.1"),
    route("10.1.34.0/24", "eth1"),
    route("10.1.40.0/24", "eth3"),
    route("10.1.32.0/24", "eth1", "10.1.34.1"),
]


def test_routes_as_they_should_be(tmp_path: Path) -> None:
    way = routes.Way(
        what="management server", address="10.1.32.5", device="eth1", intended=("eth1",)
    )
    assert statuses(routes.judge(machine(tmp_path).plan, TABLE, [way])) == [OK]


def test_routes_that_are_wrong(tmp_path: Path) -> None:
    """boot-and-system.md 5.3.4."""
    plan = machine(tmp_path).plan
    lost = routes.Way(what="storage server", address="10.9.9.9", intended=("eth3",))
    astray = routes.Way(
        what="management server", address="10.1.32.5", device="eth2", gateway="203.0.113.1",
        intended=("eth1",),
    )  # fmt: skip
    verdicts = routes.judge(plan, TABLE[1:], [lost, astray])
    assert [(one.status, one.what) for one in verdicts] == [
        (ERROR, "The default route is missing; it must be via 203.0.113.1 dev eth2."),
        (ERROR, "There is no route to storage server 10.9.9.9."),
        (WARNING, ("Traffic to management server 10.1.32.5 leaves by eth2 via 203.0.113.1, not by"
                  " eth1.")),
    ]  # fmt: skip


def test_an_internal_site_that_takes_a_part_of_the_storage_network(tmp_path: Path) -> None:
    """boot-and-system.md 2.4, step 7."""
    stolen = route("10.1.40.128/25", "eth1", "10.1.34.1")
    (verdict,) = routes.judge(machine(tmp_path).plan, [*TABLE, stolen], [])
    assert verdict.status is WARNING
    assert "10.1.40.128/25 via 10.1.34.1 dev eth1 takes traffic of the network" in verdict.what
    host = route("10.1.40.2/32", "eth1", "10.1.34.1")
    assert statuses(routes.judge(machine(tmp_path).plan, [*TABLE, host], [])) == [OK]


def test_an_ipv6_route_that_takes_a_part_of_a_connected_network(tmp_path: Path) -> None:
    near, stolen = route("2001:db8:40::/64", "eth3"), "2001:db8:40:0:8000::/65"
    (verdict,) = routes.judge(
        machine(tmp_path).plan, [*TABLE, near, route(stolen, "eth1", "2001:db8:34::1")], []
    )
    assert verdict.status is WARNING
    assert stolen in verdict.what


def test_each_family_has_its_default_route(tmp_path: Path) -> None:
    boot = parse(f"{TEXT} gateway=null eth2ip6=2001:db8:1::21 ip6gateway=2001:db8:1::1")
    plan = build_plan(boot, Hypervisor.KVM)
    (verdict,) = routes.judge(plan, TABLE, [])
    assert verdict.what.startswith(
        "The IPv6 default route is missing; it must be via 2001:db8:1::1"
    )
    assert verdict.how == "ip -6 route show default"
    present = route("::/0", "eth2", "2001:db8:1::1")
    assert statuses(routes.judge(plan, [*TABLE, present], [])) == [OK]


async def test_every_destination_is_asked_for(tmp_path: Path) -> None:
    asked = []

    def react(call: list[str]) -> ProgramResult:
        if call[:4] == ["ip", "-json", "route", "get"]:
            asked.append(call[4])
            device = "eth3" if call[4].startswith("10.1.40.") else "eth1"
            return done(json.dumps([{"dst": call[4], "dev": device}]))
        entries = [{"dst": "default", "gateway": "203.0.113.1", "dev": "eth2"}]
        return done(json.dumps(entries))

    verdicts = await found(routes.RoutesCheck(), machine(tmp_path, react=react))
    assert {"10.1.32.5", "10.1.32.6", "10.1.32.2", "10.1.32.0", "10.1.40.2"} <= set(asked)
    assert [one.status for one in verdicts] == [OK]


def test_path_mtu_verdicts() -> None:
    probe = path_mtu.Probe(address="10.1.40.2", payload_bytes=8972, small=True, full=True)
    assert statuses(path_mtu.judge(9000, [probe])) == [OK]
    assert statuses(path_mtu.judge(9000, [replace(probe, full=False)])) == [ERROR]
    assert statuses(path_mtu.judge(9000, [replace(probe, small=False, full=False)])) == [SKIPPED]
    assert statuses(path_mtu.judge(9000, [])) == [SKIPPED]


async def test_full_packets_have_the_size_of_the_interface(tmp_path: Path) -> None:
    def react(call: list[str]) -> ProgramResult:
        return done(code=1 if "-M" in call else 0)

    (verdict,) = await found(path_mtu.PathMtuCheck(), machine(tmp_path, react=react))
    assert verdict.how == "ping -M do -s 1472 10.1.40.2"
    assert verdict.status is ERROR


# --- firewall and sshd ---------------------------------------------------------------------------


def test_firewall_verdicts() -> None:
    """boot-and-system.md 5.3.11."""
    state = firewall.FilterState(has_ipv6=True)
    assert "IPv6 is on and filtered" in firewall.judge(state)[0].what
    closed = "-A INPUT -i eth2 -p tcp -m state --state NEW -m tcp --dport 443 -j ACCEPT"
    open_ = "-A OUTPUT -o eth1 -p tcp -m state --state NEW -m tcp --dport 80 -j REJECT"
    verdicts = firewall.judge(
        firewall.FilterState(missing=("-P INPUT DROP", closed, open_), missing6=(":INPUT",))
    )
    assert statuses(verdicts) == [WARNING, ERROR, WARNING, WARNING]
    assert verdicts[2].what.startswith("HTTP can leave into the internal networks")
    assert statuses(firewall.judge(firewall.FilterState(problem="no iptables"))) == [SKIPPED]


async def test_the_rules_of_boot_and_agent_are_both_asked_for(tmp_path: Path) -> None:
    asked = []

    def react(call: list[str]) -> ProgramResult:
        if call[0] == "iptables-save":
            return done(
                ":INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:HTTP - [0:0]"
            )
        asked.append(" ".join(call))
        return done(code=1 if "REJECT" in call else 0)

    put(tmp_path, {"proc/sys/net/ipv6/conf/all/disable_ipv6": "1\n"})
    verdicts = await found(firewall.FirewallCheck(), machine(tmp_path, react=react))
    assert [one.status for one in verdicts] == [WARNING, WARNING]
    assert any("--dport 3922" in call for call in asked)
    assert not any("ip6tables" in call for call in asked)


# 10.1.34.20:3922 and [::]:80 listen, 127.0.0.1:3922 is only connected.
TCP = """\
  sl  local_address rem_address   st
   0: 1422010A:0F52 00000000:0000 0A
   1: 0100007F:0F52 00000000:0000 01
"""
TCP6 = "   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A\n"


def test_listening_sockets_are_read_from_the_kernels_table() -> None:
    assert list(listeners(TCP + TCP6)) == [("10.1.34.20", 3922), ("::", 80)]


def test_sshd_verdicts() -> None:
    assert statuses(sshd.judge("169.254.102.7", ["169.254.102.7"])) == [OK]
    assert statuses(sshd.judge("169.254.102.7", ["0.0.0.0"])) == [WARNING]
    assert "nowhere" in sshd.judge("169.254.102.7", [])[0].what
    assert "only on 10.1.34.20" in sshd.judge("169.254.102.7", ["10.1.34.20"])[0].what
    assert statuses(sshd.judge("", [])) == [SKIPPED]


async def test_sshd_on_the_wrong_address(tmp_path: Path) -> None:
    put(tmp_path, {"proc/net/tcp": TCP})
    (verdict,) = await found(sshd.SshdCheck(), machine(tmp_path))
    assert verdict.status is ERROR


# --- host ----------------------------------------------------------------------------------------

GIB = 1 << 30


def test_disk_verdicts() -> None:
    """boot-and-system.md 5.3.12."""
    good = disk.DiskFacts(
        total_bytes=4 * GIB, free_bytes=2 * GIB, total_inodes=1000, free_inodes=900
    )
    assert statuses(disk.judge(good)) == [OK]
    assert statuses(disk.judge(replace(good, is_read_only=True))) == [ERROR]
    assert statuses(disk.judge(replace(good, free_bytes=GIB // 5))) == [WARNING]
    assert statuses(disk.judge(replace(good, free_inodes=1))) == [ERROR]
    assert statuses(disk.judge(replace(good, log_bytes=GIB, deleted_bytes=GIB))) == [WARNING] * 2


async def test_the_disk_of_this_machine(tmp_path: Path) -> None:
    put(tmp_path, {"var/log/cloud.log": "x" * 10_000})
    (verdict, *_) = await found(disk.DiskCheck(), machine(tmp_path))
    assert verdict.how.startswith("df")


def test_memory_verdicts() -> None:
    good = memory.MemoryFacts(total_kib=512_000, available_kib=300_000)
    assert statuses(memory.judge(good)) == [OK]
    assert statuses(memory.judge(replace(good, available_kib=20_000, kills=2))) == [WARNING] * 2
    assert statuses(memory.judge(replace(good, total_kib=None))) == [SKIPPED]


async def test_memory_from_the_kernels_own_words(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "proc/meminfo": "MemTotal:         496000 kB\nMemAvailable:   300000 kB\n",
            "proc/vmstat": "nr_free 1\noom_kill 3\n",
        },
    )
    (verdict,) = await found(memory.MemoryCheck(), machine(tmp_path))
    assert "killed 3 processes" in verdict.what


def test_clock_verdicts() -> None:
    state = clock.ClockFacts(now=NOW, is_synchronised=True)
    assert statuses(clock.judge(state)) == [OK]
    assert statuses(clock.judge(replace(state, is_synchronised=None))) == [OK]
    assert statuses(clock.judge(replace(state, is_synchronised=False))) == [WARNING]
    assert statuses(clock.judge(replace(state, now=datetime(1970, 1, 2, tzinfo=UTC)))) == [ERROR]


def test_the_kernel_is_asked_without_changing_the_clock() -> None:
    assert clock.kernel_is_synchronised() in {True, False, None}


def test_secrets_verdicts() -> None:
    """boot-and-system.md 5.3.13."""
    key = "/etc/ssl/private/cert_apache.key"
    assert statuses(secrets.judge({"/a": 0o600, key: 0o640})) == [OK]
    assert statuses(secrets.judge({"/a": 0o750})) == [WARNING]
    assert statuses(secrets.judge({"/a": 0o644, key: 0o660})) == [ERROR, ERROR]
    assert secrets.judge({"/a": 0o644})[0].remedy == "chmod 600 /a"
    assert statuses(secrets.judge({})) == [SKIPPED]


async def test_the_operators_file_counts_only_with_a_proxy_in_it(tmp_path: Path) -> None:
    put(tmp_path, {"etc/ssvm-agent/agent.yaml": "log: {level: debug}\n"})
    (tmp_path / "etc/ssvm-agent/agent.yaml").chmod(0o644)
    assert (await found(secrets.SecretsCheck(), machine(tmp_path)))[0].status is SKIPPED
    proxy = DownloadSettings(proxy=Secret("http://u:p@proxy:3128"))
    facts = machine(tmp_path, settings=Settings(download=proxy))
    assert (await found(secrets.SecretsCheck(), facts))[0].status is ERROR
