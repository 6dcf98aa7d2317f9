# SPDX-License-Identifier: Apache-2.0
"""From a kernel's network to the declared one: no more changes than needed, each can be undone."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssvm_agent.appliance.apply.changes import (
    Change,
    KernelRoute,
    LinkState,
    NetworkState,
    Owned,
    Rename,
    SetAddress,
    SetRoute,
    SetUp,
)
from ssvm_agent.appliance.apply.network import Decision, decide
from ssvm_agent.appliance.plan.build import build_plan
from ssvm_agent.appliance.plan.model import Hypervisor, MachinePlan
from ssvm_agent.bootargs import parse
from tests.fakes.kernel import FakeKernel

TEXT = (
    "type=secstorage name=s-1-VM eth0ip=169.254.1.2 eth0mask=255.255.0.0 eth1ip=10.1.34.20 "
    "eth1mask=255.255.255.0 eth2ip=203.0.113.21 eth2mask=255.255.255.0 gateway=203.0.113.1 "
    "localgw=10.1.34.1 mgmtcidr=10.1.32.0/24"
)
NAMES = ("eth0", "eth1", "eth2", "eth3")


def plan_of(more: str = "") -> MachinePlan:
    return build_plan(parse(f"{TEXT} {more}"), Hypervisor.KVM)


def fresh(*names: str) -> NetworkState:
    return NetworkState(
        links={
            name: LinkState(name=name, mac=f"02:00:00:00:00:0{number}")
            for number, name in enumerate(names or NAMES)
        }
    )


def brought_up(more: str = "") -> tuple[FakeKernel, Owned]:
    kernel = FakeKernel(fresh())
    decision = decide(plan_of(more), kernel.read(), Owned())
    kernel.make(decision.changes)
    return kernel, decision.owned


def texts(decision: Decision) -> list[str]:
    return [f"{change.item}: {change.text}" for change in decision.changes]


def test_a_fresh_machine_gets_addresses_then_routes() -> None:
    decision = decide(plan_of(), fresh(), Owned())
    kinds = [type(change) for change in decision.changes]
    assert kinds == [SetUp, SetAddress] * 3 + [SetRoute] * 5
    assert decision.impossible == {}


def test_what_is_as_wanted_needs_no_change() -> None:
    kernel, owned = brought_up()
    decision = decide(plan_of(), kernel.read(), owned)
    assert decision.changes == ()
    assert "interface eth1" in decision.present
    assert "route default" in decision.present


def test_an_address_with_another_prefix_is_replaced() -> None:
    """It is our own address; the plan says otherwise about the very same thing."""
    state = fresh()
    wrong = ip_interface("10.1.34.20/16")
    links = {**state.links, "eth1": LinkState(name="eth1", is_up=True,
                                              addresses=frozenset({wrong}))}  # fmt: skip
    decision = decide(plan_of(), NetworkState(links=links), Owned())
    mine = [one for one in texts(decision) if one.startswith("interface eth1")]
    assert mine == [
        "interface eth1: 10.1.34.20/16 removed",
        "interface eth1: 10.1.34.20/24 added",
    ]


def test_only_what_was_ours_is_removed() -> None:
    kernel, owned = brought_up()
    kernel.make([SetAddress(item="", device="eth1", address=ip_interface("10.1.34.77/24"),
                            present=True)])  # fmt: skip
    decision = decide(plan_of("eth1ip=10.1.34.21 mgmtcidr=null"), kernel.read(), owned)
    assert texts(decision) == [
        "interface eth1: 10.1.34.21/24 added",
        "interface eth1: 10.1.34.20/24 removed",
        "route 10.1.32.0/24: removed",
    ]


def test_a_connected_network_is_never_routed_away() -> None:
    """R10; the network may be connected by something the text does not know."""
    state = fresh()
    connected = KernelRoute(destination=IPv4Network("10.1.32.0/24"), gateway="", device="eth3",
                            protocol=2)  # fmt: skip
    state = NetworkState(links=state.links, routes=(connected,))
    decision = decide(plan_of(), state, Owned())
    assert "connected" in decision.left_alone["route 10.1.32.0/24"]
    assert not any("10.1.32.0" in text for text in texts(decision))


def test_a_route_with_several_next_hops_is_left_alone() -> None:
    many = KernelRoute(destination=IPv4Network("0.0.0.0/0"), gateway="", device="")
    decision = decide(plan_of(), NetworkState(links=fresh().links, routes=(many,)), Owned())
    assert "several" in decision.left_alone["route default"]


def test_a_route_with_another_metric_is_no_rival() -> None:
    other = KernelRoute(destination=IPv4Network("0.0.0.0/0"), gateway="10.1.34.9", device="eth1",
                        priority=100)  # fmt: skip
    decision = decide(plan_of(), NetworkState(links=fresh().links, routes=(other,)), Owned())
    (default,) = [one for one in decision.changes if one.item == "route default"]
    assert isinstance(default, SetRoute)
    assert default.old is None


def test_swapped_names_are_set_right_by_way_of_free_ones() -> None:
    macs = "02:00:00:00:00:00|02:00:00:00:00:02|02:00:00:00:00:01"
    kernel = FakeKernel(fresh())
    decision = decide(plan_of(f"nic_macs={macs}"), kernel.read(), Owned())
    kernel.make(decision.changes)
    assert kernel.state.links["eth1"].mac == "02:00:00:00:00:02"
    assert kernel.state.links["eth2"].mac == "02:00:00:00:00:01"
    assert decide(plan_of(f"nic_macs={macs}"), kernel.read(), decision.owned).changes == ()


def test_who_stands_in_the_way_of_a_name_goes_aside() -> None:
    state = fresh("eth0", "eth1", "eth2", "ens9")
    macs = "02:00:00:00:00:00|02:00:00:00:00:03|02:00:00:00:00:02"
    decision = decide(plan_of(f"nic_macs={macs}"), state, Owned())
    renames = [(one.old, one.new) for one in decision.changes if isinstance(one, Rename)]
    assert renames == [("eth1", "was-eth1"), ("ens9", "new-eth1"), ("new-eth1", "eth1")]


def test_a_missing_interface_takes_its_routes_with_it() -> None:
    decision = decide(plan_of(), fresh("eth0", "eth1"), Owned())
    assert decision.impossible == {
        "interface eth2": "there is no interface eth2",
        "route default": "eth2 is not there",
    }


def test_what_failed_before_is_left_out() -> None:
    decision = decide(plan_of(), fresh(), Owned(), without={"interface eth2", "route 10.0.0.0/8"})
    assert {one.item for one in decision.changes} == {
        "interface eth0", "interface eth1", "route 10.1.32.0/24", "route 172.16.0.0/12",
        "route 192.168.0.0/16",
    }  # fmt: skip


def test_ipv6_turns_the_switches_it_needs() -> None:
    state = NetworkState(
        links=fresh().links,
        switches={("eth2", "disable_ipv6"): "1", ("eth2", "accept_ra"): "1"},
    )
    decision = decide(plan_of("eth2ip6=2001:db8::2 ip6gateway=2001:db8::1"), state, Owned())
    assert "interface eth2: disable_ipv6 1 becomes 0" in texts(decision)
    assert not any("accept_ra" in text for text in texts(decision))
    assert "route default (IPv6): via 2001:db8::1 dev eth2" in texts(decision)


@st.composite
def kernels(draw: st.DrawFn) -> FakeKernel:
    """Interfaces in any order with any addresses, and routes over them."""
    links = {}
    names = draw(st.permutations(["eth0", "eth1", "eth2", "eth3", "ens5"]))
    for number, name in enumerate(names[: draw(st.integers(0, 5))]):
        choices = ["10.1.34.20/24", "10.1.34.20/16", "203.0.113.21/24", "10.9.0.1/24"]
        own = draw(st.sets(st.sampled_from(choices), max_size=2))
        links[name] = LinkState(
            name=name, mac=f"02:00:00:00:00:0{number}", is_up=draw(st.booleans()),
            mtu=draw(st.sampled_from([1400, 1500])),
            addresses=frozenset(ip_interface(one) for one in own),
        )  # fmt: skip
    routes = []
    for link in links.values():
        for own_address in link.addresses:
            if link.is_up and isinstance(own_address, IPv4Interface):
                text = draw(st.sampled_from(["0.0.0.0/0", "10.1.32.0/24", "198.51.100.0/24"]))
                hop = str(own_address.network.network_address + 9)
                routes.append(
                    KernelRoute(destination=IPv4Network(text), gateway=hop, device=link.name)
                )
    unique = {route.destination: route for route in routes}
    return FakeKernel(NetworkState(links=links, routes=tuple(unique.values())))


MORE = st.lists(
    st.sampled_from(
        ["mtu=1400", "storageip=10.9.0.1 storagenetmask=255.255.255.0", "eth2ip=10.1.34.20",
         "gateway=null", "gateway=10.1.34.9", "mgmtcidr=10.1.34.0/25,198.51.100.0/24",
         "nic_macs=02:00:00:00:00:01|02:00:00:00:00:00|02:00:00:00:00:02",
         "eth2ip6=2001:db8::2 ip6gateway=fe80::1", "publicMtu=9000", "eth1ip=null"]
    )
).map(" ".join)  # fmt: skip


@given(kernel=kernels(), more=MORE)
def test_any_network_becomes_the_declared_one_and_comes_back(kernel: FakeKernel, more: str) -> None:
    plan, before = plan_of(more), kernel.read()
    owned = Owned()
    made: list[Change] = []
    for _ in range(3):
        decision = decide(plan, kernel.read(), owned)
        kernel.make(decision.changes)
        made += decision.changes
        owned = decision.owned
    again = decide(plan, kernel.read(), owned)
    assert again.changes == ()
    for nic in plan.interfaces:
        link = kernel.state.links.get(nic.name)
        if link is not None and nic.address is not None and link.is_up:
            assert nic.address in link.addresses
    foreign = [one for one in before.routes if one.destination == ip_network("198.51.100.0/24")]
    wanted = {route.destination for route in plan.routes}
    for route in foreign:
        if route.destination not in wanted and route.device in kernel.state.links:
            link = kernel.state.links[route.device]
            if before.links[route.device].addresses <= link.addresses:
                assert route in kernel.state.routes
    assert kernel.undo(made, before) == ()


@pytest.mark.parametrize("kind", [IPv4Interface, IPv6Interface])
def test_undo_is_the_other_way_round(kind: type) -> None:
    address = ip_interface("192.0.2.1/24" if kind is IPv4Interface else "2001:db8::1/64")
    change = SetAddress(item="i", device="eth0", address=address, present=True)
    assert change.undo().undo() == change
    assert change.undo().present is False
