# SPDX-License-Identifier: Apache-2.0
"""Strict reading of URLs."""

from __future__ import annotations

import pytest

from ssvm_agent.ingest.errors import BadUrlError
from ssvm_agent.ingest.urls import parse_host, parse_url


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "0x7f000001", "1", "127.0.0.1.2", "256.1.1.1",
     "1.2.3", "127.0.0.01", "a.0x7f", "[::1%25lo]", "[::1%lo]", "[::1", "::1", "[1.2.3.4]", "a..b",
     "-a", "a-", "a b", "", ".", "%31%32%37.0.0.1", "\u2170", "127\u30020\u30020\u30021",
     "a" * 64, "a@b", "a/b",
     "1.2.3.4.", "0x"],
)  # fmt: skip
def test_a_host_has_one_spelling_or_none(host: str) -> None:
    """requirements S2, hostile URLs."""
    with pytest.raises(BadUrlError):
        parse_host(host)


@pytest.mark.parametrize(
    ("host", "address"),
    [("192.0.2.9", "192.0.2.9"), ("[2001:db8::1]", "2001:db8::1"), ("[::ffff:127.0.0.1]", None)],
)
def test_addresses_are_addresses(host: str, address: str | None) -> None:
    parsed = parse_host(host)
    assert parsed is not None
    if address:
        assert str(parsed) == address


@pytest.mark.parametrize(
    "host", ["example.org", "a", "x_y.example", "example.org.", "1a.example", "3com.com", "0x.com"]
)
def test_names_are_names(host: str) -> None:
    assert parse_host(host) is None


@pytest.mark.parametrize(
    "url",
    ["http://user@host/x", "http://user:pw@host/x", "http://a\\@b/", "http:\\\\a\\b",
     "http://host:0/x", "http://host:65536/", "http://host:+80/", "http://host:8 0/",
     "http://ho st/", "http://host/a b", "http://host/\r\nX: y", "http://host/\0", "http://host/%00",
     "http://host/%ff", "http:///path", "http:path", "http://[::1/x", "http://[::1]x/",
     "http://host/<script>", "http://" + "a" * 9000, "http://h\u00e9te/"],
)  # fmt: skip
def test_ambiguous_urls_are_refused(url: str) -> None:
    with pytest.raises(BadUrlError):
        parse_url(url)


@pytest.mark.parametrize(
    "url", ["ftp://h/x", "nfs://h/x", "cifs://h/x", "gopher://h/", "x", "", "javascript:1"]
)
def test_other_schemes_are_not_supported(url: str) -> None:
    """storage-commands.md 4.3 step 3."""
    with pytest.raises(BadUrlError, match="Scheme is not supported"):
        parse_url(url)


def test_a_url_is_taken_apart_and_kept_as_given() -> None:
    url = parse_url("HTTPS://Download.Example.org/t/debian%2012.qcow2?x=1&sig=a%2Bb#part")
    assert (url.scheme, url.host, url.port) == ("https", "download.example.org", 443)
    assert url.last_segment == "debian 12.qcow2"
    assert url.text.endswith("/t/debian%2012.qcow2?x=1&sig=a%2Bb")


def test_scp_has_a_user() -> None:
    url = parse_url("scp://op%40x@host:2222/path/i.qcow2?password=pw")
    assert (url.user, url.host, url.port, url.path) == ("op@x", "host", 2222, "/path/i.qcow2")
    assert "pw" not in str(url)


def test_file_urls_have_no_user_and_no_port() -> None:
    assert parse_url("file:///mnt/x").path == "/mnt/x"
    for url in ("file://u@h/x", "file://h:1/x"):
        with pytest.raises(BadUrlError):
            parse_url(url)


@pytest.mark.parametrize(
    ("location", "result"),
    [("/b", "http://h.example/b"), ("c", "http://h.example/d/c"),
     ("https://o.example:8443/x", "https://o.example:8443/x"), ("//o.example/x", "http://o.example/x")],
)  # fmt: skip
def test_redirects_join(location: str, result: str) -> None:
    assert parse_url("http://h.example/d/a").join(location).text == result


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "scp://u@h/x", "ftp://h/x", "http://[::1%lo]/", "http://u@h/",
     "\\\\h\\x", "http://0x7f.1/"],
)  # fmt: skip
def test_redirects_elsewhere_are_refused(location: str) -> None:
    with pytest.raises(BadUrlError):
        parse_url("http://h.example/").join(location)
