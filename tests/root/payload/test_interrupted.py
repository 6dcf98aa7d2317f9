# SPDX-License-Identifier: Apache-2.0
"""Power is lost at every step of an installation (R29).

A process installs in a real tree and is killed with SIGKILL before its first change of the file
system, before its second, and so on, until one comes through.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.host.pools import WorkPool
from ssvm_agent.payload.errors import BundleError, NothingToUndoError
from ssvm_agent.payload.installer import Installer, Outcome
from ssvm_agent.payload.manifest import MANIFEST, read_and_verify
from ssvm_agent.payload.places import Places
from tests.fakes.payload_machine import bundle, copy_of, installer, stock_machine, visible

_CHANGES = frozenset(
    {"os.rename", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate"}
)
_ENOUGH = 2000
MEND = "ssvm-payload-mend.service"
MEND_LEFT = (f"system/{MEND}", f"system/.{MEND}.new", f"wants/.{MEND}.new")

Work = Callable[[Installer], Coroutine[Any, Any, object]]


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> None:
    """Looked at with one installation (tests/unit/payload), not with each of hundreds."""


@pytest.fixture(name="ground")
def _ground() -> Iterator[Path]:
    """Where the machines are: in memory, for there are many."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def _nothing_is_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing it has written; waiting for the disk shows nothing here."""
    monkeypatch.setattr(os, "sync", lambda: None)
    monkeypatch.setattr(os, "fsync", lambda _: None)


def run(root: Path, work: Work) -> object:
    async def inside() -> object:
        pool = WorkPool("local disk", threads=1)
        try:
            return await work(installer(root, pool))
        finally:
            pool.close()

    return asyncio.run(inside())


def is_change(event: str, arguments: tuple[object, ...]) -> bool:
    """Whether this is a step to die before."""
    if ".staging-" in str(arguments[0] if arguments else ""):
        # Nobody looks in there, so one file is like another.
        return str(arguments[0]).endswith(("bin", "__init__.py", MANIFEST))
    is_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
    return event in _CHANGES or bool(is_write)


def run_killed(root: Path, work: Work, before_change: int) -> bool:
    """Run in a process that dies before its n-th change; whether it died."""
    pid = os.fork()
    if pid == 0:
        seen = 0

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if not is_change(event, arguments):
                return
            seen += 1
            if seen == before_change:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(count)
            run(root, work)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def install(tree: Path) -> Work:
    async def work(one: Installer) -> object:
        return await one.install(tree, confirm_within_s=1.0)

    return work


async def undo(one: Installer) -> object:
    return await one.undo()


def mend(root: Path, nothing: Path) -> None:
    """The next run, which itself has nothing to install."""
    with pytest.raises(BundleError):
        run(root, install(nothing))


def installed(root: Path) -> str | None:
    """The version that is current; a link never leads to half a release."""
    places = Places(root)
    name = places.release("current")
    if name is None:
        return None
    return read_and_verify(places.releases / name).version


def each_death(first: Path, folder: Path, work: Work, *, every: int = 1) -> list[Path]:
    """A machine for each step (or every n-th) its installation was cut off at."""
    machines: list[Path] = []
    for step in range(1, _ENOUGH, every):
        root = copy_of(first, folder / f"step-{step}")
        if not run_killed(root, work, step):
            return machines
        machines.append(root)
    raise AssertionError("the installation does not end")


def test_a_first_installation_can_be_cut_off_anywhere(ground: Path) -> None:
    stock = stock_machine(ground / "stock")
    one = bundle(ground, "1.0")
    (ground / "nothing").mkdir()
    machines = each_death(stock, ground, install(one))
    assert len(machines) > 30
    for root in machines:
        assert installed(root) in {None, "1.0"}, root
        again = copy_of(root, ground / f"again-{root.name}")
        mend(root, ground / "nothing")
        if installed(root) is None:
            assert visible(root) == visible(stock), root
        run(again, install(one))
        assert installed(again) == "1.0"
        run(again, undo)
        assert visible(again) == visible(stock), again


def boot(root: Path) -> None:
    """The next boot: the mending unit runs, if it is there with what it starts."""
    starts = root / "etc/systemd/system/multi-user.target.wants" / MEND
    if starts.exists() and Places(root).release("current") is not None:
        run(root, boot_mend)


async def boot_mend(one: Installer) -> object:
    return await one.mend(confirm_within_s=1.0)


def must_be_all_or_nothing(root: Path, stock: Path) -> None:
    """Of the unit that mends, a file that nothing starts may be left."""
    there = visible(root)
    started = {name: there[name] for name in there if not name.endswith(MEND_LEFT)}
    if started != visible(stock):
        assert installed(root) == "1.0", root
        assert run(root, lambda one: one.place()) == [], root


@pytest.mark.parametrize("job", ["install", "undo"])
def test_a_boot_after_a_cut_leaves_all_or_nothing(ground: Path, job: str) -> None:
    """Without anybody who installs or undoes once more."""
    stock = stock_machine(ground / "stock")
    first, work = stock, install(bundle(ground, "1.0"))
    if job == "undo":
        first = copy_of(stock, ground / "installed")
        run(first, work)
        work = undo
    for root in each_death(first, ground, work):
        boot(root)
        must_be_all_or_nothing(root, stock)


def test_a_boot_after_a_cut_can_be_cut_off_anywhere(ground: Path) -> None:
    stock = stock_machine(ground / "stock")
    for root in each_death(stock, ground, install(bundle(ground, "1.0")), every=7):
        for again in each_death(root, ground / f"mend-{root.name}", boot_mend, every=5):
            boot(again)
            must_be_all_or_nothing(again, stock)


def test_an_upgrade_can_be_cut_off_anywhere(ground: Path) -> None:
    stock = stock_machine(ground / "stock")
    one, two, three = (bundle(ground, version) for version in ("1.0", "2.0", "3.0"))
    (ground / "nothing").mkdir()
    run(stock, install(one))
    run(stock, install(two))
    for root in each_death(stock, ground, install(three), every=3):
        assert installed(root) in {"2.0", "3.0"}, root
        mend(root, ground / "nothing")
        if installed(root) == "2.0":
            assert visible(root) == visible(stock), root
            assert (Places(root).release("previous") or "").startswith("1.0-"), root
        run(root, install(three))
        assert installed(root) == "3.0"
        run(root, undo)
        assert visible(root) == visible(stock), root


def test_an_undo_can_be_cut_off_anywhere(ground: Path) -> None:
    stock = stock_machine(ground / "stock")
    root = copy_of(stock, ground / "installed")
    run(root, install(bundle(ground, "1.0")))
    for cut_off in each_death(root, ground, undo):
        try:
            done = run(cut_off, undo)
        except NothingToUndoError:
            done = None
        assert done is None or getattr(done, "outcome", None) is Outcome.UNDONE
        assert installed(cut_off) is None
        assert visible(cut_off) == visible(stock), cut_off
