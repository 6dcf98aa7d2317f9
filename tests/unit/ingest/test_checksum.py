# SPDX-License-Identifier: Apache-2.0
"""Reading and comparing checksums."""

from __future__ import annotations

import hashlib

import pytest

from ssvm_agent.ingest.checksum import Digests, ExpectedChecksum, canonical_algorithm
from ssvm_agent.ingest.errors import ChecksumMismatchError, UnknownAlgorithmError


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [("md5", "MD5"), ("sha1", "SHA-1"), ("sha224", "SHA-224"), ("sha256", "SHA-256"),
     ("sha384", "SHA-384"), ("sha512", "SHA-512")],
)  # fmt: skip
def test_a_bare_digest_names_its_algorithm_by_its_length(name: str, algorithm: str) -> None:
    """storage-commands.md 4.1, requirements R17."""
    digest = hashlib.new(name, b"x").hexdigest()
    assert ExpectedChecksum.parse(digest) == ExpectedChecksum.parse(f"{{{algorithm}}}{digest}")


def test_digits_compare_without_regard_to_case() -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    assert ExpectedChecksum.parse(f"{{sha256}}{digest.upper()}").hex_digest == digest


@pytest.mark.parametrize(
    "text",
    ["", "{}", "{SHA-256}", "{SHA-256}zz", "{CRC32}00000000", "abc", "{MD5}" + "0" * 40,
     "{SHA-256" + "0" * 64, "g" * 32, "0" * 31],
)  # fmt: skip
def test_what_is_no_checksum_is_refused_with_its_text(text: str) -> None:
    """storage-commands.md 4.3 step 1."""
    with pytest.raises(UnknownAlgorithmError):
        ExpectedChecksum.parse(text)


def test_the_mismatch_names_both_digests() -> None:
    """storage-commands.md 4.10 step 1."""
    expected = ExpectedChecksum.parse("0" * 32)
    digests = Digests(["MD5"])
    digests.update(b"abc")
    with pytest.raises(ChecksumMismatchError) as caught:
        digests.verify(expected)
    actual = "{MD5}900150983cd24fb0d6963f7d28e17f72"
    assert caught.value.message == (
        f'checksum "{actual}" didn\'t match the given value, "{{MD5}}{"0" * 32}"'
    )


def test_several_digests_run_over_one_stream() -> None:
    digests = Digests(["MD5", "SHA-512", "MD5"])
    digests.add("SHA-1")
    for piece in (b"a", bytearray(b"b"), memoryview(b"c")):
        digests.update(piece)
    for algorithm in ("MD5", "SHA-512", "SHA-1"):
        plain = algorithm.replace("-", "").lower()
        assert digests.result(algorithm).hex_digest == hashlib.new(plain, b"abc").hexdigest()


def test_no_algorithm_is_no_work() -> None:
    assert not Digests(())
    assert Digests(["MD5"])


def test_spellings_of_algorithms_are_one() -> None:
    assert {canonical_algorithm(n) for n in ("sha-256", "SHA256", "sha_256", " Sha-256 ")} == {
        "SHA-256"
    }
