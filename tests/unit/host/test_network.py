# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ipaddress
import os
import socket
import struct

import pytest

from ssvm_agent.host import network


def record(index: int, prefix: int, attributes: list[tuple[int, str]], kind: int = 20) -> bytes:
    """One RTM_NEWADDR message as the kernel sends it."""
    body = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, 0, index)
    for attribute, address in attributes:
        body += struct.pack("=HH", 8, attribute) + ipaddress.IPv4Address(address).packed
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


DONE = struct.pack("=IHHIIi", 20, 3, 2, 1, 0, 0)


def facts(monkeypatch: pytest.MonkeyPatch, dump: bytes) -> network.InterfaceFacts | None:
    monkeypatch.setattr(socket, "if_nametoindex", lambda name: 3)
    monkeypatch.setattr(network, "_dump_addresses", lambda: dump)
    return network.interface("eth1")


def test_the_first_usable_address_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """agent-lifecycle.md 2.3: not link-local, loopback or multicast, in the order of the kernel."""
    dump = (
        record(2, 24, [(1, "10.0.0.9"), (2, "10.0.0.9")])
        + record(3, 16, [(1, "169.254.1.1"), (2, "169.254.1.1")])
        + record(3, 20, [(1, "10.1.1.5"), (2, "10.1.1.5")])
        + record(3, 24, [(1, "10.2.2.5"), (2, "10.2.2.5")])
        + DONE
    )
    found = facts(monkeypatch, dump)
    assert found is not None
    assert (found.name, found.address, found.netmask) == ("eth1", "10.1.1.5", "255.255.240.0")


def test_on_a_point_to_point_link_our_own_end_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = facts(monkeypatch, record(3, 32, [(1, "10.1.1.1"), (2, "10.1.1.5")]) + DONE)
    assert found is not None
    assert found.address == "10.1.1.5"


def test_an_address_without_a_local_attribute_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = facts(monkeypatch, record(3, 24, [(1, "10.1.1.5")]) + DONE)
    assert found is not None
    assert found.address == "10.1.1.5"


@pytest.mark.parametrize(
    "dump",
    [
        b"",
        DONE,
        record(3, 8, [(1, "127.0.0.1")]),
        record(3, 24, [(1, "10.1.1.5")], kind=21),
        record(3, 24, [(1, "10.1.1.5")])[:18],
        b"\x04\0\0\0" * 10,
    ],
    ids=["empty", "done", "loopback", "deleted", "cut", "lengths too small"],
)
def test_without_a_usable_address_there_are_no_facts(
    monkeypatch: pytest.MonkeyPatch, dump: bytes
) -> None:
    assert facts(monkeypatch, dump) is None


def test_a_missing_interface_has_no_facts() -> None:
    assert network.interface("none-such0") is None


def test_the_kernel_is_understood() -> None:
    dump = network._dump_addresses()
    addresses = [str(found.ip) for _, found in network.parse_addresses(dump)]
    assert "127.0.0.1" in addresses


def test_the_machine_has_a_name_and_an_architecture() -> None:
    assert network.host_name() == socket.gethostname()
    assert network.architecture() == os.uname().machine
    assert network._mac("none-such0") == ""
