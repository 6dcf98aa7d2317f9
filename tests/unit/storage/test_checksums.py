# SPDX-License-Identifier: Apache-2.0
"""Digests by their Java names (storage-commands.md 3.10)."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.storage import checksums
from ssvm_agent.storage.checksums import compute_checksum
from ssvm_agent.storage.errors import NotFoundError, PathEscapeError, StorageError
from ssvm_agent.storage.stores import Store

PATH = "template/tmpl/2/201/c5a3.qcow2"
NAMES = {
    "MD5": "md5", "md5": "md5", "SHA": "sha1", "SHA1": "sha1", "SHA-1": "sha1", "sha-224": "sha224",
    "SHA-256": "sha256", "SHA256": "sha256", "Sha-384": "sha384", "SHA-512": "sha512",
    "SHA-512/224": "sha512_224", "SHA-512/256": "sha512_256", "SHA3-224": "sha3_224",
    "SHA3-256": "sha3_256", "sha3-384": "sha3_384", "SHA3-512": "sha3_512",
}  # fmt: skip


def put(store: Store, data: bytes) -> Path:
    place = store.root / PATH
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return place


@pytest.mark.parametrize("name", NAMES)
async def test_every_algorithm_has_its_java_names_in_any_case(store: Store, name: str) -> None:
    put(store, b"content")
    expected = hashlib.new(NAMES[name], b"content", usedforsecurity=False).hexdigest()
    assert await compute_checksum(store, f"/{PATH}", name) == expected


@pytest.mark.parametrize("name", ["MD2", "CRC32", "", " ", "SHA-513", "shake_128", "x" * 500])
async def test_an_unknown_algorithm_is_named(store: Store, name: str) -> None:
    put(store, b"content")
    with pytest.raises(StorageError, match="checksum algorithm not recognised"):
        await compute_checksum(store, PATH, name)


@pytest.mark.parametrize("length", [0, 1, 3 << 20, (5 << 20) + 1])
async def test_files_of_any_length_are_read_to_their_end(
    store: Store, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    monkeypatch.setattr(checksums, "_STEP_BYTES", 1 << 20)
    data = os.urandom(length)
    put(store, data)
    assert await compute_checksum(store, PATH, "SHA-256") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("", PathEscapeError), ("/", PathEscapeError), ("../x", PathEscapeError),
        ("//etc/passwd", PathEscapeError), ("a\0", PathEscapeError), ("absent", NotFoundError),
        ("template/tmpl", NotFoundError), ("link", PathEscapeError), ("pipe", NotFoundError),
    ],
)  # fmt: skip
async def test_what_is_no_file_of_the_store_is_refused(
    store: Store, path: str, error: type[StorageError]
) -> None:
    put(store, b"content")
    (store.root / "link").symlink_to("/etc/passwd")
    os.mkfifo(store.root / "pipe")
    with pytest.raises(error):
        await compute_checksum(store, path, "MD5")


async def test_a_checksum_can_be_given_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two steps nothing more is read."""
    put(store, bytes(1 << 20))
    steps, began, loop = 0, asyncio.Event(), asyncio.get_running_loop()

    def endless(*_: Any) -> int:
        nonlocal steps
        steps += 1
        loop.call_soon_threadsafe(began.set)
        return checksums._STEP_BYTES

    monkeypatch.setattr(checksums, "_feed", endless)
    running = asyncio.create_task(compute_checksum(store, PATH, "MD5"))
    await began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    seen = steps
    await store.run(lambda: None)
    assert steps <= seen + 1


async def test_several_are_computed_at_once(store: Store) -> None:
    put(store, b"content")
    digests = await asyncio.gather(*(compute_checksum(store, PATH, name) for name in NAMES))
    assert len(digests) == len(NAMES)
