# SPDX-License-Identifier: Apache-2.0
"""Real images from a real web server, in every wrapping, and the server going away in between."""

from __future__ import annotations

import hashlib
import os
import subprocess
from contextlib import aclosing
from pathlib import Path

import pytest

from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.ingest.checksum import ExpectedChecksum
from ssvm_agent.ingest.errors import SourceRestartedError
from ssvm_agent.ingest.source import ResumePoint
from tests.fakes.ingest import ingest_rig
from tests.fixtures.nginx import ServeDirectory

MIB = 1 << 20

PACKERS = {
    "gz": ["gzip", "-k"],
    "bz2": ["bzip2", "-k"],
    "xz": ["xz", "-k", "-1"],
    "zst": ["zstd", "-q"],
    "zip": ["zip", "-q", "disk.zip"],
}


def run(*argv: str | Path, cwd: Path | None = None) -> None:
    subprocess.run(argv, cwd=cwd, check=True)


def make_disk(directory: Path) -> Path:
    """A QCOW2 image with random and empty places; 8 MiB of 64 MiB are used."""
    raw = directory / "raw"
    with raw.open("wb") as file:
        file.truncate(64 * MIB)
        for place in range(8):
            file.seek(place * 7 * MIB)
            file.write(os.urandom(MIB))
    disk = directory / "disk.qcow2"
    run("qemu-img", "convert", "-O", "qcow2", raw, disk)
    raw.unlink()
    return disk


@pytest.mark.needs("nginx", "qemu-img", "bzip2", "xz", "zstd", "zip")
@pytest.mark.parametrize("packing", [None, *PACKERS])
async def test_a_disk_is_installed_as_it_was(
    tmp_path: Path, serve_directory: ServeDirectory, packing: str | None
) -> None:
    """requirements R16."""
    root = tmp_path / "www"
    root.mkdir()
    disk = sent = make_disk(root)
    if packing is not None:
        run(*PACKERS[packing], disk.name, cwd=root)
        sent = root / ("disk.zip" if packing == "zip" else f"disk.qcow2.{packing}")
    expected = ExpectedChecksum.parse(hashlib.sha256(sent.read_bytes()).hexdigest())
    server = serve_directory(root)
    async with ingest_rig(tmp_path) as rig:
        installed = await rig.run(
            rig.source(server.url(sent)), image_format=ImageFormat.QCOW2, checksum=expected
        )
        target = rig.root / installed.install_path
        assert target.read_bytes() == disk.read_bytes()
        assert installed.virtual_size_bytes == 64 * MIB
        assert installed.physical_size_bytes == disk.stat().st_size
        assert rig.progress.bytes_expected == sent.stat().st_size


@pytest.mark.needs("nginx", "qemu-img")
@pytest.mark.parametrize(
    ("name", "options"),
    [("VHD", ["-O", "vpc"]), ("VHD", ["-O", "vpc", "-o", "subformat=fixed,force_size"]),
     ("VHDX", ["-O", "vhdx"]), ("VDI", ["-O", "vdi"]), ("VMDK", ["-O", "vmdk"]),
     ("VMDK", ["-O", "vmdk", "-o", "subformat=streamOptimized"]), ("RAW", ["-O", "raw"])],
)  # fmt: skip
async def test_every_format_has_its_virtual_size(
    tmp_path: Path, serve_directory: ServeDirectory, name: str, options: list[str]
) -> None:
    """requirements R20."""
    root = tmp_path / "www"
    root.mkdir()
    disk = make_disk(root)
    sent = root / "image"
    run("qemu-img", "convert", *options, disk, sent)
    server = serve_directory(root)
    async with ingest_rig(tmp_path) as rig:
        installed = await rig.run(rig.source(server.url(sent)), image_format=ImageFormat(name))
        assert (rig.root / installed.install_path).read_bytes() == sent.read_bytes()
        assert abs(installed.virtual_size_bytes - 64 * MIB) <= MIB


@pytest.mark.needs("nginx")
async def test_the_rest_of_a_file_is_had_from_a_real_server_unless_it_changed(
    tmp_path: Path, serve_directory: ServeDirectory
) -> None:
    """requirements R7, R35."""
    root = tmp_path / "www"
    root.mkdir()
    body = os.urandom(4 * MIB)
    (root / "i.raw").write_bytes(body)
    server = serve_directory(root)
    async with ingest_rig(tmp_path) as rig:
        source = rig.source(server.url("i.raw"))
        async with aclosing(source.open(rig.progress)) as pieces:
            await anext(pieces)
        validator = source.validator
        assert validator is not None
        point = ResumePoint(offset=3 * MIB, validator=validator)
        source = rig.source(server.url("i.raw"))
        rest = [bytes(piece) async for piece in source.open(rig.progress, resume=point)]
        assert b"".join(rest) == body[3 * MIB :]
        (root / "i.raw").write_bytes(body + b"more")
        source = rig.source(server.url("i.raw"))
        with pytest.raises(SourceRestartedError):
            await anext(source.open(rig.progress, resume=point))
    assert '" 206 ' in server.requests()[1]
