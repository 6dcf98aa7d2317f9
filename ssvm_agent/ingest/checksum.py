# SPDX-License-Identifier: Apache-2.0
"""Checksums as CloudStack writes them: ``{ALG}hex``, or bare hex told apart by its length.

Pure. The digest is always that of the bytes as received, before decompression
(storage-commands.md 4.10).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from ssvm_agent.ingest.errors import ChecksumMismatchError, UnknownAlgorithmError

DEFAULT_ALGORITHM: Final = "SHA-512"

# Name as CloudStack writes it -> name in hashlib.
_HASHLIB_NAMES: Final = {
    "MD5": "md5",
    "SHA-1": "sha1",
    "SHA-224": "sha224",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
}
_SPELLINGS: Final = {name.replace("-", ""): name for name in _HASHLIB_NAMES} | {"SHA": "SHA-1"}
_HEX_DIGITS: Final = {
    "MD5": 32,
    "SHA-1": 40,
    "SHA-224": 56,
    "SHA-256": 64,
    "SHA-384": 96,
    "SHA-512": 128,
}
_ALGORITHM_OF_LENGTH: Final = {digits: name for name, digits in _HEX_DIGITS.items()}
_PREFIXED: Final = re.compile(r"\{([^{}]*)\}(.*)", re.DOTALL)
_HEX: Final = re.compile(r"[0-9a-fA-F]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedChecksum:
    """An algorithm in CloudStack's spelling and the digest in lower-case hexadecimal."""

    algorithm: str
    hex_digest: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``{ALG}hex`` or bare hex, whose algorithm follows from its length.

        Compat: storage-commands.md 4.1, 4.10 (bare 32 digits are MD5).
        Differs: storage-commands.md 4.10; hexadecimal digits compare without regard to case, and
        bare digests of other lengths name their algorithm by it (requirements R17).

        Raises:
            UnknownAlgorithmError: The algorithm is not ours, or the text is no digest.
        """
        stripped = text.strip()
        prefixed = _PREFIXED.fullmatch(stripped)
        digest = (prefixed[2] if prefixed else stripped).strip().lower()
        if prefixed:
            algorithm = canonical_algorithm(prefixed[1])
        else:
            algorithm = _ALGORITHM_OF_LENGTH.get(len(digest), "")
        if not _HEX.fullmatch(digest) or _HEX_DIGITS.get(algorithm) != len(digest):
            raise UnknownAlgorithmError(f"invalid algorithm: {text}")
        return cls(algorithm=algorithm, hex_digest=digest)

    def __str__(self) -> str:
        return f"{{{self.algorithm}}}{self.hex_digest}"


def canonical_algorithm(name: str) -> str:
    """``sha256``, ``SHA_256`` or ``SHA-256`` as ``SHA-256``.

    Raises:
        UnknownAlgorithmError: We have no such algorithm.
    """
    plain = name.strip().upper().replace("-", "").replace("_", "")
    try:
        return _SPELLINGS[plain]
    except KeyError:
        raise UnknownAlgorithmError(f"checksum algorithm not recognised: {name}") from None


def _new(algorithm: str) -> hashlib._Hash:
    return hashlib.new(_HASHLIB_NAMES[algorithm], usedforsecurity=False)


class Digests:
    """Running digests of one stream; :meth:`update` releases the GIL for large blocks."""

    def __init__(self, algorithms: Iterable[str]) -> None:
        self._running = {name: _new(name) for name in dict.fromkeys(algorithms)}

    def __bool__(self) -> bool:
        return bool(self._running)

    def add(self, algorithm: str) -> None:
        """Compute one more; only before the first block."""
        self._running.setdefault(algorithm, _new(algorithm))

    def update(self, block: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the stream."""
        for running in self._running.values():
            running.update(block)

    def result(self, algorithm: str) -> ExpectedChecksum:
        """The digest so far under one of the algorithms given at construction."""
        return ExpectedChecksum(
            algorithm=algorithm, hex_digest=self._running[algorithm].hexdigest()
        )

    def verify(self, expected: ExpectedChecksum) -> None:
        """Compare with what was promised.

        Raises:
            ChecksumMismatchError: With the text of storage-commands.md 4.10.
        """
        actual = self.result(expected.algorithm)
        if not hmac.compare_digest(actual.hex_digest, expected.hex_digest):
            raise ChecksumMismatchError(
                f'checksum "{actual}" didn\'t match the given value, "{expected}"'
            )
