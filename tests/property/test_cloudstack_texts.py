# SPDX-License-Identifier: Apache-2.0
"""Properties of the two text formats: reading never raises, what was written is read back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ssvm_agent import bootargs, javaproperties

_WORDS = st.text(st.characters(exclude_characters="%\0", exclude_categories=("Z", "C")), min_size=1)
_KEYS = _WORDS.filter(lambda word: "=" not in word and word not in bootargs.KERNEL_KEYS)
# Mostly characters that mean something to the format.
_PROPERTIES = st.text(st.sampled_from("ab1u=:# !\\\n\r\t\f") | st.characters(), max_size=40)


@given(st.text())
def test_any_text_is_a_boot_text(text: str) -> None:
    args = bootargs.parse(text)
    assert all(args.get(key) in {None, value} for key, value in args.values.items())


@given(st.dictionaries(_KEYS, _WORDS))
def test_boot_words_are_read_back_in_both_forms(values: dict[str, str]) -> None:
    words = [
        "template=domP",
        "type=secstorage",
        *(f"{key}={value}" for key, value in values.items()),
    ]
    expected = {"template": "domP", "type": "secstorage"} | values
    assert dict(bootargs.parse(" " + " ".join(words)).values) == expected
    assert dict(bootargs.parse("%" + "%".join(words)).values) == expected


@given(_PROPERTIES)
def test_any_text_is_a_properties_text(text: str) -> None:
    entries = javaproperties.parse(text)
    assert javaproperties.parse(javaproperties.update(text, {})) == entries


@given(st.dictionaries(st.text(), st.text()), st.lists(st.text()))
def test_rendered_properties_are_read_back(entries: dict[str, str], comment: list[str]) -> None:
    text = javaproperties.render(entries, comment=comment)
    assert text.isascii()
    assert javaproperties.parse(text) == entries


@settings(max_examples=500)
@given(_PROPERTIES, st.dictionaries(st.text("ab1u", max_size=2), st.none() | st.text(max_size=3)))
def test_an_update_changes_exactly_what_it_says(text: str, changes: dict[str, str | None]) -> None:
    before = javaproperties.parse(text)
    after = javaproperties.parse(javaproperties.update(text, changes))
    expected = {key: value for key, value in (before | changes).items() if value is not None}
    assert after == expected
