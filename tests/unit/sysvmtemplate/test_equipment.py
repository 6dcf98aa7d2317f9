# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from ssvm_agent.ingest.errors import BadUrlError
from ssvm_agent.sysvmtemplate.equipment import http_url, proxy_of


def test_the_proxy_is_that_of_the_environment() -> None:
    environment = {
        "https_proxy": "http://me:pw@proxy.example.com:3128",
        "HTTP_PROXY": "other:8080",
        "no_proxy": "localhost, .example.org",
    }
    proxy, excepted = proxy_of(http_url("https://example.com/x"), environment)
    assert proxy is not None
    assert proxy.url == "http://proxy.example.com:3128"
    assert excepted == ("localhost", ".example.org")
    proxy, _ = proxy_of(http_url("http://example.com/x"), environment)
    assert proxy is not None
    assert proxy.url == "http://other:8080"
    assert proxy_of(http_url("http://example.com/x"), {}) == (None, ())


@pytest.mark.parametrize("url", ["scp://u@h/x", "file:///x", "x", "http://u:p@h/x"])
def test_only_plain_web_urls_are_taken(url: str) -> None:
    with pytest.raises(BadUrlError):
        http_url(url)
