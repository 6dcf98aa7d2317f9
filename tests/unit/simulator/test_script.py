# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from ssvm_agent.simulator.script import Script, UnknownWordError

ANSWER = {"answers": [{"com.cloud.agent.api.Answer": {"result": True, "names": ["a", "b"]}}]}


@pytest.fixture
def script() -> Script:
    made = Script({"store": {"url": "nfs://h/p"}, "n": 3})
    made.take({"id": "first"}, ANSWER)
    return made


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${store}", {"url": "nfs://h/p"}),
        ("${n}", 3),
        ("at ${store.url}/x", "at nfs://h/p/x"),
        ("${first.names.1}", "b"),
        ("${first.answer}", "Answer"),
        (["${n}", {"k": "${n}"}], [3, {"k": 3}]),
        ("$n {n} ${}", "$n {n} ${}"),
        (None, None),
    ],
)
def test_words_are_filled_in(script: Script, text: Any, value: Any) -> None:
    assert script.filled(text) == value


@pytest.mark.parametrize("way", ["nothing", "store.path", "first.names.9", "first.names.x", "n.x"])
def test_unknown_words_are_errors(script: Script, way: str) -> None:
    with pytest.raises(UnknownWordError, match=way):
        script.filled(f"${{{way}}}")


@pytest.mark.parametrize(
    ("expect", "surprised"),
    [
        ({"result": True, "answer": "Ans*"}, False),
        ({"result": False}, True),
        ({"missing": None}, False),
        ({"missing": "*"}, True),
        ({"names": ["a"]}, True),
    ],
)
def test_results_are_compared_with_what_is_expected(
    script: Script, expect: dict[str, Any], *, surprised: bool
) -> None:
    assert bool(script.take({"expect": expect}, ANSWER)) is surprised
    assert bool(script.surprises) is surprised


def test_an_error_nobody_expects_is_a_surprise(script: Script) -> None:
    assert script.take({}, {"error": "no"}) == ["it failed: no"]
    assert script.take({"expect": {"error": "n*"}}, {"error": "no"}) == []


def test_a_download_is_told_by_its_fields(script: Script) -> None:
    script.take({"id": "image"}, {"download": {"installPath": "p"}})
    assert script.filled("${image.installPath}") == "p"
