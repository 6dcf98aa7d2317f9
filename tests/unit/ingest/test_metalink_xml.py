# SPDX-License-Identifier: Apache-2.0
"""Reading Metalink documents."""

from __future__ import annotations

import hashlib

import pytest

from ssvm_agent.ingest.errors import SourceFailedError
from ssvm_agent.ingest.metalink_xml import MAX_DOCUMENT_BYTES, parse_metalink

SHA256 = hashlib.sha256(b"x").hexdigest()
MD5 = hashlib.md5(b"x", usedforsecurity=False).hexdigest()
HEAD = '<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="i.qcow2">'
TAIL = "</file></metalink>"


def document(inner: str) -> bytes:
    return f'<?xml version="1.0"?>{HEAD}{inner}{TAIL}'.encode()


def test_mirrors_come_by_priority_and_those_without_come_last() -> None:
    """storage-commands.md 4.6."""
    parsed = parse_metalink(
        document(
            "<url>http://z/</url><url priority='2'>http://b/</url>"
            f"<url priority='1'> http://a/ </url><size>42</size><hash type='md5'>{MD5}</hash>"
            f"<hash type='sha-256'>{SHA256}</hash>"
            "<pieces length='1' type='sha-256'><hash>beef</hash></pieces>"
        )
    )
    assert parsed.urls == ("http://a/", "http://b/", "http://z/")
    assert str(parsed.checksum) == f"{{SHA-256}}{SHA256}"
    assert parsed.size_bytes == 42


def test_unknown_hashes_and_odd_numbers_are_passed_over() -> None:
    parsed = parse_metalink(
        document(
            "<size>-1</size><hash type='crc'>1</hash><hash type='sha-1'>zz</hash>"
            "<url priority='x'>http://a/</url>"
        )
    )
    assert (parsed.checksum, parsed.size_bytes) == (None, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"<metalink", "not well-formed"),
        (b'<!DOCTYPE m [<!ENTITY a "b">]><metalink/>', "DTD"),
        (b'<!DOCTYPE m SYSTEM "file:///etc/passwd"><metalink/>', "DTD"),
        (document(""), "no URL"),
        (b"<metalink><file><url>http://a/</url></file><file/></metalink>", "more than one file"),
        (b"<a>" * 20 + b"</a>" * 20, "nested too deeply"),
        (document("<url>http://a/</url>" * 101), "more than 100"),
        (b" " * (MAX_DOCUMENT_BYTES + 1), "too large"),
    ],
)
def test_hostile_documents_are_refused(text: bytes, reason: str) -> None:
    with pytest.raises(SourceFailedError, match=reason):
        parse_metalink(text)
