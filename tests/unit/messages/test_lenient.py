# SPDX-License-Identifier: Apache-2.0
"""Almost-JSON as the management server's side would read it (wire-protocol.md 4.1)."""

from __future__ import annotations

import time

import pytest

from ssvm_agent.messages.errors import TextError
from ssvm_agent.messages.lenient import read_lenient


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("\ufeff[1]", [1]),
        ("{'a':'b'}", {"a": "b"}),
        ("{a:b}", {"a": "b"}),
        ("{a=1;b=>2}", {"a": 1, "b": 2}),
        ("/* x */[1, // y\n2 # z\n]", [1, 2]),
        ("[1,,2,]", [1, None, 2, None]),
        ("[]", []),
        ("{}", {}),
        ('"a\nb\\u00e4\\/\\\'"', "a\nbä/'"),
        ('"\\ud83d\\ude00"', "😀"),
        ('"\\ud83d!"', "\ufffd!"),
        (
            "[true,NULL,-12,1.5e2,1_0,NaN,infinity]",
            [True, None, -12, 150.0, "1_0", "NaN", "infinity"],
        ),
        ("[007]", ["007"]),
    ],
)
def test_slip_is_forgiven(text: str, value: object) -> None:
    assert read_lenient(text, whole=False) == value


@pytest.mark.parametrize(
    "text",
    [
        "", "[", "{", "{a", "{a:", "{a:1", "{a:1,}", "{a 1}", '{"a":1;}',
        '"abc', '"\\x"', '"\\u12"',
        "[1 2]", "]", ":", "/* open",
    ],
)  # fmt: skip
def test_broken_text_is_refused_with_its_position(text: str) -> None:
    with pytest.raises(TextError, match="at character"):
        read_lenient(text, whole=False)


def test_text_after_the_value_matters_for_answers_only() -> None:
    assert read_lenient("[1] x", whole=False) == [1]
    assert read_lenient("[1] // end", whole=True) == [1]
    with pytest.raises(TextError, match="after the end"):
        read_lenient("[1] x", whole=True)


def test_depth_is_bounded() -> None:
    with pytest.raises(TextError, match="nested too deeply"):
        read_lenient("[" * 100_000, whole=False)


@pytest.mark.parametrize("piece", ["{a:", '"\\', "/**/", "/*", "'", " ", "a", "\\u0041", "[,"])
def test_time_is_linear_in_hostile_texts(piece: str) -> None:
    started = time.perf_counter()
    for text in (piece * 50_000, f"['{piece * 50_000}"):
        try:
            read_lenient(text, whole=True)
        except TextError:
            continue
    assert time.perf_counter() - started < 5
