# SPDX-License-Identifier: Apache-2.0
"""Every command on a store that is full, read-only or refuses: its own answer, all as before."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.property.handlers.orders import NAMES, fill
from tests.property.handlers.rig import Answered, Tree, Workbench, tree, workbench

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("chattr")]

READING = {
    "list templates", "list volumes", "statistics", "browse", "checksum", "zone copy",
}  # fmt: skip
REMOVING = {
    "delete template", "delete volume", "delete snapshot", "delete backup", "delete snapshots",
    "no config drive", "withdraw",
}  # fmt: skip
NEEDING_NO_ROOM = READING | REMOVING | {"move volume"}


def sh(*argv: str | Path) -> None:
    subprocess.run([str(word) for word in argv], check=True, capture_output=True)


def fill_up(root: Path) -> None:
    """Take every block that is left."""
    with contextlib.suppress(OSError), (root / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def forbid(root: Path) -> None:
    """Make files and directories immutable, which binds even root; links cannot be."""
    subprocess.run(["chattr", "-R", "+i", str(root)], check=False, capture_output=True)


FAULTS: dict[str, tuple[Callable[[Path], None], set[str], str]] = {
    "full": (fill_up, NEEDING_NO_ROOM, "space|0 bytes left"),
    "read-only": (lambda root: sh("mount", "-o", "remount,ro", root), READING, "read-only"),
    "immutable": (forbid, READING, "permit"),
}


@pytest.fixture(scope="module")
def bench(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Workbench, asyncio.Runner]]:
    with workbench(tmp_path_factory.mktemp("bench")) as made:
        yield made


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A filled store on a file system of its own."""
    place = tmp_path / "store"
    place.mkdir()
    sh("mount", "-t", "tmpfs", "-o", "size=8m,mode=0777", "store", place)
    fill(place)
    yield place
    sh("umount", "-l", place)


def check(answered: Answered, before: Tree, after: Tree, reason: str) -> None:
    """Failed with a reason, and changed nothing."""
    assert answered.failed, answered
    assert re.search(reason, answered.fields["details"]), answered
    assert after == before


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_fault_of_the_store_is_told_and_changes_nothing(
    bench: tuple[Workbench, asyncio.Runner], root: Path, name: str, fault: str
) -> None:
    """requirements R13, R14."""
    work, runner = bench
    wanted = work.orders(root)
    runner.run(work.send(wanted["list templates"]))
    runner.run(work.send(wanted["list volumes"]))
    make, unharmed, reason = FAULTS[fault]
    make(root)
    before = tree(root)
    answered = runner.run(work.send(wanted[name]))
    answered.check()
    after = tree(root)
    if name in unharmed:
        assert not answered.failed, answered
    else:
        check(answered, before, after, reason)
