# SPDX-License-Identifier: Apache-2.0
"""What scenarios get: the lab with a booted guest, and a report that ends in a table."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.vm.lab.boot_line import boot_line
from tests.vm.lab.evidence import note_evidence
from tests.vm.lab.guest import Guest
from tests.vm.lab.image import Image, system_vm_image
from tests.vm.lab.report import Scenario, table
from tests.vm.lab.world import World, world

_REPORTS: Final = Path(os.environ.get("SSVM_VM_REPORTS", "build/vm-reports"))
_SCENARIOS: Final = pytest.StashKey[list[Scenario]]()
_PASSED: Final = pytest.StashKey[bool]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without ``-m`` only the short set boots a guest: ``@pytest.mark.vm(short=True)``."""
    if config.option.markexpr:
        return
    long = [
        item
        for item in items
        if (marker := item.get_closest_marker("vm")) and not marker.kwargs.get("short")
    ]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="session")
def guest_image() -> Iterator[Image]:
    """The system VM's image, made when it is not cached."""
    with system_vm_image() as image:
        yield image


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Networks, stores, images and a management server; no guest yet.

    A module that says ``STORAGE_NETWORK = True`` has a zone with one.
    """
    storage_network = getattr(request.module, "STORAGE_NETWORK", False)
    # A socket's name has 107 bytes, and NFS exports no tmpfs: a short path on the machine's disk.
    folder = Path(tempfile.mkdtemp(prefix="lab", dir="/var/tmp"))
    try:
        async with world(folder, storage_network=storage_network) as made:
            yield made
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guest(lab: World, guest_image: Image) -> AsyncIterator[Guest]:
    """A guest that has booted and is Up, shared by the scenarios of a module."""
    machine = Guest(
        guest_image,
        lab.folder / "guest",
        boot_line=boot_line(lab.networks, lab.shell.authorized_key),
        nics=lab.networks.nics(),
    )
    async with machine:
        try:
            await lab.up()
            yield machine
        finally:
            _REPORTS.mkdir(parents=True, exist_ok=True)
            (_REPORTS / "console.txt").write_text(machine.console)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember how the body of a test ended, for its report."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call":
        item.stash[_PASSED] = report.passed


@pytest_asyncio.fixture(loop_scope="module")
async def scenario(request: pytest.FixtureRequest) -> AsyncIterator[Scenario]:
    """The report of the test that runs: its timeline, and how long healing took."""
    one = Scenario(request.node.name.removeprefix("test_"))
    request.config.stash.setdefault(_SCENARIOS, []).append(one)
    yield one
    passed = request.node.stash.get(_PASSED, False)
    if not passed and "guest" in request.fixturenames:
        lab: World = request.getfixturevalue("lab")
        machine: Guest = request.getfixturevalue("guest")
        await note_evidence(one, lab.shell, machine.console)
    one.end("passed" if passed else "FAILED")
    one.write(_REPORTS)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """The table of all scenarios."""
    scenarios = config.stash.get(_SCENARIOS, [])
    if not scenarios:
        return
    terminalreporter.section("scenarios in the guest")
    for line in table(scenarios):
        terminalreporter.line(line)
    terminalreporter.line(f"timelines: {_REPORTS}")
