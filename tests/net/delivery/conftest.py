# SPDX-License-Identifier: Apache-2.0
"""Machines with sshd, and the command as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.ssh_machines import SshMachine, make_key

PROGRAM = (
    sys.executable,
    "-c",
    "import sys; from ssvm_agent.delivery.cli import main; sys.exit(main())",
)


@dataclass
class Rig:
    """Keys ``old`` and ``new``, and what the command needs to know."""

    folder: Path
    old: Path
    new: Path

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def words(self, *words: str) -> list[str]:
        """A command line; host keys are recorded in the test's own file."""
        return [*PROGRAM, *words, "--known-hosts", str(self.known_hosts)]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(*words),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "XDG_STATE_HOME": str(self.folder)},
        )

    def json(self, *words: str) -> dict[str, Any]:
        done = self.run(*words, "--json")
        try:
            content: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            pytest.fail(f"{done.returncode}\n{done.stdout}\n{done.stderr}")
        assert content["exit_code"] == done.returncode
        return {**content, "stderr": done.stderr}

    def rotate(self, *words: str) -> dict[str, Any]:
        keys = ("--old-key", str(self.old), "--new-key", str(self.new))
        return self.json("keys", "rotate", *keys, *words)


def logs_in(machine: SshMachine, key: Path) -> bool:
    """Whether OpenSSH's own client gets in."""
    words = [
        "ssh", "-i", str(key), "-p", str(machine.port), "-o", "IdentitiesOnly=yes", "-o",
        "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
        "-F", "none", "root@127.0.0.1", "true",
    ]  # fmt: skip
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(
        folder=tmp_path,
        old=make_key(tmp_path / "old", "-t", "ecdsa", "-m", "PEM"),
        new=make_key(tmp_path / "new", "-t", "ecdsa"),
    )


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[..., SshMachine]]:
    """Makes machines; they are gone at the end."""
    made: list[SshMachine] = []

    def make(name: str, **facts: Any) -> SshMachine:
        made.append(SshMachine(root=tmp_path / name, name=name, **facts))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def system_vm(rig: Rig, machine: Callable[..., SshMachine]) -> SshMachine:
    """A running system VM that the old key opens."""
    made = machine("vm")
    made.allow(rig.old.with_suffix(".pub").read_text())
    made.start()
    return made
