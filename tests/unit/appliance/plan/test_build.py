# SPDX-License-Identifier: Apache-2.0
"""Odd boot texts cost what is odd in them and no more."""

from __future__ import annotations

import pytest

from ssvm_agent.appliance.plan.build import build_plan
from ssvm_agent.appliance.plan.model import Hypervisor, MachinePlan
from ssvm_agent.appliance.plan.texts import hosts_text, interfaces_text, listing
from ssvm_agent.bootargs import parse

SOUND = (
    "template=domP type=secstorage host=10.1.32.5 name=s-1-VM mtu=1500 eth0ip=169.254.1.2 "
    "eth0mask=255.255.0.0 eth1ip=10.1.34.20 eth1mask=255.255.255.0 eth2ip=203.0.113.21 "
    "eth2mask=255.255.255.0 gateway=203.0.113.1 localgw=10.1.34.1 dns1=8.8.8.8"
)


def plan_of(more: str = "", hypervisor: Hypervisor = Hypervisor.KVM) -> MachinePlan:
    return build_plan(parse(f"{SOUND} {more}"), hypervisor)


def test_a_sound_text_has_no_oddities() -> None:
    assert plan_of().oddities == ()


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("eth2ip=nonsense", "eth2ip and eth2mask are no IPv4 address"),
        ("eth1mask=null", "eth1ip has no eth1mask"),
        ("gateway=203.0.113", "gateway is no IPv4 address"),
        ("gateway=198.51.100.1", "the gateway to default is outside the network of eth2"),
        ("mgmtcidr=10.1.34.128/25", "is connected to an interface"),
        ("localgw=2001:db8::1", "localgw is no IPv4 address"),
        ("mgmtcidr=10.1.32.0/33", "mgmtcidr holds something that is no network"),
        ("mgmtcidr=2001:db8:9::/48", "mgmtcidr 2001:db8:9::/48 is IPv6 and localgw is not"),
        ("mgmtcidr=10.1.34.0/24", "is connected to an interface"),
        ("mgmtcidr=0.0.0.0/0", "the route to default by eth1 gives way to the one by eth2"),
        ("storageip=10.9.0.2 storagenetmask=255.255.255.0 mtu=99", "mtu is no MTU"),
        ("dns1=dns.example.org", "dns1 is no IP address"),
        ("name=not_a_host_name!", "name is no host name"),
        ("nic_macs=02:00:5f", "nic_macs is no list"),
        ("eth2ip6=2001:db8::2 ip6gateway=nowhere", "ip6gateway is no IPv6 address"),
        ("eth2ip=10.1.34.20", "eth1 and eth2 have the same address"),
    ],
)
def test_what_cannot_be_followed_is_said(word: str, sentence: str) -> None:
    """No value is repeated in the sentence unless it is a network."""
    assert any(sentence in oddity for oddity in plan_of(word).oddities)


def test_there_is_one_route_to_each_network() -> None:
    """boot-and-system.md 2.4: a management network that is everything, or named twice."""
    everywhere = plan_of("mgmtcidr=0.0.0.0/0,10.0.0.0/8,10.0.0.0/8")
    assert [(route.text, route.dev) for route in everywhere.routes] == [
        ("default", "eth2"), ("10.0.0.0/8", "eth1"), ("172.16.0.0/12", "eth1"),
        ("192.168.0.0/16", "eth1"),
    ]  # fmt: skip
    alone = plan_of("mgmtcidr=0.0.0.0/0 gateway=null eth2ip=192.168.1.2")
    assert [(route.text, route.dev) for route in alone.routes] == [("default", "eth1")]


def test_dhcp_leaves_the_control_interface_static() -> None:
    """boot-and-system.md 2.2."""
    text = interfaces_text(plan_of("bootproto=dhcp"))
    assert "iface  eth0 inet static" in text
    assert "iface  eth1 inet dhcp" in text
    assert "iface  eth2 inet dhcp" in text
    assert plan_of("bootproto=dhcp").public_address == "203.0.113.21"


def test_a_machine_without_addresses_has_an_empty_plan() -> None:
    plan = build_plan(parse(""), Hypervisor.KVM)
    assert interfaces_text(plan).splitlines()[0] == "auto lo"
    assert plan.routes == ()
    assert plan.public_address == ""
    assert plan.sshd_listen == ""


def test_a_name_server_is_named_once() -> None:
    assert plan_of("dns2=8.8.8.8").nameservers == ("8.8.8.8",)


def test_only_lines_with_the_whole_name_leave_the_hosts_file() -> None:
    """s-1-VM is not s-1-VM2."""
    current = "127.0.0.1 localhost\n203.0.113.9 s-1-VM2\n192.0.2.1 s-1-VM old\n# about s-1-VM\n"
    assert hosts_text(plan_of(), current).splitlines() == [
        "127.0.0.1 localhost",
        "203.0.113.9 s-1-VM2",
        "# about s-1-VM",
        "203.0.113.21 s-1-VM",
    ]


def test_the_filter_opens_ssh_where_sshd_listens() -> None:
    rules = "\n".join(plan_of(hypervisor=Hypervisor.VMWARE).firewall)
    assert "-i eth1 -p tcp -m state --state NEW -m tcp --dport 3922 -j ACCEPT" in rules
    assert "-i eth0 -p tcp" not in rules


def test_the_listing_has_the_documented_keys() -> None:
    """What ``boot plan --json`` prints."""
    shown = listing(plan_of())
    assert set(shown) >= {
        "interfaces", "resolv_conf", "hosts", "hostname", "routes", "sshd_listen",
        "ntp_servers", "firewall", "services", "oddities",
    }  # fmt: skip
    assert shown["routes"][0] == {  # type: ignore[index]  # the mapping is printed as JSON
        "destination": "default", "via": "203.0.113.1", "dev": "eth2",
    }  # fmt: skip
