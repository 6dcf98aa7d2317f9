# SPDX-License-Identifier: Apache-2.0
"""The digest of a file on a store (storage-commands.md 3.10)."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any, Final

from ssvm_agent.storage.errors import NotFoundError, StorageError
from ssvm_agent.storage.layout import check_relative
from ssvm_agent.storage.paths import is_plain_file, resolve_inside
from ssvm_agent.storage.stores import Store

# How a name of Java's algorithms is called here, without case, dashes and slashes.
_ALGORITHMS: Final = {
    "MD5": "md5",
    "SHA": "sha1",
    "SHA1": "sha1",
    "SHA224": "sha224",
    "SHA256": "sha256",
    "SHA384": "sha384",
    "SHA512": "sha512",
    "SHA512224": "sha512_224",
    "SHA512256": "sha512_256",
    "SHA3224": "sha3_224",
    "SHA3256": "sha3_256",
    "SHA3384": "sha3_384",
    "SHA3512": "sha3_512",
}
_BLOCK_BYTES: Final = 1 << 20
# Between two steps a checksum can be given up; a step of 128 MiB takes a third of a second.
_STEP_BYTES: Final = 128 << 20
_STEP_S: Final = 300.0


def new_digest(algorithm: str) -> Any:
    """A digest by its Java name, in any case.

    Raises:
        StorageError: There is no such algorithm here.
    """
    plain = algorithm.strip().upper().replace("-", "").replace("/", "")
    try:
        return hashlib.new(_ALGORITHMS[plain], usedforsecurity=False)
    except (KeyError, ValueError) as error:
        raise StorageError(f"checksum algorithm not recognised: {algorithm[:40]}") from error


async def compute_checksum(store: Store, path: str, algorithm: str) -> str:
    """The digest of a file as lower-case hex.

    Raises:
        PathEscapeError: The path is malformed.
        NotFoundError: There is no such file.
        StorageError: The algorithm is unknown, or the file cannot be read.
    """
    digest = new_digest(algorithm)
    wanted = check_relative(path, strip_slash=True)
    what = f"read {wanted}"
    descriptor = await store.run(_open, store.root, str(wanted), what=what)
    try:
        position = 0
        while True:
            count = await store.run(
                _feed, descriptor, position, digest, deadline_s=_STEP_S, what=what
            )
            position += count
            if count < _STEP_BYTES:
                return str(digest.hexdigest())
    finally:
        with contextlib.suppress(StorageError):
            await store.run(descriptor.close)


class _Descriptor:
    """An open file that outlives the wait for the step which uses it."""

    def __init__(self, number: int) -> None:
        self.file = os.fdopen(number, "rb", buffering=0)

    def close(self) -> None:
        self.file.close()


def _open(root: Path, wanted: str) -> _Descriptor:
    place = resolve_inside(root, wanted, must_exist=True)
    if not is_plain_file(place):
        raise NotFoundError(f"{wanted} is not a file")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    number = os.open(place, flags)
    os.posix_fadvise(number, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    return _Descriptor(number)


def _feed(descriptor: _Descriptor, position: int, digest: Any) -> int:
    """Digest up to one step of the file from a position on; how many bytes that was."""
    buffer = bytearray(_BLOCK_BYTES)
    view = memoryview(buffer)
    descriptor.file.seek(position)
    done = 0
    while done < _STEP_BYTES and (count := descriptor.file.readinto(view)):
        digest.update(view[:count])
        done += count
    return done
