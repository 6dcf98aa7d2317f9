# SPDX-License-Identifier: Apache-2.0
"""Installing in a running machine: confirmation by the link, going back, refusals (R29)."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import ProgramResult
from ssvm_agent.payload import journal, signature
from ssvm_agent.payload.errors import (
    BundleError,
    NothingToUndoError,
    PayloadError,
    WrongMachineError,
)
from ssvm_agent.payload.installer import Installer, Outcome, Verdict
from ssvm_agent.payload.manifest import MANIFEST
from ssvm_agent.payload.places import Places
from ssvm_agent.payload.services import Services
from tests.fakes.machine import FakeClock, FakeRunner
from tests.fakes.payload_machine import bundle, stock_machine, visible


class Machine:
    """A machine whose agent reports a link as soon as it is started anew, if it can."""

    def __init__(self, root: Path) -> None:
        self.root = stock_machine(root)
        self.places = Places(self.root)
        self.clock = FakeClock()
        self.runner = FakeRunner(self.react)
        self.said: list[str] = []
        self.broken: set[str | None] = set()
        self.starts = 1
        self.pool = WorkPool("local disk", threads=1)
        services = Services(self.places, self.runner, is_running=True)
        self.installer = Installer(
            self.places, services, pool=self.pool, clock=self.clock, say=self.said.append
        )

    def react(self, argv: list[str]) -> ProgramResult | None:
        if "restart" in argv:
            self.start()
            works = self.version() not in self.broken
            self.report("ready" if works else "connecting", last_error="no route to host")
        if "--property=InvocationID" in argv:
            return ProgramResult(returncode=0, stdout=f"{self.invocation}\n".encode(), stderr=b"")
        return None

    @property
    def invocation(self) -> str:
        """Of the agent that runs."""
        return f"start {self.starts}" if self.starts else ""

    def start(self) -> None:
        self.starts += 1

    def report(self, state: str, **more: Any) -> None:
        fields = {"state": state, "invocation": self.invocation, **more}
        self.places.state.mkdir(parents=True, exist_ok=True)
        self.places.link_status.write_text(json.dumps(fields))

    def version(self) -> str | None:
        release = self.places.release("current")
        return release.partition("-")[0] if release else None

    @property
    def restarts(self) -> int:
        return sum("restart" in call for call in self.runner.calls)

    def stage(self) -> journal.Stage:
        record = journal.read(self.places.journal)
        assert record is not None
        return record.stage

    def install(self, tree: Path, **more: Any) -> Verdict:
        return asyncio.run(self.installer.install(tree, confirm_within_s=30.0, **more))

    def undo(self) -> Verdict:
        return asyncio.run(self.installer.undo())

    def mend(self) -> Verdict | None:
        return asyncio.run(self.installer.mend(confirm_within_s=30.0))


@pytest.fixture(name="machine")
def _machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "root")
    yield machine
    machine.pool.close()


def test_an_agent_that_reaches_its_server_is_kept(machine: Machine, tmp_path: Path) -> None:
    done = machine.install(bundle(tmp_path, "1.0"))
    assert done.outcome is Outcome.INSTALLED
    assert done.before is None
    assert machine.version() == "1.0"
    assert machine.stage() is journal.Stage.CONFIRMED
    assert machine.restarts == 1


def test_the_same_bundle_again_changes_nothing(machine: Machine, tmp_path: Path) -> None:
    tree = bundle(tmp_path, "1.0")
    machine.install(tree)
    done = machine.install(tree)
    assert done.outcome is Outcome.UNCHANGED
    assert machine.restarts == 1


def test_the_same_bundle_mends_what_was_overwritten(machine: Machine, tmp_path: Path) -> None:
    """A live patch replaces scripts (boot-and-system.md 4.5)."""
    tree = bundle(tmp_path, "1.0")
    machine.install(tree)
    script = machine.root / "opt/cloud/bin/patched.sh"
    script.write_text("a newer stock script\n")
    asyncio.run(machine.installer.place())
    assert "1.0" in script.read_text()
    machine.undo()
    assert script.read_text() == "a newer stock script\n"


def test_an_agent_without_a_link_is_taken_back(machine: Machine, tmp_path: Path) -> None:
    before = visible(machine.root)
    machine.broken.add("1.0")
    done = machine.install(bundle(tmp_path, "1.0"))
    assert done.outcome is Outcome.ROLLED_BACK
    assert "no route to host" in done.reason
    assert machine.version() is None
    assert visible(machine.root) == before
    assert machine.restarts == 2
    assert list(machine.places.releases.iterdir()) == []


def test_an_upgrade_without_a_link_goes_back_to_the_release_before(
    machine: Machine, tmp_path: Path
) -> None:
    for version in ("1.0", "2.0"):
        machine.install(bundle(tmp_path, version))
    before = visible(machine.root)
    machine.broken.add("3.0")
    done = machine.install(bundle(tmp_path, "3.0"))
    assert done.outcome is Outcome.ROLLED_BACK
    assert machine.version() == "2.0"
    assert (machine.places.release("previous") or "").startswith("1.0-")
    assert visible(machine.root) == before


@pytest.mark.parametrize("starts", [0, 1])
def test_the_word_of_the_agent_before_confirms_nothing(
    machine: Machine, tmp_path: Path, starts: int
) -> None:
    """Neither while it is on its way out nor when the one that came has said nothing yet."""

    def react(argv: list[str]) -> ProgramResult | None:
        if "restart" in argv:
            machine.starts += starts
            return None
        return machine.react(argv)

    machine.runner.react = react
    machine.report("ready")
    done = machine.install(bundle(tmp_path, "1.0"))
    assert done.outcome is Outcome.ROLLED_BACK
    assert "did not start" in done.reason


def test_a_clock_set_back_does_not_hide_the_link(machine: Machine, tmp_path: Path) -> None:
    """A boot's clock is the host's until a time server answers."""
    machine.install(bundle(tmp_path, "1.0"))
    cut_off(machine, journal.Stage.SWITCHED)
    machine.clock.wall -= timedelta(hours=2)
    machine.start()
    machine.report("ready")
    done = machine.mend()
    assert done is not None
    assert done.outcome is Outcome.INSTALLED


def test_the_last_word_before_a_cut_confirms_nothing(machine: Machine, tmp_path: Path) -> None:
    machine.install(bundle(tmp_path, "1.0"))
    cut_off(machine, journal.Stage.SWITCHED)
    machine.starts = 0
    done = machine.mend()
    assert done is not None
    assert done.outcome is Outcome.ROLLED_BACK
    assert "did not start" in done.reason


def test_current_and_previous_are_kept_and_no_more(machine: Machine, tmp_path: Path) -> None:
    for version in ("1.0", "2.0", "3.0"):
        machine.install(bundle(tmp_path, version))
    kept = sorted(path.name.partition("-")[0] for path in machine.places.releases.iterdir())
    assert kept == ["2.0", "3.0"]
    assert not (machine.root / "opt/cloud/bin/only-in-2.0").exists()


def test_undo_leads_to_the_release_before_and_then_to_the_stock_service(
    machine: Machine, tmp_path: Path
) -> None:
    before = visible(machine.root)
    for version in ("1.0", "2.0"):
        machine.install(bundle(tmp_path, version))
    assert (machine.undo().release or "").startswith("1.0-")
    assert machine.undo().release is None
    assert visible(machine.root) == before
    with pytest.raises(NothingToUndoError):
        machine.undo()


def test_units_that_did_not_start_at_boot_do_not_after_an_undo(
    machine: Machine, tmp_path: Path
) -> None:
    """Also when something was installed in between."""
    state = {"cloud.service": b"disabled\n"}

    def react(argv: list[str]) -> ProgramResult | None:
        if "enable" in argv:
            state["cloud.service"] = b"enabled\n"
        if "is-enabled" in argv:
            return ProgramResult(returncode=1, stdout=state.get(argv[-1], b""), stderr=b"")
        return machine.react(argv)

    machine.runner.react = react
    for version in ("1.0", "2.0"):
        machine.install(bundle(tmp_path, version))
    for _ in range(2):
        machine.undo()
    disabled = [call[3:] for call in machine.runner.calls if "disable" in call]
    assert disabled == [["cloud-preinit.service", "cloud.service"]]
    assert not machine.places.enablement.exists()


def cut_off(machine: Machine, stage: journal.Stage) -> None:
    """As if power had been lost then."""
    record = journal.read(machine.places.journal)
    assert record is not None
    journal.write(machine.places.journal, record.at(stage, machine.clock.now()))


def test_the_boot_after_a_cut_waits_for_the_link(machine: Machine, tmp_path: Path) -> None:
    machine.install(bundle(tmp_path, "1.0"))
    cut_off(machine, journal.Stage.SWITCHED)
    machine.start()
    machine.report("ready")
    done = machine.mend()
    assert done is not None
    assert done.outcome is Outcome.INSTALLED
    assert machine.restarts == 1, "what is complete is not started anew"
    assert machine.mend() is None


def test_the_boot_after_a_cut_goes_back_when_there_is_no_link(
    machine: Machine, tmp_path: Path
) -> None:
    for version in ("1.0", "2.0"):
        machine.install(bundle(tmp_path, version))
    cut_off(machine, journal.Stage.SWITCHED)
    machine.start()
    machine.report("connecting", last_error="no route to host")
    done = machine.mend()
    assert done is not None
    assert done.outcome is Outcome.ROLLED_BACK
    assert "cut off; no management server was reached within 30 s: no route" in done.reason
    assert machine.version() == "1.0"


def test_the_boot_after_a_cut_carries_an_undo_to_its_end(machine: Machine, tmp_path: Path) -> None:
    before = visible(machine.root)
    machine.install(bundle(tmp_path, "1.0"))
    cut_off(machine, journal.Stage.UNDOING)
    done = machine.mend()
    assert done is not None
    assert done.outcome is Outcome.UNDONE
    assert visible(machine.root) == before


def test_a_downgrade_is_said_plainly(machine: Machine, tmp_path: Path) -> None:
    machine.install(bundle(tmp_path, "1.10"))
    machine.install(bundle(tmp_path, "1.9"))
    assert any("downgrade: 1.10" in text for text in machine.said)


def test_a_damaged_bundle_is_refused(machine: Machine, tmp_path: Path) -> None:
    before = visible(machine.root)
    tree = bundle(tmp_path, "1.0")
    (tree / "bin/ssvm-agent").write_text("other")
    with pytest.raises(BundleError, match="bin/ssvm-agent is missing or damaged"):
        machine.install(tree)
    (tree / "bin/ssvm-agent").unlink()
    with pytest.raises(BundleError, match="bin/ssvm-agent is missing or damaged"):
        machine.install(tree)
    assert visible(machine.root) == before
    assert machine.restarts == 0


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_truncated_manifest_is_refused(machine: Machine, tmp_path: Path, cut: int) -> None:
    tree = bundle(tmp_path, "1.0")
    os.truncate(tree / MANIFEST, cut)
    with pytest.raises(BundleError, match="damaged"):
        machine.install(tree)


def test_a_stranger_in_the_bundle_is_refused(machine: Machine, tmp_path: Path) -> None:
    tree = bundle(tmp_path, "1.0")
    (tree / "extra").write_text("x")
    with pytest.raises(BundleError, match="extra is not part of the bundle"):
        machine.install(tree)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("architecture", "aarch64", "this machine is"), ("python", "3.9", "this machine has")],
)
def test_a_bundle_for_another_machine_is_refused(
    machine: Machine, tmp_path: Path, field: str, value: str, words: str
) -> None:
    tree = bundle(tmp_path, "1.0")
    document = json.loads((tree / MANIFEST).read_bytes())
    if document[field] == value:
        value = "x86_64"
    (tree / MANIFEST).write_text(json.dumps({**document, field: value}))
    with pytest.raises(WrongMachineError, match=words):
        machine.install(tree)


def test_signatures(machine: Machine, tmp_path: Path) -> None:
    """Unsigned, signed by another, signed and changed, and good."""
    tree = bundle(tmp_path, "1.0")
    ours, other = _key(tmp_path, "ours"), _key(tmp_path, "other")
    with pytest.raises(BundleError, match="not signed"):
        machine.install(tree, trusted_key=ours.with_suffix(".pub"))
    signature.sign(tree, other)
    with pytest.raises(BundleError, match="not by"):
        machine.install(tree, trusted_key=ours.with_suffix(".pub"))
    signature.sign(tree, ours)
    done = machine.install(tree, trusted_key=ours.with_suffix(".pub"))
    assert done.outcome is Outcome.INSTALLED


def test_a_full_disk_leaves_everything_as_it_was(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = visible(machine.root)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(OSError, match="No space left"):
        machine.install(bundle(tmp_path, "1.0"))
    assert visible(machine.root) == before
    assert list(machine.places.releases.iterdir()) == []
    assert machine.stage() is journal.Stage.ROLLED_BACK
    assert machine.restarts == 0


def test_a_second_installation_at_the_same_time_is_refused(
    machine: Machine, tmp_path: Path
) -> None:
    tree = bundle(tmp_path, "1.0")

    def install_again(argv: list[str]) -> ProgramResult | None:
        if "restart" in argv:
            with pytest.raises(PayloadError, match="Another installation"):
                Machine(machine.root).install(tree)
        return machine.react(argv)

    machine.runner.react = install_again
    assert machine.install(tree).outcome is Outcome.INSTALLED


def _key(folder: Path, name: str) -> Path:
    key = Ed25519PrivateKey.generate()
    private = folder / f"{name}.pem"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    private.with_suffix(".pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private
