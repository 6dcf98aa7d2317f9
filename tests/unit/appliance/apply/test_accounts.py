# SPDX-License-Identifier: Apache-2.0
"""Passwords go to chpasswd's standard input and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ssvm_agent.appliance.apply.accounts import Accounts
from ssvm_agent.appliance.apply.report import Status
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import ProgramResult
from tests.fakes.machine import FakeRunner, beside_the_loop


@pytest.fixture(name="pool")
def _pool() -> Iterator[WorkPool]:
    pool = WorkPool("test", threads=1)
    yield pool
    pool.close()


def machine(shadow: Path) -> FakeRunner:
    def react(_: list[str]) -> ProgramResult | None:
        shadow.write_text(shadow.read_text().replace("$old", "$new"))
        return None

    return FakeRunner(react=react)


@pytest.fixture(name="shadow")
def _shadow(tmp_path: Path) -> Path:
    path = tmp_path / "shadow"
    path.write_text("root:$old$:1\ncloud:$old$:1\ndaemon:*:1\n")
    return path


async def test_the_password_of_the_text_is_set_once(shadow: Path, pool: WorkPool) -> None:
    runner, remembered = machine(shadow), dict[str, str]()
    accounts = Accounts(runner=runner, pool=pool, remembered=remembered, shadow=shadow)
    assert (await accounts.set_root("kX7:pQ2", dry_run=False)).status is Status.CHANGED
    assert (await accounts.set_root("kX7:pQ2", dry_run=False)).status is Status.UNCHANGED
    assert runner.calls == [["chpasswd"]]
    assert runner.inputs == [b"root:kX7:pQ2\n"]
    assert "kX7" not in str(remembered)


async def test_a_password_somebody_changed_is_set_again(shadow: Path, pool: WorkPool) -> None:
    accounts = Accounts(runner=machine(shadow), pool=pool, remembered={}, shadow=shadow)
    await accounts.set_root("x", dry_run=False)
    beside_the_loop(shadow.write_text, "root:$other$:1\n")
    assert (await accounts.set_root("x", dry_run=False)).status is Status.CHANGED


async def test_nobody_knows_the_password_of_cloud(shadow: Path, pool: WorkPool) -> None:
    """boot-and-system.md 1.5."""
    runner = machine(shadow)
    accounts = Accounts(runner=runner, pool=pool, remembered={}, shadow=shadow)
    item = await accounts.close_cloud(dry_run=False)
    assert item is not None
    assert item.status is Status.CHANGED
    (given,) = runner.inputs
    assert given is not None
    assert len(given) > 40


@pytest.mark.parametrize("text", ["root:$old$:1\n", "cloud:!:1\n", "cloud:*:1\n", ""])
async def test_a_closed_or_missing_account_is_left_alone(
    shadow: Path, pool: WorkPool, text: str
) -> None:
    beside_the_loop(shadow.write_text, text)
    accounts = Accounts(runner=machine(shadow), pool=pool, remembered={}, shadow=shadow)
    assert await accounts.close_cloud(dry_run=False) is None


async def test_a_dry_run_sets_nothing(shadow: Path, pool: WorkPool) -> None:
    runner = machine(shadow)
    accounts = Accounts(runner=runner, pool=pool, remembered={}, shadow=shadow)
    assert (await accounts.set_root("x", dry_run=True)).status is Status.WOULD_CHANGE
    assert runner.calls == []


async def test_a_refusal_is_told_without_the_password(shadow: Path, pool: WorkPool) -> None:
    def refuse(_: list[str]) -> ProgramResult:
        return ProgramResult(returncode=1, stdout=b"", stderr=b"Authentication token lock busy")

    accounts = Accounts(runner=FakeRunner(react=refuse), pool=pool, remembered={}, shadow=shadow)
    item = await accounts.set_root("geheim", dry_run=False)
    assert item.status is Status.FAILED
    assert "geheim" not in item.reason
