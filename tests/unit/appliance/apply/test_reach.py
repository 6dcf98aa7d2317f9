# SPDX-License-Identifier: Apache-2.0
"""Which management servers the text names, and whether they take a connection."""

from __future__ import annotations

import asyncio

import pytest

from ssvm_agent.appliance.apply.reach import Server, reachable, servers_of
from ssvm_agent.bootargs import parse


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("host=10.1.1.1,ms.example.org port=9250", ["10.1.1.1:9250", "ms.example.org:9250"]),
        ("host=10.1.1.1@roundrobin", ["10.1.1.1:8250"]),
        ("host=2001:db8::1 port=99999", ["[2001:db8::1]:8250"]),
        ("host=null", []),
        ("host=, port=x", []),
        ("", []),
    ],
)
def test_servers_of_the_text(text: str, servers: list[str]) -> None:
    assert [str(server) for server in servers_of(parse(text))] == servers


async def test_a_server_that_listens_is_reachable() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    up, down = Server("127.0.0.1", port), Server("127.0.0.1", 1)
    odd = Server("x" * 300, port)
    async with server:
        assert await reachable((up, down, odd)) == {up}
    assert await reachable(()) == frozenset()
