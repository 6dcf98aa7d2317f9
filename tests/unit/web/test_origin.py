# SPDX-License-Identifier: Apache-2.0
from ipaddress import ip_network

import pytest

from ssvm_agent.web.origin import (
    Origin,
    OriginRules,
    client_address,
    legitimate_urls,
    parse_peer,
)

RULES = OriginRules(
    signed_scheme="https",
    public_hosts=("203.0.113.7", "203-0-113-7.example.com"),
    trusted_proxies=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")),
)


def origin(peer: str = "198.51.100.9", **fields: str) -> Origin:
    return Origin(peer=peer, scheme=fields.pop("scheme", "http"), **fields)


def test_the_host_header_counts_with_and_without_its_port() -> None:
    """Requirement R5; storage-commands.md 5.3: no port is ever signed."""
    urls = legitimate_urls(RULES, origin(host="up.example.com:8443"), "u")
    assert urls[:2] == (
        "https://up.example.com/upload/u",
        "https://up.example.com:8443/upload/u",
    )
    assert "http://up.example.com/upload/u" in urls
    assert "https://203.0.113.7/upload/u" in urls
    assert "https://203-0-113-7.example.com/upload/u" in urls


def test_a_forwarded_host_is_believed_from_trusted_peers_only() -> None:
    """Requirement R5."""
    for peer, believed in (
        ("198.51.100.9", False),
        ("127.0.0.1", True),
        ("::1", True),
        ("10.2.3.4", True),
        ("::ffff:10.2.3.4", True),
        ("2001:db8::5", True),
        ("not an address", False),
    ):
        told = origin(peer, host="inner", forwarded_host="outer, proxy", forwarded_scheme="https")
        assert ("https://outer/upload/u" in legitimate_urls(RULES, told, "u")) is believed, peer


def test_a_forwarded_scheme_adds_a_candidate() -> None:
    rules = OriginRules(signed_scheme="http")
    told = origin("127.0.0.1", host="h", forwarded_scheme="https")
    assert "https://h/upload/u" in legitimate_urls(rules, told, "u")
    strange = origin("127.0.0.1", host="h", forwarded_scheme="gopher")
    assert legitimate_urls(rules, strange, "u") == ("http://h/upload/u",)


@pytest.mark.parametrize("host", ["", "a/b", "a b", "a@b", "[::1", "h:port", "x" * 300])
def test_what_is_no_host_makes_no_candidate(host: str) -> None:
    rules = OriginRules(signed_scheme="https")
    assert legitimate_urls(rules, origin(host=host), "u") == ()


def test_candidates_stay_few() -> None:
    told = origin("127.0.0.1", host="a:1", forwarded_host="b:2", forwarded_scheme="https")
    assert len(legitimate_urls(RULES, told, "u")) <= 12


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("198.51.100.9", "192.0.2.1", "198.51.100.9"),
        ("127.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", "evil, 192.0.2.1, 10.0.0.1", "192.0.2.1"),
        ("127.0.0.1", "1.2.3.4, junk", "127.0.0.1"),
        ("127.0.0.1", "10.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
    ],
)
def test_the_client_is_the_last_address_no_proxy_of_ours_has(
    peer: str, forwarded: str, client: str
) -> None:
    assert client_address(RULES, origin(peer, forwarded_for=forwarded)) == client


def test_zones_and_mapped_addresses_are_normalised() -> None:
    assert str(parse_peer("fe80::1%eth0")) == "fe80::1"
    assert str(parse_peer("::ffff:192.0.2.1")) == "192.0.2.1"
    assert parse_peer("") is None
