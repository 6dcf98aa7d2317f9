# SPDX-License-Identifier: Apache-2.0
"""``boot apply`` on a real kernel: a machine in one network namespace, its cloud in another."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "iptables", "ip6tables")]

SERVER = "10.1.32.5"
TEXT = (
    "template=domP type=secstorage host=10.1.32.5 port=8250 name=s-1-VM zone=1 pod=1 "
    "guid=s-1-VM mtu=1400 eth2ip=203.0.113.21 eth2mask=255.255.255.0 gateway=203.0.113.1 "
    "eth0ip=169.254.102.7 eth0mask=255.255.0.0 eth1ip=10.1.34.20 eth1mask=255.255.255.0 "
    "mgmtcidr=10.1.32.0/24 localgw=10.1.34.1 storageip=10.1.40.20 storagenetmask=255.255.255.0 "
    "storagegateway=10.1.40.1 internaldns1=10.1.32.2 dns1=8.8.8.8"
)
# Answers on the management server's port, like one that is up.
_LISTENER = """
import socket, sys
server = socket.create_server((sys.argv[1], 8250))
print("listening", flush=True)
while True:
    server.accept()[0].close()
"""


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout


@dataclass
class Cloud:
    """A machine with four interfaces, and what is on the other ends of its cables."""

    machine: str
    outside: str
    root: Path

    def apply(self, text: str = TEXT, *options: str, code: int = 0) -> dict[str, Any]:
        file = self.root.parent / "cmdline"
        file.write_text(text)
        done = subprocess.run(
            ["ip", "netns", "exec", self.machine, sys.executable, "-m", "ssvm_agent", "boot",
             "apply", str(file), "--hypervisor", "kvm", "--root", str(self.root), "--live",
             "--json", *options],
            capture_output=True, text=True, timeout=55, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def statuses(self, report: dict[str, Any]) -> dict[str, str]:
        return {item["name"]: item["status"] for item in report["items"]}

    def ip(self, *words: str) -> Any:
        return json.loads(run("ip", "-json", "-n", self.machine, *words) or "[]")

    def addresses(self, device: str) -> set[str]:
        return {
            f"{info['local']}/{info['prefixlen']}"
            for info in self.ip("address", "show", device)[0]["addr_info"]
            if info["scope"] == "global" or info["local"].startswith("169.254")
        }

    def routes(self, *words: str) -> set[tuple[str, str]]:
        return {
            (route["dst"], route["gateway"])
            for route in self.ip(*words, "route") if "gateway" in route
        }  # fmt: skip

    def inside(self, *argv: str) -> str:
        return run("ip", "netns", "exec", self.machine, *argv)

    def filters(self) -> list[str]:
        lines = self.inside("iptables-save", "-t", "filter").splitlines()
        return [line.split(" [")[0] for line in lines if not line.startswith("#")]

    def snapshot(self) -> tuple[object, ...]:
        links = {
            link["ifname"]: (link["mtu"], link["operstate"] != "DOWN")
            for link in self.ip("link")
        }  # fmt: skip
        files = {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file() and "ssvm-agent" not in str(path.relative_to(self.root))
        }
        return (
            links, {name: self.addresses(name) for name in links}, self.routes(),
            self.routes("-6"), self.filters(), files,
        )  # fmt: skip


@pytest.fixture(name="cloud")
def _cloud(tmp_path: Path) -> Iterator[Cloud]:
    mark = secrets.token_hex(3)
    cloud = Cloud(f"ssvm-m-{mark}", f"ssvm-o-{mark}", tmp_path / "root")
    (cloud.root / "etc/ssh").mkdir(parents=True)
    (cloud.root / "etc/ssh/sshd_config").write_text("Port 3922\nListenAddress 10.1.1.1\n")
    for name in (cloud.machine, cloud.outside):
        run("ip", "netns", "add", name)
    try:
        for number, gateway in enumerate(("169.254.0.1/16", "10.1.34.1/24", "203.0.113.1/24",
                                          "10.1.40.1/24")):  # fmt: skip
            device, peer = f"eth{number}", f"peer{number}"
            run("ip", "-n", cloud.machine, "link", "add", device, "type", "veth",
                "peer", "name", peer, "netns", cloud.outside)  # fmt: skip
            run("ip", "-n", cloud.outside, "address", "add", gateway, "dev", peer)
            run("ip", "-n", cloud.outside, "link", "set", peer, "up")
        run("ip", "-n", cloud.outside, "link", "set", "lo", "up")
        run("ip", "-n", cloud.machine, "link", "set", "lo", "up")
        run("ip", "-n", cloud.outside, "address", "add", f"{SERVER}/32", "dev", "lo")
        yield cloud
    finally:
        for name in (cloud.machine, cloud.outside):
            run("ip", "netns", "delete", name)


@pytest.fixture(name="server")
def _server(cloud: Cloud) -> Iterator[None]:
    with subprocess.Popen(
        ["ip", "netns", "exec", cloud.outside, sys.executable, "-c", _LISTENER, SERVER],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        yield
        process.kill()


def mac_of(cloud: Cloud, device: str) -> str:
    return str(cloud.ip("link", "show", device)[0]["address"])


def test_a_machine_without_a_network_gets_the_declared_one(cloud: Cloud, server: None) -> None:
    """boot-and-system.md 2.2-2.5."""
    report = cloud.apply()
    assert report["as_wanted"] is True
    assert "reachable" in report["management"]
    assert cloud.addresses("eth0") == {"169.254.102.7/16"}
    assert cloud.addresses("eth1") == {"10.1.34.20/24"}
    assert cloud.addresses("eth2") == {"203.0.113.21/24"}
    assert cloud.addresses("eth3") == {"10.1.40.20/24"}
    assert cloud.ip("link", "show", "eth3")[0]["mtu"] == 1400
    assert cloud.routes() == {
        ("10.1.32.0/24", "10.1.34.1"), ("default", "203.0.113.1"), ("10.0.0.0/8", "10.1.34.1"),
        ("172.16.0.0/12", "10.1.34.1"), ("192.168.0.0/16", "10.1.34.1"),
    }  # fmt: skip
    filters = cloud.filters()
    assert {":INPUT DROP", ":FORWARD DROP", ":OUTPUT ACCEPT", ":HTTP -"} <= set(filters)
    assert filters.index("-A INPUT -p icmp -m icmp --icmp-type 13 -j DROP") < filters.index(
        "-A INPUT -p icmp -j ACCEPT"
    )
    assert "ListenAddress 169.254.102.7" in (cloud.root / "etc/ssh/sshd_config").read_text()


def test_applying_twice_changes_nothing(cloud: Cloud) -> None:
    """R27, R10."""
    cloud.apply()
    before = cloud.snapshot()
    report = cloud.apply()
    assert report["changed"] == 0
    assert set(cloud.statuses(report).values()) <= {"unchanged", "skipped"}
    assert cloud.snapshot() == before


def test_a_dry_run_changes_nothing_and_says_what_would(cloud: Cloud) -> None:
    before = cloud.snapshot()
    report = cloud.apply(TEXT, "--dry-run")
    assert cloud.snapshot() == before
    statuses = cloud.statuses(report)
    assert statuses["interface eth1"] == "would change"
    assert statuses["packet filter IPv4"] == "would change"
    assert statuses["file /etc/hosts"] == "would change"
    assert not (cloud.root / "var").exists()


def test_what_others_made_stays(cloud: Cloud) -> None:
    """Foreign addresses, routes and rules are nobody's business but their makers'."""
    run("ip", "-n", cloud.machine, "link", "set", "eth1", "up")
    run("ip", "-n", cloud.machine, "address", "add", "10.1.34.77/24", "dev", "eth1")
    run("ip", "-n", cloud.machine, "route", "add", "198.51.100.0/24", "via", "10.1.34.9")
    cloud.inside("iptables", "-A", "INPUT", "-s", "192.0.2.1", "-j", "DROP")
    cloud.inside("iptables", "-N", "HTTP")
    cloud.inside("iptables", "-A", "HTTP", "-s", "192.0.2.2", "-j", "RETURN")
    cloud.apply()
    assert cloud.addresses("eth1") == {"10.1.34.20/24", "10.1.34.77/24"}
    assert ("198.51.100.0/24", "10.1.34.9") in cloud.routes()
    filters = cloud.filters()
    assert "-A INPUT -s 192.0.2.1/32 -j DROP" in filters
    assert "-A HTTP -s 192.0.2.2/32 -j RETURN" in filters
    assert len(filters) == len(set(filters))


def test_a_new_text_moves_only_what_was_ours(cloud: Cloud) -> None:
    cloud.apply()
    run("ip", "-n", cloud.machine, "address", "add", "10.1.34.77/24", "dev", "eth1")
    run("ip", "-n", cloud.machine, "route", "add", "198.51.100.0/24", "via", "10.1.34.1")
    moved = TEXT.replace("eth1ip=10.1.34.20", "eth1ip=10.1.34.21").replace(
        "mgmtcidr=10.1.32.0/24", "mgmtcidr=10.1.33.0/24"
    )
    cloud.apply(moved)
    assert cloud.addresses("eth1") == {"10.1.34.21/24", "10.1.34.77/24"}
    routes = dict(cloud.routes())
    assert "10.1.32.0/24" not in routes
    assert routes["10.1.33.0/24"] == routes["198.51.100.0/24"] == "10.1.34.1"
    assert cloud.apply(moved)["changed"] == 0


@pytest.mark.slow
def test_the_network_comes_back_when_the_server_is_lost(cloud: Cloud, server: None) -> None:
    """A gateway that leads nowhere: everything of the network is as it was, files included."""
    cloud.apply()
    before = cloud.snapshot()
    lost = TEXT.replace("localgw=10.1.34.1", "localgw=10.1.34.254").replace("8.8.8.8", "9.9.9.9")
    report = cloud.apply(f"{lost} eth2ip=203.0.113.29", code=1)
    assert "no management server" in report["rolled_back"]
    assert "reachable again" in report["management"]
    after = cloud.snapshot()
    for part_before, part_after in zip(before[:5], after[:5], strict=True):
        assert part_after == part_before
    for name in ("etc/network/interfaces", "etc/resolv.conf"):
        assert before[5][name] == after[5][name]  # type: ignore[index]
    statuses = cloud.statuses(report)
    assert statuses["route 10.1.32.0/24"] == "restored"
    assert statuses["file /etc/resolv.conf"] == "restored"
    record = json.loads((cloud.root / "var/lib/ssvm-agent/machine.json").read_text())
    assert record["result"] == "rolled back"
    assert cloud.apply()["changed"] <= 3, "what is ours was remembered through the roll-back"


def test_a_refused_change_leaves_a_working_network_alone(cloud: Cloud, server: None) -> None:
    """The kernel takes no broadcast address for a gateway."""
    cloud.apply()
    before = cloud.snapshot()
    bad = TEXT.replace("gateway=203.0.113.1 ", "gateway=203.0.113.255 ").replace(
        "mtu=1400", "mtu=1300"
    )
    report = cloud.apply(bad, code=1)
    assert report["rolled_back"].startswith("route default")
    assert cloud.snapshot()[:5] == before[:5]


def test_a_refused_change_at_boot_costs_only_itself(cloud: Cloud) -> None:
    """R10: with nothing to go back to, the rest of the network is brought up."""
    bad = TEXT.replace("gateway=203.0.113.1 ", "gateway=203.0.113.255 ")
    report = cloud.apply(bad, code=1)
    assert report["rolled_back"] == ""
    statuses = cloud.statuses(report)
    assert statuses["route default"] == "failed"
    assert statuses["interface eth2"] == statuses["route 10.0.0.0/8"] == "changed"
    assert ("10.1.32.0/24", "10.1.34.1") in cloud.routes()


def test_ipv6_is_brought_up_when_its_keys_come(cloud: Cloud) -> None:
    for name in ("disable_ipv6", "accept_dad"):
        cloud.inside("sh", "-c", f"echo 1 > /proc/sys/net/ipv6/conf/eth2/{name}")
    text = f"{TEXT} eth2ip6=2001:db8:1::21 eth2ip6prelen=64 ip6gateway=2001:db8:1::1"
    cloud.apply(text)
    assert "2001:db8:1::21/64" in cloud.addresses("eth2")
    assert ("default", "2001:db8:1::1") in cloud.routes("-6")
    policies = cloud.inside("ip6tables", "-S").splitlines()
    assert "-P INPUT DROP" in policies
    assert "-A INPUT -p ipv6-icmp -j ACCEPT" in policies
    assert cloud.apply(text)["changed"] == 0


@pytest.mark.slow
def test_a_default_route_of_others_gives_way_and_comes_back(cloud: Cloud, server: None) -> None:
    """The plan says otherwise about the very same destination."""
    run("ip", "-n", cloud.machine, "address", "add", "10.1.34.20/24", "dev", "eth1")
    run("ip", "-n", cloud.machine, "link", "set", "eth1", "up")
    run("ip", "-n", cloud.machine, "route", "add", "default", "via", "10.1.34.1", "src",
        "10.1.34.20", "proto", "static")  # fmt: skip
    before = cloud.ip("route", "show", "default")
    lost = TEXT.replace("mgmtcidr=10.1.32.0/24", "").replace("203.0.113.", "10.1.99.")
    report = cloud.apply(lost, code=1)
    assert report["rolled_back"]
    assert cloud.ip("route", "show", "default") == before
    assert cloud.addresses("eth2") == set()


def test_names_follow_the_hardware_addresses(cloud: Cloud) -> None:
    """``nic_macs``: the kernel found the cards in another order."""
    macs = [mac_of(cloud, f"eth{number}") for number in (0, 2, 1, 3)]
    cloud.apply(f"{TEXT} nic_macs={'|'.join(macs)}")
    assert mac_of(cloud, "eth1") == macs[1]
    assert mac_of(cloud, "eth2") == macs[2]
    assert cloud.addresses("eth1") == {"10.1.34.20/24"}
    rules = (cloud.root / "etc/udev/rules.d/70-persistent-net.rules").read_text()
    assert len(rules.splitlines()) == 4
    assert cloud.apply(f"{TEXT} nic_macs={'|'.join(macs)}")["changed"] == 0


def test_a_missing_interface_costs_only_what_needs_it(cloud: Cloud) -> None:
    run("ip", "-n", cloud.machine, "link", "delete", "eth2")
    report = cloud.apply(code=1)
    statuses = cloud.statuses(report)
    assert statuses["interface eth2"] == statuses["route default"] == "failed"
    assert statuses["interface eth1"] == statuses["route 10.1.32.0/24"] == "changed"
    assert report["rolled_back"] == ""


def test_a_wrong_hardware_address_is_said_and_the_name_counts(cloud: Cloud) -> None:
    report = cloud.apply(f"{TEXT} nic_macs=02:00:00:00:00:01|02:00:00:00:00:02")
    assert any("02:00:00:00:00:02 of eth1" in oddity for oddity in report["oddities"])
    assert cloud.addresses("eth1") == {"10.1.34.20/24"}


def test_a_killed_apply_is_finished_by_the_next(cloud: Cloud) -> None:
    """Whenever it dies, the next one finds out what is left and nothing stands twice."""
    file = cloud.root.parent / "cmdline"
    file.write_text(TEXT)
    argv = ["ip", "netns", "exec", cloud.machine, sys.executable, "-m", "ssvm_agent", "boot",
            "apply", str(file), "--root", str(cloud.root), "--live"]  # fmt: skip
    start = time.monotonic()
    subprocess.run(argv, check=True, capture_output=True, timeout=50)
    whole_s = time.monotonic() - start
    for share in (0.4, 0.6, 0.7, 0.8, 0.9):
        for device in ("eth1", "eth2"):
            run("ip", "-n", cloud.machine, "address", "flush", "dev", device)
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
            try:
                process.wait(whole_s * share)
            except subprocess.TimeoutExpired:
                process.kill()
    cloud.apply()
    assert cloud.addresses("eth1") == {"10.1.34.20/24"}
    assert len(cloud.routes()) == 5
    filters = cloud.filters()
    assert len(filters) == len(set(filters))
    assert cloud.apply()["changed"] == 0
    assert list(cloud.root.rglob("*.tmp")) == []


def test_two_at_once_do_not_mix(cloud: Cloud) -> None:
    import fcntl

    lock = cloud.root / "run/ssvm-agent-apply.lock"
    lock.parent.mkdir()
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        report = cloud.apply(code=1)
    assert report["items"][0]["reason"].startswith("Another apply is running")
    assert cloud.addresses("eth1") == set()
