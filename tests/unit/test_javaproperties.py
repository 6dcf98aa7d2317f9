# SPDX-License-Identifier: Apache-2.0
"""The Java properties dialect, as the Java reader and writer treat it (agent-lifecycle.md 1.1)."""

from __future__ import annotations

import pytest

from ssvm_agent import javaproperties


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("a=1\nb:2\nc 3\n", {"a": "1", "b": "2", "c": "3"}),
        ("a = 1\nb : 2\nc\t \f3\n", {"a": "1", "b": "2", "c": "3"}),
        ("a==1\nb=:2\nc := 3", {"a": "=1", "b": ":2", "c": "= 3"}),
        ("# x=1\n  ! y=2\n\n \t\na=1", {"a": "1"}),
        ("a=1\r\nb=2\rc=3\n", {"a": "1", "b": "2", "c": "3"}),
        ("a=one,\\\n   two,\\\r\n\tthree\nb=2", {"a": "one,two,three", "b": "2"}),
        ("a=1\\\n# no comment\nb=2", {"a": "1# no comment", "b": "2"}),
        ("a=1\\\n\nb=2", {"a": "1", "b": "2"}),
        ("\\\n# a comment after an empty start\na=1", {"a": "1"}),
        ("a=ends in a backslash\\", {"a": "ends in a backslash"}),
        ("a=two\\\\\nb=2", {"a": "two\\", "b": "2"}),
        (r"k\=e\:y\ x = \ v\tw\u00e9\q", {"k=e:y x": " v\twéq"}),
        (r"a=\ud83d\ude00 \uD83D", {"a": "😀 \ud83d"}),
        (r"a=\u12", {"a": "u12"}),
        ("a\nb=\n=c\n", {"a": "", "b": "", "": "c"}),
        ("a=1\na=2", {"a": "2"}),
        ("a=trailing  \n", {"a": "trailing  "}),
        ("", {}),
    ],
)
def test_reading_follows_the_java_reader(text: str, entries: dict[str, str]) -> None:
    assert javaproperties.parse(text) == entries


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("host", "10.1.32.5@static", "host=10.1.32.5@static"),
        ("k y", "a=b:c#d!e", r"k\ y=a\=b\:c\#d\!e"),
        ("k", "  two", r"k=\  two"),
        ("k", "a\\b\tc\n\r\f", r"k=a\\b\tc\n\r\f"),
        ("é", "😀\x01", r"\u00E9=\uD83D\uDE00\u0001"),
    ],
)
def test_writing_escapes_what_the_java_writer_escapes(key: str, value: str, line: str) -> None:
    assert javaproperties.format_value(key, value) == line


def test_render_puts_comments_first_and_keeps_order() -> None:
    text = javaproperties.render({"b": "2", "a": "é"}, comment=["", "Mon Nov 23 03:11:00 UTC 2026"])
    assert text == "#\n#Mon Nov 23 03:11:00 UTC 2026\nb=2\na=\\u00E9\n"


def test_a_line_break_in_a_comment_cannot_start_an_entry() -> None:
    assert javaproperties.parse(javaproperties.render({}, comment=["x\nevil=1"])) == {}


def test_update_keeps_order_comments_and_foreign_lines() -> None:
    before = "# made by boot\nhost = old\n\nx: 1 \\\n  2\nhost=older\nlast=1"
    after = javaproperties.update(before, {"host": "a,b@static", "new": "n", "gone": None})
    assert after == "# made by boot\n\nx: 1 \\\n  2\nhost=a,b@static\nlast=1\nnew=n\n"


def test_update_removes_every_line_of_a_key() -> None:
    assert javaproperties.update("a=1\nb=2\na=3\n", {"a": None}) == "b=2\n"


def test_update_leaves_an_unchanged_value_as_it_was_written() -> None:
    assert javaproperties.update("a : 1\r\nb=2\r\n", {"a": "1", "b": "3"}) == "a : 1\r\nb=3\r\n"
