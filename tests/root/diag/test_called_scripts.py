# SPDX-License-Identifier: Apache-2.0
"""The scripts management servers call over SSH, run where they lie (boot-and-system.md 0, 4.5).

Each runs in a mount namespace whose /etc, /opt, /root and /var are the machine's with some files on
top.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("unshare", "mount")]

ROOT = Path(__file__).parents[3]
SCRIPTS = ROOT / "scripts/system-vm/opt/cloud/bin"
BIN = "/opt/cloud/bin"
SIGNATURE = "ab" * 64

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(name="over")
def _over(tmp_path: Path) -> Path:
    """What lies on top of the machine's files."""
    over = tmp_path / "over"
    for name in ("etc", "root", "var/cache/cloud", "opt/cloud", "opt/ssvm-agent"):
        (over / name).mkdir(parents=True)
    shutil.copytree(SCRIPTS, over / "opt/cloud/bin")
    (over / "opt/ssvm-agent/current").symlink_to(ROOT / ".venv")
    return over


@pytest.fixture(name="call")
def _call(over: Path, tmp_path: Path) -> Call:
    """Run a line the way sshd does: by root's shell."""
    mounts = []
    for name in ("etc", "opt", "root", "var"):
        work = tmp_path / "work" / name
        work.mkdir(parents=True)
        options = f"lowerdir=/{name},upperdir={over / name},workdir={work}"
        mounts.append(f"mount -t overlay overlay -o {shlex.quote(options)} /{name}")

    def call(line: str) -> subprocess.CompletedProcess[str]:
        steps = "\n".join([*mounts, "cd /root", f"exec sh -c {shlex.quote(line)}"])
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-ec", steps],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    return call


@pytest.mark.parametrize("argument", [f"{BIN}/keystore*", f"'{BIN}/keystore*'"])
def test_patched_says_whether_files_are_there(call: Call, argument: str) -> None:
    """The starter asks so until the scripts are there (boot-and-system.md 4.2)."""
    done = call(f"{BIN}/patched.sh {argument}")
    assert done.returncode == 0
    assert "keystore-cert-import" in done.stdout
    assert "keystore-setup" in done.stdout


def test_patched_fails_while_they_are_not(call: Call) -> None:
    assert call(f"{BIN}/patched.sh {BIN}/no-such*").returncode != 0
    assert call(f"{BIN}/patched.sh").returncode == 2


def test_the_version_has_two_parts(call: Call, over: Path) -> None:
    """<release>&<signature> (boot-and-system.md 4.5)."""
    (over / "var/cache/cloud/boot_up_done").touch()
    (over / "var/cache/cloud/cloud-scripts-signature").write_text(f"{SIGNATURE}\n")
    (over / "etc/cloudstack-release").write_text("Cloudstack Release 4.22.0 R&D\nmore\n")
    done = call(f"{BIN}/get_template_version.sh")
    assert done.stdout == f"Cloudstack Release 4.22.0 RD&{SIGNATURE}\n"


def test_the_version_has_two_parts_on_a_bare_machine(call: Call, over: Path) -> None:
    """An empty second part would be no part at all for who splits the line."""
    (over / "var/cache/cloud/boot_up_done").touch()
    assert call(f"{BIN}/get_template_version.sh").stdout == "unknown&none\n"


def test_the_version_waits_for_the_end_of_the_boot(call: Call, over: Path) -> None:
    marker = "/var/cache/cloud/boot_up_done"
    done = call(f"{BIN}/get_template_version.sh & sleep 1; echo booted; touch {marker}; wait")
    assert done.stdout == "booted\nunknown&none\n"


@pytest.mark.needs("ping")
def test_a_diagnosis_answers_in_three_parts(call: Call) -> None:
    done = call(f"{BIN}/diagnostics.py ping 127.0.0.1 -c 1")
    stdout, stderr, status = (part.strip() for part in done.stdout.split("&&"))
    assert done.returncode == 0
    assert "1 received" in stdout
    assert (stderr, status) == ("", "0")


def test_files_are_archived_and_cleaned_up(call: Call, over: Path) -> None:
    """Both calls, as a management server makes them (boot-and-system.md 5.2)."""
    (over / "var/log").mkdir()
    (over / "var/log/cloud.log").write_text("a line\n")
    done = call(f"{BIN}/get_diagnostics_files.py [IPROUTE] /var/log/cloud.log /no/such")
    assert done.returncode == 0, done.stderr
    printed = Path(done.stdout.strip())
    assert printed.parent == Path("/root")
    with zipfile.ZipFile(over / str(printed).lstrip("/")) as archive:
        assert archive.read("cloud.log") == b"a line\n"
        assert "/no/such: File Not Found!!" in archive.read("fileinfo.txt").decode()
        assert "iproute.log" in archive.namelist()
    assert call(f"{BIN}/cleanup.sh {printed}").stdout.strip().endswith(str(printed))
    assert not (over / str(printed).lstrip("/")).exists()
    assert "not found" in call(f"{BIN}/cleanup.sh {printed}").stdout


@pytest.mark.parametrize(
    "name",
    ["/root/.bashrc", "/root/diagnostics_files_/../kept.zip", "diagnostics_files_1.zip", "/"],
)
def test_cleaning_up_removes_nothing_else(call: Call, over: Path, name: str) -> None:
    for kept in ("diagnostics_files_1.zip", "kept.zip", ".bashrc"):
        (over / "root" / kept).touch()
    (over / "root/diagnostics_files_").mkdir()
    done = call(f"{BIN}/cleanup.sh {name}")
    assert done.returncode == 1
    assert "nothing was removed" in done.stderr
    for kept in ("diagnostics_files_1.zip", "kept.zip", ".bashrc"):
        assert (over / "root" / kept).exists()


def test_cleaning_up_wants_one_name(call: Call) -> None:
    assert call(f"{BIN}/cleanup.sh").returncode == 2


def test_every_script_of_the_interface_is_there_and_executable() -> None:
    """The names are a wire interface (boot-and-system.md 0, fact 7)."""
    names = (
        "patched.sh", "get_template_version.sh", "keystore-setup", "keystore-cert-import",
        "diagnostics.py", "get_diagnostics_files.py", "cleanup.sh",
    )  # fmt: skip
    assert [name for name in names if not (SCRIPTS / name).stat().st_mode & 0o111] == []
