# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket

import pytest

from ssvm_agent.storage.resolver import first_address


def test_a_literal_address_is_itself() -> None:
    assert first_address("10.1.1.5") == "10.1.1.5"


def answers(monkeypatch: pytest.MonkeyPatch, found: dict[int, list[str] | int]) -> None:
    def getaddrinfo(host: str, port: object, family: int, kind: int) -> list[object]:
        result = found[family]
        if isinstance(result, int):
            raise socket.gaierror(result, "no")
        return [(family, kind, 6, "", (address, 0)) for address in result]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_the_first_ipv4_address_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """storage-commands.md 8."""
    answers(monkeypatch, {socket.AF_INET: ["10.1.1.6", "10.1.1.5"], socket.AF_INET6: ["::1"]})
    assert first_address("storage") == "10.1.1.6"


def test_a_host_with_only_ipv6_works(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {socket.AF_INET: socket.EAI_NONAME, socket.AF_INET6: ["2001:db8::1"]})
    assert first_address("storage") == "2001:db8::1"


def test_a_resolver_that_is_down_does_not_change_the_family(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers(monkeypatch, {socket.AF_INET: socket.EAI_AGAIN, socket.AF_INET6: ["2001:db8::1"]})
    with pytest.raises(socket.gaierror):
        first_address("storage")
