# SPDX-License-Identifier: Apache-2.0
"""Which route is made, and which is left alone (requirements R10)."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network

import pytest

from ssvm_agent.appliance import routes
from ssvm_agent.appliance.errors import ApplianceError, BadRequestError
from ssvm_agent.appliance.routes import Route
from ssvm_agent.host.run import ProgramResult
from tests.fakes.machine import FakeRunner


def _connected(prefix: str, device: str) -> Route:
    return Route(destination=ip_network(prefix), gateway=None, device=device)


def _via(prefix: str, gateway: str, device: str) -> Route:
    return Route(destination=ip_network(prefix), gateway=ip_address(gateway), device=device)


TABLE = (
    _via("0.0.0.0/0", "203.0.113.1", "eth2"),
    _connected("10.1.34.0/24", "eth1"),
    _connected("10.1.40.0/24", "eth3"),
    _connected("203.0.113.0/24", "eth2"),
    _connected("10.1.0.0/16", "eth0"),
)


def _plan(destination: str, gateway: str, table: tuple[Route, ...] = TABLE) -> Route | None:
    return routes.plan(routes.check_network(destination), gateway, table)


def test_a_host_beyond_the_gateway_gets_a_route_on_the_nearest_interface() -> None:
    assert _plan("10.9.9.9", "10.1.34.1") == _via("10.9.9.9/32", "10.1.34.1", "eth1")


@pytest.mark.parametrize("inside", ["10.1.34.7", "10.1.40.0/24", "10.1.40.128/25", "10.1.99.1"])
def test_what_is_connected_is_never_overridden(inside: str) -> None:
    assert _plan(inside, "10.1.34.1") is None


def test_a_wider_network_does_not_take_from_a_connected_one() -> None:
    assert _plan("10.0.0.0/8", "10.1.34.1") == _via("10.0.0.0/8", "10.1.34.1", "eth1")


def test_an_equal_route_is_left_alone_and_another_one_replaced() -> None:
    wanted = _via("10.9.9.9/32", "10.1.34.1", "eth1")
    assert _plan("10.9.9.9", "10.1.34.1", (*TABLE, wanted)) is None
    wrong = _via("10.9.9.9/32", "10.1.40.1", "eth3")
    assert _plan("10.9.9.9", "10.1.34.1", (*TABLE, wrong)) == wanted


def test_without_a_gateway_there_is_nothing_to_do() -> None:
    assert _plan("10.9.9.9", "") is None


@pytest.mark.parametrize("gateway", ["192.0.2.1", "gw"])
def test_a_gateway_that_is_not_connected_is_an_error(gateway: str) -> None:
    with pytest.raises(ApplianceError, match="gateway"):
        _plan("10.9.9.9", gateway)


@pytest.mark.parametrize("text", ["ms.example.org", "", "10.0.0.0/33", "0.0.0.0/0", "::/0", "10.1"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(BadRequestError):
        routes.check_network(text)


def test_ipv6_has_its_own_table() -> None:
    table = (*TABLE, _connected("2001:db8:1::/64", "eth2"))
    assert _plan("2001:db8:9::/48", "2001:db8:1::1", table) == _via(
        "2001:db8:9::/48", "2001:db8:1::1", "eth2"
    )
    assert _plan("2001:db8:1::7", "2001:db8:1::1", table) is None


@pytest.mark.parametrize(
    ("destination", "gateway"),
    [("2001:db8:9::/48", "10.1.34.1"), ("10.9.9.9", "2001:db8:1::1")],
)
def test_a_gateway_of_the_other_family_is_none(destination: str, gateway: str) -> None:
    table = (*TABLE, _connected("2001:db8:1::/64", "eth2"))
    assert _plan(destination, gateway, table) is None


def test_a_link_local_gateway_tells_no_interface() -> None:
    table = (*TABLE, _connected("fe80::/64", "eth0"), _connected("fe80::/64", "eth1"))
    with pytest.raises(ApplianceError, match="link-local"):
        _plan("2001:db8:9::/48", "fe80::1", table)
    assert _plan("10.9.9.9", "169.254.0.1", (_connected("169.254.0.0/16", "eth0"),)) is not None


def test_a_device_route_to_everywhere_connects_nothing() -> None:
    assert _plan("10.9.9.9", "10.1.34.1", (_connected("0.0.0.0/0", "ppp0"), *TABLE)) is not None


async def test_the_table_of_the_kernel_is_read() -> None:
    listing = [
        {"dst": "default", "gateway": "203.0.113.1", "dev": "eth2", "flags": []},
        {"dst": "10.1.34.0/24", "dev": "eth1", "protocol": "kernel", "scope": "link"},
        {"dst": "10.9.9.9", "gateway": "10.1.34.1", "dev": "eth1"},
        {"type": "unreachable", "dst": "10.3.0.0/16", "dev": "lo"},
        {"dst": "10.4.0.0/16", "nexthops": []},
    ]
    runner = FakeRunner(
        lambda _: ProgramResult(returncode=0, stdout=json.dumps(listing).encode(), stderr=b"")
    )
    assert await routes.read_table(4, runner) == (
        _via("0.0.0.0/0", "203.0.113.1", "eth2"),
        _connected("10.1.34.0/24", "eth1"),
        _via("10.9.9.9/32", "10.1.34.1", "eth1"),
    )
    assert runner.calls == [["ip", "-json", "-4", "route", "show", "table", "main"]]


@pytest.mark.parametrize("output", [b"no json", b"[1]", b'[{"dst": "x", "dev": "y"}]', b"{}x"])
async def test_a_listing_nobody_understands_is_an_error(output: bytes) -> None:
    runner = FakeRunner(lambda _: ProgramResult(returncode=0, stdout=output, stderr=b""))
    with pytest.raises(ApplianceError, match="cannot be read"):
        await routes.read_table(4, runner)


async def test_a_route_is_replaced_not_added() -> None:
    runner = FakeRunner()
    await routes.apply(_via("10.9.9.9/32", "10.1.34.1", "eth1"), runner)
    assert runner.calls == [
        ["ip", "-4", "route", "replace", "10.9.9.9/32", "via", "10.1.34.1", "dev", "eth1"]
    ]
