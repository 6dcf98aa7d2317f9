# SPDX-License-Identifier: Apache-2.0
"""The order of servers and the pauses between attempts."""

from __future__ import annotations

import pytest

from ssvm_agent.link.servers import Backoff, ServerList


def test_servers_come_in_turn() -> None:
    servers = ServerList(["a", "b"])
    assert [servers.next() for _ in range(5)] == ["a", "b", "a", "b", "a"]


def test_entries_are_cleaned() -> None:
    """agent-lifecycle.md 1.2: text after @ is cut off; blanks and doubles are of no use."""
    servers = ServerList([" a ", "b@static", "", "a"])
    assert servers.servers == ("a", "b")
    assert servers.preferred == "a"


def test_avoided_servers_are_skipped_unless_nothing_is_left() -> None:
    """requirements R3."""
    servers = ServerList(["a", "b", "c"])
    servers.avoid_only(["b", "zzz"])
    assert [servers.next() for _ in range(3)] == ["a", "c", "a"]
    assert servers.allowed() == ("a", "c")
    assert servers.avoid == ("b", "zzz")
    servers.avoid_only(["a", "b", "c"])
    assert servers.next() in servers.servers
    assert not servers.allowed()
    servers.avoid_only(None)
    assert not servers.avoid


def test_a_new_list_begins_at_its_front() -> None:
    """agent-lifecycle.md 3.3: the counter is reset whenever a list is applied."""
    servers = ServerList(["a", "b"])
    servers.next()
    assert servers.replace(["x", "y"], "static")
    assert (servers.next(), servers.algorithm) == ("x", "static")


@pytest.mark.parametrize(("new", "algorithm"), [([], "static"), (["x"], ""), ([" "], "static")])
def test_half_a_list_is_not_taken(new: list[str], algorithm: str) -> None:
    """agent-lifecycle.md 3.7: only if both are non-empty."""
    servers = ServerList(["a"])
    assert not servers.replace(new, algorithm)
    assert servers.servers == ("a",)


def test_starting_over_makes_the_preferred_server_next() -> None:
    servers = ServerList(["a", "b"])
    servers.next()
    servers.start_over()
    assert servers.next() == "a"


def test_pauses_double_and_are_capped() -> None:
    backoff = Backoff(initial_s=1, max_s=10, jitter=lambda: 0.0)
    assert [backoff.next_s(1) for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert backoff.attempts == 6
    backoff.reset()
    assert backoff.next_s(1) == 1


def test_one_round_of_the_list_has_one_pause() -> None:
    backoff = Backoff(initial_s=1, max_s=10, jitter=lambda: 0.0)
    assert [backoff.next_s(3) for _ in range(7)] == [1, 1, 1, 2, 2, 2, 4]


def test_jitter_lengthens_by_up_to_half() -> None:
    backoff = Backoff(initial_s=2, max_s=10, jitter=lambda: 0.5)
    assert backoff.next_s(1) == 2.5
    for _ in range(2000):
        assert backoff.next_s(1) <= 15


def test_a_cap_below_the_first_pause_gives_way() -> None:
    backoff = Backoff(initial_s=5, max_s=1, jitter=lambda: 0.0)
    assert [backoff.next_s(1), backoff.next_s(1)] == [5, 5]
