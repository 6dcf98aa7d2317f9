# SPDX-License-Identifier: Apache-2.0
"""Any text makes a plan, and every plan makes well-formed files."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ssvm_agent.appliance.plan.build import build_plan
from ssvm_agent.appliance.plan.model import Hypervisor
from ssvm_agent.appliance.plan.texts import hosts_text, interfaces_text, listing, resolver_text
from ssvm_agent.bootargs import parse

KEYS = [
    "type",
    "host",
    "name",
    "mtu",
    "eth0ip",
    "eth0mask",
    "eth1ip",
    "eth1mask",
    "eth2ip",
    "eth2mask",
    "gateway",
    "localgw",
    "mgmtcidr",
    "storageip",
    "storagenetmask",
    "storagegateway",
    "dns1",
    "dns2",
    "internaldns1",
    "ip6dns1",
    "bootproto",
    "nic_macs",
    "eth2ip6",
    "eth2ip6prelen",
    "ip6gateway",
    "ntpserverlist",
    "publicMtu",
    "privateMtu",
    "useHttpsToUpload",
]
VALUES = st.one_of(
    st.sampled_from(
        [
            "null",
            "",
            "0.0.0.0",
            "10.1.1.5",
            "203.0.113.9",
            "255.255.255.0",
            "10.0.0.0/8",
            "::1",
            "9000",
            "dhcp",
        ]
    ),
    st.text(max_size=30),
)
TEXTS = st.one_of(
    st.text(),
    st.lists(st.tuples(st.sampled_from(KEYS), VALUES)).map(
        lambda pairs: " ".join(f"{key}={value}" for key, value in pairs)
    ),
)


@given(TEXTS, st.sampled_from(Hypervisor))
def test_any_text_makes_a_plan_and_well_formed_files(text: str, hypervisor: Hypervisor) -> None:
    plan = build_plan(parse(text), hypervisor)
    listing(plan)
    for line in interfaces_text(plan).splitlines():
        assert not line or line.split()[0] in {
            "auto",
            "iface",
            "address",
            "netmask",
            "mtu",
            "accept_ra",
        }
    assert all(line.startswith("nameserver ") for line in resolver_text(plan).splitlines())
    assert all(len(line.split()) >= 2 for line in hosts_text(plan).splitlines())
    assert plan.firewall[0] == "*filter"
    assert plan.firewall[-1] == "COMMIT"
