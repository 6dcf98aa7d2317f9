# SPDX-License-Identifier: Apache-2.0
"""Texts of ``authorized_keys``: one key in, one out, everything else as it was."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssvm_agent.delivery.authorized_keys import positions, with_key, without_key
from ssvm_agent.delivery.errors import DeliveryError
from ssvm_agent.delivery.keyfile import PublicKey


def key(letter: str) -> PublicKey:
    blob = base64.b64encode(letter.encode() * 40).decode()
    return PublicKey(kind="ssh-ed25519", blob=blob, comment=f"key {letter}")


OLD, NEW, OTHER = key("o"), key("n"), key("x")
OLD_LINE, NEW_LINE = OLD.line().encode() + b"\n", NEW.line().encode() + b"\n"
# What else such a file may hold; all of it belongs to somebody else.
FOREIGN = st.sampled_from(
    [
        b"\n",
        b"# " + OLD_LINE,
        OTHER.line().encode() + b"\n",
        b'command="echo ' + OLD_LINE.strip() + b'" ' + OTHER.line().encode() + b"\n",
        b'from="10.0.0.0/8",environment="A=\\"b c\\"" ' + OTHER.line().encode() + b"\r\n",
        b"\xff\xfe not a line at all\n",
        b"ssh-ed25519\n",
        b"   \t \n",
    ]
)
OPTIONS = st.sampled_from([b"", b'from="a b,c" ', b"no-pty,restrict\t", b'command="x \\" y" '])


@given(
    st.lists(FOREIGN),
    st.lists(FOREIGN),
    OPTIONS,
    st.sampled_from([b"", b" "]),
    st.booleans(),
)
def test_an_exchange_touches_nothing_else(
    before: list[bytes], after: list[bytes], options: bytes, blank: bytes, last_newline: bool
) -> None:
    text = b"".join([*before, blank, options, OLD_LINE, *after])
    if not last_newline and not after:
        text = text.removesuffix(b"\n")
    both = with_key(text, NEW, beside=OLD)
    assert len(positions(both, OLD)) == len(positions(both, NEW)) == 1
    assert with_key(both, NEW, beside=OLD) == both
    gone = without_key(both, OLD, keeping=NEW)
    assert gone == b"".join([*before, options, NEW_LINE, *after])
    assert without_key(gone, OLD, keeping=NEW) == gone


@given(st.binary(max_size=400))
def test_any_bytes_keep_their_place(text: bytes) -> None:
    more = with_key(text, NEW)
    assert more.startswith(text)
    assert positions(more, NEW)


def test_the_last_key_is_not_removed() -> None:
    with pytest.raises(DeliveryError, match="nothing is removed"):
        without_key(OLD_LINE, OLD, keeping=NEW)


def test_all_lines_of_a_key_go() -> None:
    text = OLD_LINE + NEW_LINE + b"no-pty " + OLD_LINE
    assert positions(text, OLD) == [1, 3]
    assert without_key(text, OLD, keeping=NEW) == NEW_LINE
