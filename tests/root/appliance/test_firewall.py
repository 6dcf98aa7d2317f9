# SPDX-License-Identifier: Apache-2.0
"""The packet filter and the routes in a real kernel, inside a network namespace of their own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from ssvm_agent.appliance import firewall, routes
from ssvm_agent.appliance.systemvm import SystemVmAppliance
from ssvm_agent.config.settings import NetworkSettings, Settings
from ssvm_agent.host.errors import ProgramFailedError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import ProgramResult, ResourceLimits, SystemRunner

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "iptables", "iptables-restore")]

RULES = firewall.machine_rules(public_device="eth2", private_device="eth1")

_ADDRESSES = {
    "eth1": ("10.1.34.20/24", "2001:db8:34::20/64"),
    "eth2": ("203.0.113.21/24", "2001:db8:2::21/64"),
}


class NamespaceRunner:
    """Runs every program inside one network namespace."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._runner = SystemRunner()

    async def run(
        self,
        argv: Sequence[str | Path],
        *,
        deadline_s: float,
        input: bytes | None = None,  # noqa: A002
        check: bool = True,
        env: Mapping[str, str] | None = None,
        max_output_bytes: int = 1 << 20,
        limits: ResourceLimits | None = None,
    ) -> ProgramResult:
        return await self._runner.run(
            ["ip", "netns", "exec", self.name, *argv], deadline_s=deadline_s, input=input,
            check=check, env=env, max_output_bytes=max_output_bytes, limits=limits,
        )  # fmt: skip

    async def rules(self, chain: str) -> list[str]:
        """The rules of a chain as the kernel tells them."""
        result = await self.run(["iptables", "-S", chain], deadline_s=10)
        return [line for line in result.text.splitlines() if line.startswith("-A")]


@pytest.fixture(name="machine")
async def _machine() -> AsyncIterator[NamespaceRunner]:
    name = f"ssvm-test-{os.getpid()}"
    runner = SystemRunner()
    await runner.run(["ip", "netns", "add", name], deadline_s=10)
    machine = NamespaceRunner(name)
    try:
        for device, addresses in _ADDRESSES.items():
            await machine.run(["ip", "link", "add", device, "type", "bridge"], deadline_s=10)
            switch = f"echo 0 > /proc/sys/net/ipv6/conf/{device}/disable_ipv6"
            await machine.run(["sh", "-c", switch], deadline_s=10)
            await machine.run(["ip", "link", "set", device, "up"], deadline_s=10)
            for address in addresses:
                await machine.run(["ip", "address", "add", address, "dev", device], deadline_s=10)
        yield machine
    finally:
        await runner.run(["ip", "netns", "delete", name], deadline_s=10)


@pytest.fixture(name="filtering")
async def _filtering(machine: NamespaceRunner) -> NamespaceRunner:
    try:
        await firewall.apply(RULES, machine)
    except ProgramFailedError as error:
        pytest.skip(f"the kernel here has no such packet filter: {error}")
    return machine


async def test_the_rules_are_there_in_order(filtering: NamespaceRunner) -> None:
    new_tcp = "-p tcp -m state --state NEW -m tcp"
    assert sorted(await filtering.rules("INPUT")) == sorted(
        [
            f"-A INPUT -i eth2 {new_tcp} --dport 443 -j ACCEPT",
            f"-A INPUT -i eth2 {new_tcp} --dport 80 -j ACCEPT",
            f"-A INPUT -i eth1 {new_tcp} --dport 3922 -j ACCEPT",
        ]
    )
    assert [rule[:60] for rule in await filtering.rules("OUTPUT")] == [
        f"-A OUTPUT -o eth1 {new_tcp} --dport 80 -j REJECT"[:60],
        f"-A OUTPUT -o eth1 {new_tcp} --dport 443 -j REJECT"[:60],
    ]


async def test_applying_twice_changes_nothing_and_foreign_rules_stay(
    filtering: NamespaceRunner,
) -> None:
    """R27."""
    foreign = ["iptables", "-A", "INPUT", "-s", "192.0.2.1", "-j", "DROP"]
    await filtering.run(foreign, deadline_s=10)
    before = await filtering.rules("INPUT") + await filtering.rules("OUTPUT")
    assert await firewall.apply(RULES, filtering) == ()
    assert await filtering.rules("INPUT") + await filtering.rules("OUTPUT") == before
    assert any("192.0.2.1" in rule for rule in before)


