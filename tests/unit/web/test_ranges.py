# SPDX-License-Identifier: Apache-2.0
from email.utils import formatdate

import pytest

from ssvm_agent.web.ranges import (
    Conditions,
    FileFacts,
    Refusal,
    Slice,
    Verdict,
    choose_slice,
    evaluate,
)

SECOND = 1_700_000_000
FACTS = FileFacts(size_bytes=1000, modified_ns=SECOND * 10**9 + 5, inode=7)
NOW, EARLIER, LATER = (formatdate(SECOND + delta, usegmt=True) for delta in (0, -60, 60))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", None),
        ("bytes=0-", Slice(0, 1000)),
        ("bytes=0-0", Slice(0, 1)),
        ("bytes=999-", Slice(999, 1)),
        ("bytes=10-19", Slice(10, 10)),
        ("bytes=10-99999999999999", Slice(10, 990)),
        ("bytes=-1", Slice(999, 1)),
        ("bytes=-5000", Slice(0, 1000)),
        ("Bytes = 1-2", Slice(1, 2)),
        ("bytes=,1-2,", Slice(1, 2)),
        ("bytes=1000-", Refusal.UNSATISFIABLE),
        ("bytes=-0", Refusal.UNSATISFIABLE),
        ("bytes=5000-6000,7000-", Refusal.UNSATISFIABLE),
        ("bytes=0-1,2000-", Slice(0, 2)),
        ("bytes=0-1,4-5", None),
        ("bytes=0-,0-", Refusal.HOSTILE),
        ("bytes=0-10,5-20,40-", Refusal.HOSTILE),
        ("bytes=" + ",".join(["1-2"] * 17), Refusal.HOSTILE),
        ("bytes=" + "0" * 600 + "-", Refusal.HOSTILE),
        ("bytes=2-1", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=1-2-3", None),
        ("bytes=", None),
        ("bytes", None),
        ("lines=1-2", None),
        ("bytes=" + "9" * 20 + "-", None),
        ("bytes=\u0661-", None),
    ],
)
def test_ranges(header: str, expected: Slice | Refusal | None) -> None:
    """RFC 9110 14.1-14.2; requirement S10."""
    assert choose_slice(header, "", FACTS) == expected


def test_an_empty_file_has_no_ranges() -> None:
    empty = FileFacts(size_bytes=0, modified_ns=0, inode=1)
    assert choose_slice("bytes=0-", "", empty) is Refusal.UNSATISFIABLE


@pytest.mark.parametrize(
    ("if_range", "applies"),
    [
        (FACTS.etag, True),
        ('"other"', False),
        ("W/" + FACTS.etag, False),
        (NOW, True),
        (EARLIER, False),
        (LATER, False),
        ("nonsense", False),
    ],
)
def test_a_range_applies_to_the_same_file_only(if_range: str, applies: bool) -> None:
    """RFC 9110 13.1.5."""
    assert (choose_slice("bytes=1-2", if_range, FACTS) is not None) is applies


@pytest.mark.parametrize(
    ("conditions", "verdict"),
    [
        (Conditions(), Verdict.SEND),
        (Conditions(if_match=FACTS.etag), Verdict.SEND),
        (Conditions(if_match="*"), Verdict.SEND),
        (Conditions(if_match='"a", "b"'), Verdict.FAILED),
        (Conditions(if_match="W/" + FACTS.etag), Verdict.FAILED),
        (Conditions(if_unmodified_since=NOW), Verdict.SEND),
        (Conditions(if_unmodified_since=EARLIER), Verdict.FAILED),
        (Conditions(if_unmodified_since="x"), Verdict.SEND),
        (Conditions(if_none_match=FACTS.etag), Verdict.NOT_MODIFIED),
        (Conditions(if_none_match=f'"x", W/{FACTS.etag}'), Verdict.NOT_MODIFIED),
        (Conditions(if_none_match='"x"', if_modified_since=LATER), Verdict.SEND),
        (Conditions(if_modified_since=NOW), Verdict.NOT_MODIFIED),
        (Conditions(if_modified_since=EARLIER), Verdict.SEND),
        (Conditions(if_modified_since="Mon, 99 Foo 2020"), Verdict.SEND),
        (Conditions(if_modified_since="Tue, 14 Nov 2023 22:13:20 -0000"), Verdict.NOT_MODIFIED),
    ],
)
def test_conditions(conditions: Conditions, verdict: Verdict) -> None:
    """RFC 9110 13.2.2."""
    assert evaluate(conditions, FACTS) is verdict


def test_another_file_of_the_same_size_and_time_has_another_tag() -> None:
    other = FileFacts(size_bytes=1000, modified_ns=FACTS.modified_ns, inode=8)
    assert other.etag != FACTS.etag


def test_header_texts() -> None:
    assert Slice(5, 10).content_range(1000) == "bytes 5-14/1000"
    assert FACTS.last_modified == "Tue, 14 Nov 2023 22:13:20 GMT"
