# SPDX-License-Identifier: Apache-2.0
"""Whatever is thrown at them, the guards let nothing blocked pass and fail in one way only."""

from __future__ import annotations

import contextlib
import ipaddress
import string
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from ssvm_agent.errors import AgentError
from ssvm_agent.ingest.checksum import ExpectedChecksum
from ssvm_agent.ingest.egress import EgressGuard
from ssvm_agent.ingest.errors import BadUrlError, BlockedAddressError, UnknownAlgorithmError
from ssvm_agent.ingest.metalink_xml import parse_metalink
from ssvm_agent.ingest.sources.http_facts import ContentRange
from ssvm_agent.ingest.urls import HTTP_SCHEMES, parse_host, parse_url

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


def is_dangerous(address: IPv4Address | IPv6Address) -> bool:
    """What the standard library knows to be no public or private unicast address."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return True
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
    )


@given(st.lists(ADDRESSES, min_size=1, max_size=5))
def test_no_dangerous_address_passes_in_any_company(
    addresses: list[IPv4Address | IPv6Address],
) -> None:
    """requirements S2."""
    with contextlib.suppress(BlockedAddressError):
        EgressGuard(allowed_cidrs=["0.0.0.0/0", "::/0"]).check("host", addresses)
        assert not any(is_dangerous(address) for address in addresses)


@given(
    st.lists(
        st.sampled_from(["127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "0.0.0.0/8"]).flatmap(
            lambda net: st.ip_addresses(v=4, network=net)
        ),
        min_size=1,
    ),
    st.lists(st.ip_addresses(v=4)),
)
def test_one_dangerous_address_is_enough(bad: list[IPv4Address], others: list[IPv4Address]) -> None:
    with pytest.raises(BlockedAddressError):
        EgressGuard().check("host", [*others, *bad])


HOST_CHARACTERS = st.text(alphabet=string.hexdigits + ".:xX[]%@-_/\\ \u3002\uff0e", max_size=24)


@given(st.one_of(HOST_CHARACTERS, st.text(max_size=20)))
def test_a_host_is_a_canonical_address_a_name_or_refused(host: str) -> None:
    """No spelling is taken for a name here and for an address by a resolver."""
    try:
        address = parse_host(host)
    except BadUrlError:
        return
    if address is not None:
        assert ipaddress.ip_address(host.strip("[]")) == address
        if address.version == 4:
            assert str(address) == host
    else:
        assert host.isascii()
        last = host.rstrip(".").rpartition(".")[2].lower()
        assert not last.isdigit()
        assert not (last.startswith("0x") and all(c in string.hexdigits for c in last[2:]))


URL_TEXT = st.text(alphabet="htpsfile:/\\@.%0123456789abx[]?#&= \r\n\0\u3002", max_size=40)


@given(st.one_of(URL_TEXT, URL_TEXT.map(lambda text: f"http://{text}"), st.text(max_size=60)))
def test_a_url_reads_the_same_here_and_in_the_client(text: str) -> None:
    """Two parsers that disagree about the host would be a way around the guard."""
    try:
        url = parse_url(text)
    except BadUrlError:
        return
    assert url.text.isascii()
    assert not any(char in url.text for char in " \r\n\t\\\0")
    if url.scheme in HTTP_SCHEMES:
        theirs = URL(url.text, encoded=True)
        assert theirs.user is None
        assert (theirs.raw_host or "").lower() == url.host
        assert theirs.port == url.port
        assert parse_url(url.text) == url


@given(URL_TEXT)
def test_a_redirect_stays_on_http(location: str) -> None:
    with contextlib.suppress(BadUrlError):
        assert parse_url("http://h.example/a/b").join(location).scheme in HTTP_SCHEMES


@given(st.sampled_from(["MD5", "SHA-1", "SHA-224", "SHA-256", "SHA-384", "SHA-512"]), st.data())
def test_a_checksum_reads_back_as_it_prints(algorithm: str, data: st.DataObject) -> None:
    digits = {"MD5": 32, "SHA-1": 40, "SHA-224": 56, "SHA-256": 64, "SHA-384": 96, "SHA-512": 128}
    size = digits[algorithm]
    digest = data.draw(st.text(alphabet="0123456789abcdef", min_size=size, max_size=size))
    parsed = ExpectedChecksum.parse(f"{{{algorithm}}}{digest}")
    assert ExpectedChecksum.parse(str(parsed)) == parsed
    assert ExpectedChecksum.parse(digest) == parsed


@given(st.text(max_size=140))
def test_any_other_text_is_no_checksum(text: str) -> None:
    with contextlib.suppress(UnknownAlgorithmError):
        assert ExpectedChecksum.parse(text).hex_digest.strip("0123456789abcdef") == ""


@given(st.text(max_size=60))
def test_any_content_range_is_sane_or_nothing(text: str) -> None:
    found = ContentRange.parse(text)
    assert found is None or (found.first <= found.last and found.last < (found.total or 1 << 64))


@given(st.one_of(st.binary(max_size=400), st.text(alphabet="<>/file url hash&;!", max_size=200)))
def test_any_document_is_a_metalink_or_a_sentence(document: bytes | str) -> None:
    data = document.encode() if isinstance(document, str) else document
    with contextlib.suppress(AgentError):
        assert parse_metalink(data).urls