async def test_a_rule_of_the_stock_scripts_is_recognised(filtering: NamespaceRunner) -> None:
    rule = "-i eth1 -p tcp -m state --state NEW -m tcp --dport 3922 -j ACCEPT"
    await filtering.run(["iptables", "-D", "INPUT", *rule.split()], deadline_s=10)
    stock = "-i eth1 -p tcp -m state --state NEW -m tcp --dport 3922 -j ACCEPT"
    await filtering.run(["iptables", "-A", "INPUT", *stock.split()], deadline_s=10)
    assert await firewall.apply(RULES, filtering) == ()


async def test_an_internal_site_stands_above_the_rejects(filtering: NamespaceRunner) -> None:
    site = firewall.internal_site(ip_network("10.20.0.0/16"), private_device="eth1")
    assert await firewall.apply([site], filtering) == (site,)
    assert await firewall.apply([site], filtering) == ()
    first, *others = await filtering.rules("OUTPUT")
    assert first.startswith("-A OUTPUT -d 10.20.0.0/16 -o eth1")
    assert all("REJECT" in rule for rule in others)


@pytest.mark.parametrize(
    ("gateway", "others", "connected", "made"),
    [
        ("10.1.34.1", ("10.20.0.0/16", "10.34.1.7"), ("10.1.34.99", "10.1.34.128/25"),
         {"10.20.0.0/16", "10.34.1.7/32"}),
        ("2001:db8:34::1", ("2001:db8:20::7:1/48", "2001:db8:21::7"),
         ("2001:db8:34::99", "2001:db8:34:0:8000::/65"),
         {"2001:db8:20::/48", "2001:db8:21::7/128"}),
    ],
    ids=["IPv4", "IPv6"],
)  # fmt: skip
async def test_a_route_is_made_once_and_never_over_a_connected_prefix(
    machine: NamespaceRunner, gateway: str, others: tuple[str, ...], connected: tuple[str, ...],
    made: set[str],
) -> None:  # fmt: skip
    """R10."""
    version = ip_address(gateway).version
    for target in (*others, *connected):
        await set_route(target, gateway, machine)
    table = await routes.read_table(version, machine)
    assert {str(route.destination) for route in table if route.gateway} == made
    assert {route.device for route in table if route.gateway} == {"eth1"}
    assert routes.plan(routes.check_network(others[0]), gateway, table) is None


async def test_another_gateway_to_an_ipv6_prefix_takes_the_place_of_the_first(
    machine: NamespaceRunner,
) -> None:
    for gateway in ("2001:db8:34::1", "2001:db8:2::1"):
        await set_route("2001:db8:20::/48", gateway, machine)
    table = await routes.read_table(6, machine)
    assert [(str(route.gateway), route.device) for route in table if route.gateway] == [
        ("2001:db8:2::1", "eth2")
    ]


async def set_route(target: str, gateway: str, machine: NamespaceRunner) -> None:
    """What the agent does for a destination."""
    destination = routes.check_network(target)
    table = await routes.read_table(destination.version, machine)
    wanted = routes.plan(destination, gateway, table)
    if wanted is not None:
        await routes.apply(wanted, machine)


async def test_an_internal_site_of_ipv6_has_its_rule_and_no_route_by_an_ipv4_gateway(
    filtering: NamespaceRunner,
) -> None:
    """storage-commands.md 3.2; R10."""
    pool = WorkPool("test")
    gateway = NetworkSettings(local_gateway="10.1.34.1")
    appliance = SystemVmAppliance(
        settings=Settings(networks=gateway), runner=filtering, disk=pool
    )  # fmt: skip
    for _ in range(2):
        await appliance.allow_internal_sites(["2001:db8:20::/48", "10.20.0.0/16"])
    pool.close()
    shown = await filtering.run(["ip6tables", "-S", "OUTPUT"], deadline_s=10)
    assert [line for line in shown.text.splitlines() if line.startswith("-A")] == [
        "-A OUTPUT -d 2001:db8:20::/48 -o eth1 -p tcp -m state --state NEW -m tcp -j ACCEPT"
    ]
    assert not [one for one in await routes.read_table(6, filtering) if one.gateway]
    gateways = [one.gateway for one in await routes.read_table(4, filtering) if one.gateway]
    assert gateways == [ip_address("10.1.34.1")]
