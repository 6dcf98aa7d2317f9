# SPDX-License-Identifier: Apache-2.0
"""``ssvm-agent demo`` runs unattended to its end, with its own images or the user's."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.fixtures.images import Images
from tests.fixtures.nginx import ServeDirectory


async def start_demo(temporary: Path, *options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ssvm_agent",
        "demo",
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(temporary), "COLUMNS": "120"},
    )


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def finished(demo: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(60):
        output, _ = await demo.communicate()
    return output.decode()


async def test_the_demo_brings_in_its_own_images(tmp_path: Path) -> None:
    demo = await start_demo(tmp_path)
    output = await finished(demo)
    assert demo.returncode == 0, output
    assert output.count("bit for bit") == 2
    assert "demo-iso" in output
    assert "template.properties" in output
    assert "nothing to object to" in output
    assert left_in(tmp_path) == []


@pytest.mark.needs("nginx", "qemu-img", "mkfs.ext4", "xz")
async def test_the_demo_brings_in_an_image_of_the_users(
    tmp_path: Path, images: Images, serve_directory: ServeDirectory
) -> None:
    image = images.compressed(images.disk("VHD"), "xz")
    site = serve_directory(images.root)
    demo = await start_demo(tmp_path, "--url", site.url(image.path), "--format", "VHD")
    output = await finished(demo)
    assert demo.returncode == 0, output
    assert image.path.name in output
    assert "100 %" in output


async def test_the_demo_says_what_went_wrong(tmp_path: Path) -> None:
    demo = await start_demo(tmp_path, "--url", "http://127.0.0.1:9/no.qcow2")
    output = await finished(demo)
    assert demo.returncode == 1
    assert "failed:" in output
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_demo_stays_for_playing_until_it_is_asked_to_end(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Also where the parent ignores SIGINT, as scripts do for what they start in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        demo = await start_demo(tmp_path, "--keep")
    finally:
        signal.signal(signal.SIGINT, before)
    assert demo.stdout is not None
    async with asyncio.timeout(60):
        async for line in demo.stdout:
            if line.strip().startswith(b"management server"):
                break
    demo.send_signal(number)
    output = await finished(demo)
    assert demo.returncode == 0, output
    assert "removed" in output
    assert left_in(tmp_path) == []
