# SPDX-License-Identifier: Apache-2.0
"""The bits that Apache's user needs to read a published file."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssvm_agent.web.apache import _let_others_read
from ssvm_agent.web.open_file import NotServedError


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_file_and_its_directory_become_readable_and_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "volumes/5/x"
    file.parent.mkdir(parents=True)
    file.touch()
    file.chmod(0o620)
    file.parent.chmod(0o700)
    _let_others_read(tmp_path, "volumes/5/x")
    assert (mode(file), mode(file.parent)) == (0o664, 0o755)


@pytest.mark.parametrize("linked", ["volumes", "volumes/5", "volumes/5/x"])
def test_nothing_behind_a_link_is_opened_to_others(tmp_path: Path, linked: str) -> None:
    """Requirement S8."""
    outside, store = tmp_path / "outside", tmp_path / "store"
    for root in (outside, store):
        (root / "volumes/5").mkdir(parents=True)
        (root / "volumes/5/x").touch(0o600)
    (outside / "volumes/5").chmod(0o700)
    (store / linked).rename(store / "aside")
    (store / linked).symlink_to(outside / linked)
    with pytest.raises(NotServedError):
        _let_others_read(store, "volumes/5/x")
    assert mode(outside / "volumes/5/x") == 0o600
    assert mode(outside / "volumes/5") == 0o700
