# SPDX-License-Identifier: Apache-2.0
"""Key pairs as OpenSSH reads them (boot-and-system.md 3.2)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ssvm_agent.delivery.cli import main


@pytest.mark.needs("ssh-keygen")
@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_openssh_reads_the_pair(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "id_rsa"
    assert main(["keys", "generate", str(path), "--type", kind]) == 0
    line = capsys.readouterr().out
    assert (tmp_path / "id_rsa.pub").read_text() == line
    assert path.stat().st_mode & 0o777 == 0o600
    derived = subprocess.run(
        ["ssh-keygen", "-y", "-f", path], capture_output=True, check=True, text=True
    ).stdout
    assert derived.split()[:2] == line.split()[:2]


def test_a_key_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "id_rsa"
    path.write_text("mine")
    assert main(["keys", "generate", str(path)]) == 1
    assert "never overwritten" in capsys.readouterr().err
    assert path.read_text() == "mine"
