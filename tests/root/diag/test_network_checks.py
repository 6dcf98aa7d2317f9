# SPDX-License-Identifier: Apache-2.0
"""``ssvm-check`` on a real kernel: what `boot apply` made is right, and what is undone is named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.root.appliance.test_boot_apply import TEXT, Cloud, _cloud, run  # noqa: F401 - a fixture

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "iptables", "ip6tables")]

# What the agent adds to the base rules at its start (boot-and-system.md 2.5).
_OF_THE_AGENT = (
    "INPUT -i eth1 -p tcp -m state --state NEW -m tcp --dport 3922 -j ACCEPT",
    "INPUT -i eth2 -p tcp -m state --state NEW -m tcp --dport 80 -j ACCEPT",
    "INPUT -i eth2 -p tcp -m state --state NEW -m tcp --dport 443 -j ACCEPT",
    "OUTPUT -o eth1 -p tcp -m state --state NEW -m tcp --dport 80 -j REJECT",
    "OUTPUT -o eth1 -p tcp -m state --state NEW -m tcp --dport 443 -j REJECT",
)
_LISTENER = """
import socket, sys, time
server = socket.create_server((sys.argv[1], 3922))
print("listening", flush=True)
sys.stdin.read()
"""


@pytest.fixture(name="machine")
def _machine(cloud: Cloud) -> Cloud:
    """The cloud's machine after its boot."""
    cloud.apply()
    return cloud


def check(machine: Cloud, name: str) -> dict[str, Any]:
    """One check, in the machine's network."""
    done = subprocess.run(
        ["ip", "netns", "exec", machine.machine, Path(sys.executable).with_name("ssvm-check"),
         "--json", "--boot-text", machine.root.parent / "cmdline", name],
        capture_output=True, text=True, timeout=55, check=False,
    )  # fmt: skip
    document = json.loads(done.stdout)
    assert done.returncode == int(document["counts"]["error"] > 0), done.stdout
    (found,) = document["checks"]
    return dict(found)


def assert_named(found: dict[str, Any], status: str, *words: str) -> None:
    """One finding of this weight says all of it, and what to do."""
    parts = [part for part in found["parts"] if part["status"] == status]
    assert any(all(word in part["what"] for word in words) for part in parts), found
    assert all("boot apply" in part["remedy"] or "restart" in part["remedy"] for part in parts)


def test_every_rule_that_is_missing_is_named(machine: Cloud) -> None:
    found = check(machine, "firewall")
    assert_named(found, "error", "A port is closed", "--dport 3922")
    assert_named(found, "error", "--dport 443 -j ACCEPT")
    assert_named(found, "warning", "HTTP can leave", "--dport 443 -j REJECT")
    add_the_agent_s_rules(machine)
    assert check(machine, "firewall")["status"] == "ok"
    machine.inside("iptables", "-D", "INPUT", "-p", "icmp", "--icmp-type", "13", "-j", "DROP")
    assert_named(check(machine, "firewall"), "warning", "not complete", "--icmp-type 13")


def test_a_policy_that_was_opened_is_named(machine: Cloud) -> None:
    add_the_agent_s_rules(machine)
    machine.inside("iptables", "-P", "INPUT", "ACCEPT")
    assert_named(check(machine, "firewall"), "warning", "is let in", "-P INPUT DROP.")


def add_the_agent_s_rules(machine: Cloud) -> None:
    for rule in _OF_THE_AGENT:
        machine.inside("iptables", "-A", *rule.split())


def test_traffic_that_leaves_elsewhere_is_named(machine: Cloud) -> None:
    assert check(machine, "routes")["status"] == "ok"
    run("ip", "-n", machine.machine, "route", "replace", "10.1.32.0/24", "via", "203.0.113.1")
    assert_named(check(machine, "routes"), "warning", "management server", "eth2", "not by eth1")
    run("ip", "-n", machine.machine, "route", "replace", "10.1.32.0/24", "via", "10.1.34.1")
    run("ip", "-n", machine.machine, "route", "delete", "default")
    assert_named(check(machine, "routes"), "error", "default")


def test_the_default_route_of_ipv6_is_looked_at_by_itself(machine: Cloud) -> None:
    machine.inside("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/eth2/disable_ipv6")
    machine.apply(f"{TEXT} eth2ip6=2001:db8:1::21 eth2ip6prelen=64 ip6gateway=2001:db8:1::1")
    assert check(machine, "routes")["status"] == "ok"
    run("ip", "-n", machine.machine, "-6", "route", "delete", "default")
    assert_named(check(machine, "routes"), "error", "IPv6 default route is missing", "eth2")


def test_interfaces_that_are_not_as_declared_are_named(machine: Cloud) -> None:
    assert check(machine, "interfaces")["status"] == "ok"
    run("ip", "-n", machine.machine, "address", "delete", "203.0.113.21/24", "dev", "eth2")
    assert_named(check(machine, "interfaces"), "error", "eth2", "203.0.113.21")
    run("ip", "-n", machine.machine, "link", "set", "eth1", "down")
    assert_named(check(machine, "interfaces"), "error", "eth1")


def test_a_black_hole_is_told_from_a_missing_route(machine: Cloud) -> None:
    """R1: packets vanish on the way to the server; then there is no way at all."""
    run("ip", "netns", "exec", machine.outside, "iptables", "-A", "INPUT", "-p", "tcp",
        "--dport", "8250", "-j", "DROP")  # fmt: skip
    found = check(machine, "management-servers")
    assert found["status"] == "error"
    assert "10.1.32.5 port 8250 fails at the step tcp" in found["what"]
    assert "no firewall stands between" in found["remedy"]
    assert found["elapsed_s"] < 15
    run("ip", "-n", machine.machine, "route", "add", "unreachable", "10.1.32.5/32")
    found = check(machine, "management-servers")
    assert "10.1.32.5 port 8250 fails at the step route" in found["what"]
    assert "ssvm-check routes" in found["remedy"]


@contextmanager
def listener(machine: Cloud, address: str) -> Iterator[None]:
    """Somebody listens on the port of SSH."""
    with subprocess.Popen(
        ["ip", "netns", "exec", machine.machine, sys.executable, "-c", _LISTENER, address],
        stdout=subprocess.PIPE, stdin=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        yield
        process.kill()


def test_ssh_listens_on_the_control_address_alone(machine: Cloud) -> None:
    found = check(machine, "sshd")
    assert found["status"] == "error"
    assert "169.254.102.7" in found["what"]
    with listener(machine, "169.254.102.7"):
        assert check(machine, "sshd")["status"] == "ok"
    with listener(machine, "0.0.0.0"):
        found = check(machine, "sshd")
    assert found["status"] == "warning"
    assert "the public one included" in found["what"]
