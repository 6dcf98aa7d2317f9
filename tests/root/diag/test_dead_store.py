# SPDX-License-Identifier: Apache-2.0
"""``ssvm-check`` beside a store whose server is gone: a real mount on which every access hangs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs("mount", "umount"),
    pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="the kernel offers no FUSE here"),
]

_HOUSE = "allow_other,default_permissions,rootmode=40000,user_id=0,group_id=0"


@pytest.fixture
def mount_root(tmp_path: Path) -> Iterator[Path]:
    """Two stores: ``alive``, and ``dead``, whose file system is answered by nobody."""
    root = tmp_path / "mnt"
    for name in ("alive", "dead"):
        (root / name).mkdir(parents=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    subprocess.run(["mount", "-t", "tmpfs", "somebody", root / "alive"], check=True)
    try:
        # -i: without the helper for FUSE, which would want a program that answers.
        subprocess.run(
            ["mount", "-i", "-t", "fuse", "-o", f"fd={device},{_HOUSE}", "nobody", root / "dead"],
            check=True,
            pass_fds=[device],
        )
        try:
            yield root
        finally:
            # Ends the connection, so that whoever still waits gets an error.
            os.close(device)
            subprocess.run(["umount", "--lazy", root / "dead"], check=True)
    finally:
        subprocess.run(["umount", root / "alive"], check=True)


def check(mount_root: Path, *words: str, within_s: float = 30) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("ssvm-check")
    settings = ["zone=1", "pod=1", "guid=s-1-VM", "name=s-1-VM", f"mount_root={mount_root}"]
    options = [word for setting in settings for word in ("--set", setting)]
    return subprocess.run(
        [program, "--boot-text", mount_root / "none", *options, *words],
        capture_output=True, text=True, timeout=within_s, check=False,
    )  # fmt: skip


def test_a_dead_store_is_a_finding_and_the_others_are_still_looked_at(mount_root: Path) -> None:
    """requirements R28: a check never hangs."""
    ended = check(mount_root, "--json", "storage")
    assert ended.returncode == 1, ended.stderr
    [found] = json.loads(ended.stdout)["checks"]
    assert found["elapsed_s"] < 25
    of_errors = [part for part in found["parts"] if part["status"] == "error"]
    assert len(of_errors) == 1, found["parts"]
    assert str(mount_root / "dead") in of_errors[0]["what"]
    assert of_errors[0]["remedy"]
    assert any("store somebody" in part["what"] for part in found["parts"])
