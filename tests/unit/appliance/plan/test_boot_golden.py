# SPDX-License-Identifier: Apache-2.0
"""The plan beside what the 4.22 boot code made of the same texts, line by line.

A line may differ only when a departure below says so, and each departure must really occur.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from ssvm_agent.appliance.plan.build import build_plan
from ssvm_agent.appliance.plan.model import Hypervisor, MachinePlan
from ssvm_agent.appliance.plan.texts import hosts_text, interfaces_text, resolver_text, udev_text
from ssvm_agent.bootargs import parse

DATA = Path(__file__).parents[3] / "data"

# (title begins with, section) -> (stock lines that we leave out, our lines that stock has not)
DEPARTURES: dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = {
    # An interface without an address is not brought up.
    ("VMware 4.22", "interfaces"): (("auto lo eth0 eth1 eth2",), ("auto lo eth1 eth2",)),
    # The SSH rule stays on the interface sshd listens on.
    ("VMware 4.22", "ssh rule"): (("eth0",), ("eth1",)),
    ("Hyper-V 4.22", "ssh rule"): (("eth0",), ("eth1",)),
    # Servers of the list in the order of the list.
    ("KVM 4.22 | SSL copy", "ntp"): (
        ("1.pool.ntp.org 0.pool.ntp.org",),
        ("0.pool.ntp.org 1.pool.ntp.org",),
    ),
    # The IPv6 gateway of the text is used.
    ("SYNTHETIC, parser only", "routes"): ((), ("default via 2001:db8:1::1 dev eth2",)),
    # The word null means that there is no value.
    ("SYNTHETIC, robustness", "resolv.conf"): (("nameserver null",), ()),
    ("SYNTHETIC, robustness", "routes"): (("default via null dev eth2",), ()),
    # A CR at the end of the text is no part of the last value.
    ("SYNTHETIC, robustness", "apache"): (
        ("vhost-203.0.113.91.conf http.conf",),
        ("vhost-203.0.113.91.conf https.conf",),
    ),
}


@dataclass
class Stock:
    """What the stock boot made of one line."""

    title: str
    hypervisor: Hypervisor
    sections: dict[str, list[str]] = field(default_factory=dict)


@cache
def stock_results() -> dict[str, Stock]:
    results: dict[str, Stock] = {}
    current, section = Stock("", Hypervisor.KVM), ""
    for line in (DATA / "boot-golden.txt").read_text().splitlines():
        if found := re.match(r"== (.*) \[hypervisor=(\w+)\]$", line):
            current, section = Stock(found[1], Hypervisor(found[2])), ""
            results[current.title] = current
        elif found := re.match(r"  (\S[^:]*):$", line):
            section = found[1]
            current.sections[section] = []
        elif found := re.match(r"  (\S[^:]*): ?(.*)$", line):
            current.sections[found[1]] = [found[2]]
        elif section and line.startswith("    "):
            current.sections[section].append(line[4:])
    return results


@cache
def boot_lines() -> dict[str, str]:
    lines: dict[str, str] = {}
    title = ""
    for line in (DATA / "cmdlines.txt").read_text().splitlines():
        if found := re.match(r"# (.*) \| length=\d+$", line):
            title = found[1]
        elif title:
            lines[title] = line.replace("\\r", "\r")
            title = ""
    return lines


def sections_of(stock: Stock) -> dict[str, list[str]]:
    """The stock result in the vocabulary of the plan."""
    routes = [
        command.removeprefix("ip route add ")
        for command in stock.sections["commands"]
        if command.startswith("ip route add ")
    ]
    rule = stock.sections["3922 rule after preinit"][0]
    return {
        "interfaces": stock.sections["interfaces"],
        "udev": stock.sections.get("70-persistent-net.rules", []),
        "resolv.conf": stock.sections["resolv.conf"],
        "hosts": stock.sections["hosts"],
        "hostname": stock.sections["hostname"],
        "sshd": stock.sections["sshd ListenAddress"],
        "ssh rule": [rule.rpartition(" ")[2]],
        "ntp": stock.sections["ntp servers"],
        "apache": stock.sections["apache"],
        # Stock leaves the interface of these to the kernel, which finds the same one.
        "routes": [route if " dev " in route else f"{route} dev eth1" for route in routes],
    }


def sections_of_plan(plan: MachinePlan) -> dict[str, list[str]]:
    return {
        "interfaces": interfaces_text(plan).splitlines(),
        "udev": udev_text(plan).splitlines(),
        "resolv.conf": resolver_text(plan).splitlines(),
        "hosts": hosts_text(plan).splitlines(),
        "hostname": [plan.hostname],
        "sshd": [plan.sshd_listen],
        "ssh rule": [plan.sshd_device],
        "ntp": [" ".join(plan.ntp_servers)],
        "apache": [" ".join(plan.web_includes)],
        "routes": [f"{route.text} via {route.via} dev {route.dev}" for route in plan.routes],
    }


def departure(title: str, section: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    for (start, name), lines in DEPARTURES.items():
        if name == section and title.startswith(start):
            return lines
    return (), ()


def test_every_stock_result_has_its_boot_line() -> None:
    assert len(stock_results()) == 14
    assert set(stock_results()) <= set(boot_lines())


@pytest.mark.parametrize("title", list(stock_results()), ids=lambda title: title[:40])
def test_the_plan_equals_the_stock_result_or_a_listed_departure(title: str) -> None:
    """boot-and-system.md 2: each section line by line, in order."""
    stock = stock_results()[title]
    plan = build_plan(parse(boot_lines()[title]), stock.hypervisor)
    ours, theirs = sections_of_plan(plan), sections_of(stock)
    for section, lines in theirs.items():
        without, extra = departure(title, section)
        assert set(without) <= set(lines), f"a departure no longer occurs in {section}"
        assert set(extra) <= set(ours[section]), f"a departure no longer occurs in {section}"
        left = [line for line in lines if line not in without]
        assert [line for line in ours[section] if line not in extra] == left, section
