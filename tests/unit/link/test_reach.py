# SPDX-License-Identifier: Apache-2.0
"""What the system says of a failed connection, in words for an operator."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from ssvm_agent.host.pools import WorkPool
from ssvm_agent.link import reach
from ssvm_agent.link.errors import ConnectError, Step


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ECONNREFUSED, "refuses the connection"),
        (errno.ETIMEDOUT, "does a firewall drop the connection?"),
        (errno.EHOSTUNREACH, "no such host answers"),
        (errno.ENETUNREACH, "no such host answers"),
        (errno.ECONNRESET, "resets the connection."),
        (errno.EACCES, "Permission denied."),
    ],
)
def test_errors_of_the_system_are_explained(number: int, words: str) -> None:
    error = OSError(number, os.strerror(number))
    found = reach._explained(error, "ms", ("10.0.0.1", 8250))
    assert found.step is Step.TCP
    assert found.message.startswith("ms (10.0.0.1) port 8250 ")
    assert words in found.message
    assert found.message[-1] in ".?"


async def test_literal_addresses_need_no_resolver() -> None:
    pool = WorkPool("unused")
    pool.close()
    assert await reach.resolve("10.0.0.1", 1, pool=pool) == [(socket.AF_INET, ("10.0.0.1", 1))]
    assert await reach.resolve("::1", 1, pool=pool) == [(socket.AF_INET6, ("::1", 1))]


async def test_old_addresses_come_before_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def two(*_: object, **__: object) -> list[object]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 1, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    pool = WorkPool("resolver")
    found = await reach.resolve("localhost", 1, pool=pool)
    pool.close()
    assert [family for family, _ in found] == [socket.AF_INET, socket.AF_INET6]


async def test_a_resolver_that_hangs_is_a_failure_of_dns() -> None:
    pool = WorkPool("closed")
    pool.close()  # as good as one whose threads are all stuck
    with pytest.raises(ConnectError, match="name servers do not answer") as caught:
        await reach.resolve("ms.example.org", 1, pool=pool)
    assert caught.value.step is Step.DNS


async def test_the_next_address_is_tried_when_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]

        async def two(*_: object, **__: object) -> list[reach.Address]:
            return [
                (socket.AF_INET, ("127.0.0.2", port)),
                (socket.AF_INET, ("127.0.0.1", port)),
            ]

        monkeypatch.setattr(reach, "resolve", two)
        pool = WorkPool("unused")
        link = await reach.open_tcp("ms", port, deadline_s=5, pool=pool)
        assert link.getpeername() == ("127.0.0.1", port)
        assert link.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert link.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert link.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
        link.close()
        assert await reach.is_reachable("ms", port, deadline_s=5, pool=pool)
        pool.close()
