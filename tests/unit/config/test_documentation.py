# SPDX-License-Identifier: Apache-2.0
"""docs/configuration.md has every key with its default, its names and its meaning."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssvm_agent.config import convert
from ssvm_agent.config.declare import Leaf, leaves
from ssvm_agent.config.settings import Settings

_PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"
_ROWS = [line for line in _PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
LEAVES = list(leaves(Settings))


def _row(leaf: Leaf) -> str:
    declaration = leaf.declaration
    names = dict.fromkeys((*declaration.boot, *declaration.properties))
    default = convert.show(leaf.default)
    shown = f"`{default}`" if default else ""
    told = ", ".join(f"`{name}`" for name in names)
    return f"| `{leaf.key}` | {shown} | {told} | {declaration.meaning} |"


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.key)
def test_every_key_is_documented_as_declared(leaf: Leaf) -> None:
    assert _row(leaf) in _ROWS


def test_no_key_is_documented_that_does_not_exist() -> None:
    known = {f"`{leaf.key}`" for leaf in LEAVES}
    table = _ROWS[_ROWS.index(_row(LEAVES[0])) :][: len(LEAVES)]
    assert {row.split("|")[1].strip() for row in table} == known
