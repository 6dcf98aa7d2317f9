# SPDX-License-Identifier: Apache-2.0
"""The images made without tools are what the tools take them for."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from ssvm_agent.simulator.demo_images import compress, write_iso, write_qcow2

MIB = 1 << 20


@pytest.mark.needs("qemu-img")
@pytest.mark.parametrize("virtual_size_bytes", [8 * MIB, 3 * 1024 * MIB + 512])
def test_the_disk_is_a_sound_qcow2(tmp_path: Path, virtual_size_bytes: int) -> None:
    disk = tmp_path / "disk.qcow2"
    write_qcow2(disk, virtual_size_bytes=virtual_size_bytes, data_bytes=5 * MIB)
    subprocess.run(["qemu-img", "check", "-f", "qcow2", disk], check=True, capture_output=True)
    info = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", disk]))
    assert info["format"] == "qcow2"
    assert info["virtual-size"] == virtual_size_bytes


@pytest.mark.needs("isoinfo")
def test_the_iso_holds_its_file(tmp_path: Path) -> None:
    iso = tmp_path / "image.iso"
    write_iso(iso, data_bytes=3 * MIB + 7)
    listed = subprocess.check_output(["isoinfo", "-l", "-i", iso], text=True)
    assert "DATA.BIN" in listed
    content = subprocess.check_output(["isoinfo", "-x", "/DATA.BIN;1", "-i", iso])
    assert len(content) == 3 * MIB + 7
    assert content[:2048] == iso.read_bytes()[21 * 2048 : 22 * 2048]


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_compressed_copies_unpack_with_the_usual_tools(tmp_path: Path, kind: str) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"some content\n" * 10_000)
    tool = {"gz": "gzip", "bz2": "bzip2", "xz": "xz"}[kind]
    unpacked = subprocess.check_output([tool, "-dc", compress(plain, kind)])
    assert unpacked == plain.read_bytes()
