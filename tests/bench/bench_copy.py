# SPDX-License-Identifier: Apache-2.0
"""Copies and checksums beside the programs everybody uses for them.

A copy that was answered is on disk, since the server deletes the source next; so the yardstick is
``cp`` followed by ``sync`` of the one file. The time of ``cp`` alone is told too.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from ssvm_agent.simulator import commands
from ssvm_agent.simulator.model import Message
from tests.bench.rig import Measurement, Rig, running, timed_program, website

MIB: Final = 1 << 20
GIB: Final = 1 << 30
_ROUNDS: Final = 5  # of which the quickest counts, on both sides
_STORE_TO: Final = "com.cloud.agent.api.to.NfsTO"
_VOLUME_TO: Final = "org.apache.cloudstack.storage.to.VolumeObjectTO"
_DIRECTORY: Final = "volumes/2/5"


def _store(root: Path) -> dict[str, object]:
    return {_STORE_TO: {"_url": f"file://{root}", "_role": "Image"}}


def _copy_command(source: Path, target: Path, path: str) -> Message:
    def volume(root: Path, place: str) -> dict[str, object]:
        return {_VOLUME_TO: {"dataStore": _store(root), "path": place, "id": 5}}

    return commands.command(
        "org.apache.cloudstack.storage.command.CopyCommand",
        srcTO=volume(source, path), destTO=volume(target, _DIRECTORY), executeInSequence=False,
    )  # fmt: skip


async def _seconds(rig: Rig, message: Message) -> float:
    start = time.perf_counter()
    answer = await rig.server.ask(message)
    seconds = time.perf_counter() - start
    assert answer.fields["result"], answer.fields
    return seconds


def _settle(folder: Path) -> None:
    subprocess.run(["sync", "-f", str(folder)], check=True)


def _blocks(path: Path) -> int:
    return path.stat().st_blocks


def _sparse_disk(path: Path, size_bytes: int, data_bytes: int) -> None:
    """A raw disk with its data in 64 places."""
    path.parent.mkdir(parents=True, exist_ok=True)
    piece = data_bytes // 64
    with path.open("wb") as file:
        file.truncate(size_bytes)
        for number in range(64):
            file.seek(number * (size_bytes // 64))
            file.write(os.urandom(piece))


async def sparse_copy(folder: Path, scale: float) -> AsyncIterator[Measurement]:
    """A volume of 4 GiB with 512 MiB of data to another store, beside cp."""
    with website(folder) as site:
        async with running(folder, site) as rig:
            other, path = folder / "other", f"{_DIRECTORY}/v.raw"
            other.mkdir()
            disk, copy = rig.store / path, other / path
            _sparse_disk(disk, int(4 * GIB * scale), int(512 * MIB * scale))
            ours, theirs, bare = [], [], []
            share = 0.0
            for _ in range(_ROUNDS):
                _settle(folder)
                ours.append(await _seconds(rig, _copy_command(rig.store, other, path)))
                share = max(share, _blocks(copy) / _blocks(disk))
                copy.unlink()
                _settle(folder)
                cp = ["cp", "--sparse=always", str(disk), "f"]
                bare.append(await timed_program(cp, cwd=folder))
                (folder / "f").unlink()
                _settle(folder)
                theirs.append(await timed_program(cp, ["sync", "f"], cwd=folder))
                (folder / "f").unlink()
    yield Measurement(
        f"copy of a sparse {4 * scale:.2g} GiB",
        min(ours) / min(theirs),
        1.1,
        "x",
        f"cp && sync: {min(theirs):.2f} s (cp alone {min(bare):.2f} s), ours {min(ours):.2f} s",
    )
    yield Measurement("  blocks of the copy / of the source", share, 1.05, "x")


async def checksum(folder: Path, scale: float) -> AsyncIterator[Measurement]:
    """SHA-512 of 1 GiB, beside sha512sum."""
    with website(folder) as site:
        async with running(folder, site) as rig:
            path = f"{_DIRECTORY}/c.raw"
            file = rig.store / path
            _sparse_disk(file, int(GIB * scale), int(GIB * scale))
            message = commands.command(
                "com.cloud.agent.api.ComputeChecksumCommand",
                store=_store(rig.store), templatePath=path, algorithm="SHA-512",
            )  # fmt: skip
            ours, theirs = [], []
            for _ in range(_ROUNDS):
                theirs.append(await timed_program(["sha512sum", str(file)], cwd=folder))
                ours.append(await _seconds(rig, message))
    yield Measurement(
        f"SHA-512 of {scale:.2g} GiB",
        min(ours) / min(theirs),
        1.05,
        "x",
        f"sha512sum: {min(theirs):.2f} s, ours {min(ours):.2f} s",
    )


COPY_CASES: Final = {"copy": sparse_copy, "checksum": checksum}
