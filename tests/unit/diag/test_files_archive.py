# SPDX-License-Identifier: Apache-2.0
"""``get_diagnostics_files.py``: what was asked for, without secrets (boot-and-system.md 5.2)."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from ssvm_agent.diag import files_archive
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.files_archive import make_archive
from tests.fakes.checked_machine import TEXT, machine, put

PASSWORD = "kX7pQ2-root"


def there(tmp_path: Path, files: dict[str, str]) -> Facts:
    text = f"{TEXT} vmpassword={PASSWORD}"
    put(tmp_path, {"var/cache/cloud/cmdline": text, **files})
    return machine(tmp_path, text=text)


def content(archive: Path) -> dict[str, str]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name).decode("utf-8", "replace") for name in opened.namelist()}


def archives(folder: Path) -> list[Path]:
    return list(folder.glob("*.zip"))


async def test_files_are_packed_under_their_names(tmp_path: Path) -> None:
    facts = there(tmp_path, {"var/log/cloud.log": "a line\n", "etc/cloudstack-release": "4.22\n"})
    path = await make_archive(["/var/log/cloud.log", "/etc/cloudstack-release"], facts, tmp_path)
    assert path.parent == tmp_path
    assert path.name.startswith("diagnostics_files_")
    assert path.suffix == ".zip"
    assert content(path) == {
        "cloud.log": "a line\n",
        "cloudstack-release": "4.22\n",
        "fileinfo.txt": "/var/log/cloud.log\n/etc/cloudstack-release\n",
    }
    assert path.stat().st_mode & 0o777 == 0o600


async def test_what_is_not_there_is_listed(tmp_path: Path) -> None:
    facts = there(tmp_path, {})
    os.mkfifo(tmp_path / "pipe")
    path = await make_archive(["/no/such", "/pipe", "/var", "[REBOOT]"], facts, tmp_path)
    listed = content(path).pop("fileinfo.txt")
    assert "/no/such: File Not Found!!\n" in listed
    assert "/pipe: File Not Found!!\n" in listed
    assert "/var: File Not Found!!\n" in listed
    assert "[REBOOT]: known are iptables, " in listed


async def test_two_files_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    facts = there(tmp_path, {"a/x.log": "one", "b/x.log": "two"})
    found = content(await make_archive(["/a/x.log", "/b/x.log"], facts, tmp_path))
    assert (found["x.log"], found["2-x.log"]) == ("one", "two")


async def test_known_secrets_are_removed(tmp_path: Path) -> None:
    facts = there(tmp_path, {"log": f"password={PASSWORD}\nplain {PASSWORD}\nfine\n"})
    (tmp_path / "bytes").write_bytes(b"\xe9 odd\n")
    found = content(
        await make_archive(["/log", "/var/cache/cloud/cmdline", "/bytes"], facts, tmp_path)
    )
    assert PASSWORD not in "".join(found.values())
    assert "fine" in found["log"]
    assert found["bytes"] == "\N{REPLACEMENT CHARACTER} odd\n"


async def test_the_end_of_a_long_file_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_archive, "_LONGEST_BYTES", 1 << 20)
    facts = there(tmp_path, {"long": "first\n" + "x" * 99 + "\n" + "y\n" * (1 << 19)})
    found = content(await make_archive(["/long"], facts, tmp_path))
    assert found["long"].startswith("y\n")
    assert "the last 1 MiB" in found["fileinfo.txt"]


async def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files_archive, "_add", full)
    with pytest.raises(OSError, match="No space"):
        await make_archive(["/etc/hosts"], there(tmp_path, {}), tmp_path)
    assert archives(tmp_path) == []
