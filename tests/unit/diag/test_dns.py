# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssvm_agent.diag.checks.dns import PROBE_NAME, judge
from ssvm_agent.diag.dns import Kind, Lookup, Outcome, decode_answer, encode_question
from ssvm_agent.diag.verdict import Status

QUESTION = encode_question(7, "ms1.example.org", Kind.A)


def answer(code: int = 0, records: bytes = b"", count: int = 0, ident: int = 7) -> bytes:
    head = struct.pack("!HHHHHH", ident, 0x8180 | code, 1, count, 0, 0)
    return head + QUESTION[12:] + records


def record(kind: int, data: bytes) -> bytes:
    return b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data


def test_a_question_is_one_name_of_one_type() -> None:
    """RFC 1035 4.1."""
    assert QUESTION == (
        b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
        b"\x03ms1\x07example\x03org\x00\x00\x01\x00\x01"
    )


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64 + ".org"])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(UnicodeError):
        encode_question(1, name, Kind.A)


def test_addresses_are_taken_from_behind_aliases() -> None:
    alias = record(5, b"\x03www\xc0\x10")
    records = alias + record(1, bytes([10, 1, 32, 5])) + record(1, bytes([10, 1, 32, 6]))
    assert decode_answer(answer(records=records, count=3), 7, Kind.A) == (
        Outcome.FOUND,
        ("10.1.32.5", "10.1.32.6"),
    )
    six = record(28, bytes(15) + b"\x01")
    assert decode_answer(answer(records=six, count=1), 7, Kind.AAAA) == (Outcome.FOUND, ("::1",))


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (0, Outcome.NO_DATA),
        (2, Outcome.FAILED),
        (3, Outcome.NO_SUCH_NAME),
        (5, Outcome.REFUSED),
        (4, Outcome.FAILED),
    ],
)
def test_every_way_to_say_no_is_told_apart(code: int, outcome: Outcome) -> None:
    assert decode_answer(answer(code), 7, Kind.A) == (outcome, ())


def test_an_answer_to_another_question_is_not_ours() -> None:
    assert decode_answer(answer(ident=8), 7, Kind.A) is None
    assert decode_answer(QUESTION, 7, Kind.A) is None


@given(st.binary(max_size=200))
def test_nonsense_raises_nothing_unforeseen(data: bytes) -> None:
    with contextlib.suppress(ValueError, struct.error, IndexError):
        decode_answer(data, int.from_bytes(data[:2], "big"), Kind.A)


def lookups(table: dict[tuple[str, str], Outcome]) -> list[Lookup]:
    return [
        Lookup(server=server, name=name, kind=kind, outcome=outcome)
        for (server, name), outcome in table.items()
        for kind in Kind
    ]


FOUND, GONE, SILENT, FAILED = (
    Outcome.FOUND, Outcome.NO_SUCH_NAME, Outcome.SILENT, Outcome.FAILED,
)  # fmt: skip


def test_servers_that_answer_are_fine_even_if_the_world_is_not_reached() -> None:
    """An isolated cloud knows no name outside, and needs none."""
    found = judge(["10.1.32.2"], {}, lookups({("10.1.32.2", PROBE_NAME): GONE}))
    assert [one.status for one in found] == [Status.OK]


def test_one_dead_server_of_two_is_a_warning_and_both_are_an_error() -> None:
    table = {("10.1.32.2", PROBE_NAME): SILENT, ("8.8.8.8", PROBE_NAME): FOUND}
    (found,) = judge(["10.1.32.2", "8.8.8.8"], {}, lookups(table))
    assert found.status is Status.WARNING
    assert found.what == "The name server 10.1.32.2 does not answer."
    table["8.8.8.8", PROBE_NAME] = FAILED
    found_both = judge(["10.1.32.2", "8.8.8.8"], {}, lookups(table))
    assert [one.status for one in found_both] == [Status.ERROR] * 2
    assert "fails (SERVFAIL)" in found_both[1].what


def test_the_first_server_that_answers_has_the_last_word() -> None:
    names = {"ms1": "management server"}
    table = {("a", "ms1"): GONE, ("b", "ms1"): FOUND, ("a", PROBE_NAME): FOUND}
    (found,) = judge(["a", "b"], names, lookups(table))
    assert found.status is Status.ERROR
    assert "The name ms1 of the management server does not resolve: a says" in found.what
    table = {("a", "ms1"): FAILED, ("b", "ms1"): FOUND, ("a", PROBE_NAME): FOUND}
    (found,) = judge(["a", "b"], names, lookups(table))
    assert found.status is Status.WARNING


def test_a_name_with_addresses_of_one_kind_alone_is_fine() -> None:
    both = [
        Lookup(server="a", name="ms1", kind=Kind.A, outcome=Outcome.NO_DATA),
        Lookup(server="a", name="ms1", kind=Kind.AAAA, outcome=FOUND, addresses=("::1",)),
    ]
    assert judge(["a"], {"ms1": "management server"}, both)[0].status is Status.OK


def test_more_than_three_servers_and_none() -> None:
    servers = ["a", "b", "c", "d"]
    table = {(server, PROBE_NAME): FOUND for server in servers}
    (found,) = judge(servers, {}, lookups(table))
    assert found.status is Status.WARNING
    assert "; d is not" in found.what
    assert judge([], {}, [])[0].status is Status.ERROR
