# SPDX-License-Identifier: Apache-2.0
"""Which addresses may be reached."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ssvm_agent.ingest.egress import EgressGuard
from ssvm_agent.ingest.errors import BlockedAddressError

BLOCKED = [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "0.1.2.3", "169.254.169.254", "224.0.0.1", "239.1.1.1",
    "255.255.255.255", "240.0.0.1", "192.0.0.192", "::", "::1", "::ffff:127.0.0.1",
    "::ffff:8.8.8.8", "::127.0.0.1", "fe80::1", "fec0::1", "ff02::1", "64:ff9b::7f00:1",
    "2002:7f00:1::", "2001::1",
    "fd00:ec2::254",
]  # fmt: skip


@pytest.mark.parametrize("address", BLOCKED)
def test_blocked_addresses_are_blocked_alone_and_in_company(address: str) -> None:
    """requirements S2."""
    guard = EgressGuard()
    public = ip_address("93.184.216.34")
    for answers in ([ip_address(address)], [public, ip_address(address)]):
        with pytest.raises(BlockedAddressError, match="Illegal host"):
            guard.check("host", answers)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "10.9.8.7", "172.16.0.1", "192.168.1.1", "2606:4700::1", "fd12::1"]
)
def test_public_and_private_addresses_pass(address: str) -> None:
    EgressGuard().check("host", [ip_address(address)])


def test_public_and_private_answers_together_are_refused() -> None:
    """requirements, hostile URLs: a public address first and a private one next."""
    answers = [ip_address("93.184.216.34"), ip_address("10.0.0.1")]
    with pytest.raises(BlockedAddressError):
        EgressGuard().check("host", answers)
    EgressGuard(allowed_cidrs=["10.0.0.0/24"]).check("host", answers)


def test_no_answer_is_no_permission() -> None:
    with pytest.raises(BlockedAddressError):
        EgressGuard().check("host", [])


def test_an_allowed_site_lifts_a_block_only_when_it_lies_inside() -> None:
    metadata = [ip_address("169.254.169.254")]
    with pytest.raises(BlockedAddressError):
        EgressGuard(allowed_cidrs=["0.0.0.0/0", "::/0"]).check("host", metadata)
    EgressGuard(allowed_cidrs=["169.254.169.0/24"]).check("host", metadata)


def test_loopback_needs_its_own_switch() -> None:
    loopback = [ip_address("127.0.0.1")]
    with pytest.raises(BlockedAddressError):
        EgressGuard(allowed_cidrs=["127.0.0.0/8"]).check("host", loopback)
    EgressGuard(allow_loopback=True).check("host", loopback)


def test_configured_networks_are_blocked_besides() -> None:
    guard = EgressGuard(blocked_cidrs=["10.1.0.0/16"])
    with pytest.raises(BlockedAddressError):
        guard.check("host", [ip_address("10.1.2.3")])
    guard.check("host", [ip_address("10.2.2.3")])


def test_the_allowed_internal_sites_are_replaced_and_configured_ones_stay() -> None:
    guard = EgressGuard(allowed_cidrs=["10.1.0.0/16"], blocked_cidrs=["10.0.0.0/8"])
    guard.allow_internal_sites(["10.2.0.0/16", " "])
    guard.check("host", [ip_address("10.1.0.1")])
    guard.check("host", [ip_address("10.2.0.1")])
    guard.allow_internal_sites([])
    with pytest.raises(BlockedAddressError):
        guard.check("host", [ip_address("10.2.0.1")])
    guard.check("host", [ip_address("10.1.0.1")])
