# SPDX-License-Identifier: Apache-2.0
"""Which proxy leads to a source."""

from __future__ import annotations

import pytest

from ssvm_agent.ingest.errors import BadUrlError
from ssvm_agent.ingest.proxy import Proxy, bypasses_proxy
from ssvm_agent.ingest.urls import parse_url
from ssvm_agent.masking import Secret


def test_a_proxy_is_read_with_and_without_scheme() -> None:
    assert Proxy.parse("proxy.example") == Proxy(host="proxy.example", port=3128)
    assert Proxy.parse("http://u%40x:p%3A@p:8080") == Proxy(
        host="p", port=8080, user="u@x", password=Secret("p:")
    )
    assert Proxy.parse("http://[fd12::1]:8080").url == "http://[fd12::1]:8080"


@pytest.mark.parametrize("text", ["socks5://p", "http://", "http://p:99999", "http://[::1"])
def test_other_things_are_no_proxy(text: str) -> None:
    with pytest.raises(BadUrlError):
        Proxy.parse(text)


@pytest.mark.parametrize(
    ("url", "entry", "direct"),
    [
        ("http://images.example/x", "images.example", True),
        ("http://images.example/x", "example", True),
        ("http://images.example/x", ".example", True),
        ("http://images.example/x", "*.example", True),
        ("http://images.example/x", "ages.example", False),
        ("http://images.example/x", "*", True),
        ("http://images.example/x", "", False),
        ("http://10.1.2.3/x", "10.1.0.0/16", True),
        ("http://10.1.2.3/x", "10.1.2.3", True),
        ("http://10.1.2.3/x", "2.3", False),
        ("http://10.1.2.3/x", "images.example", False),
    ],
)
def test_no_proxy_entries(url: str, entry: str, direct: bool) -> None:
    """requirements R34."""
    assert bypasses_proxy(parse_url(url), [entry]) is direct
