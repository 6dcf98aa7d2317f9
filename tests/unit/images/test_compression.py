# SPDX-License-Identifier: Apache-2.0
"""Taking wrappers off: by content, bounded, to the very end (requirements R15, R16, H11, H12)."""

from __future__ import annotations

import bz2
import collections
import gzip
import importlib.util
import io
import lzma
import random
import stat
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from ssvm_agent.images import codecs
from ssvm_agent.images.codecs import PIECE_BYTES
from ssvm_agent.images.compression import DETECT_BYTES, Compression, Decoder, detect
from ssvm_agent.images.errors import (
    ArchiveRefusedError,
    CompressionError,
    ImageError,
    SizeLimitError,
)
from ssvm_agent.images.formats import ImageFormat
from tests.fixtures import hostile_images as make

PLAIN = random.Random(7).randbytes(300_000) + bytes(3 << 20) + b"the end"
NO_LIMIT = 1 << 40
SKIPPABLE = b"\x50\x2a\x4d\x18\x03\0\0\0abc"


def decode(
    data: bytes,
    *,
    step: int = 1 << 20,
    limit: int = NO_LIMIT,
    compression: Compression | None = None,
) -> bytes:
    """Detect and decode, checking the bound on pieces."""
    compression = compression or detect(data[:DETECT_BYTES])
    assert compression is not None
    decoder = Decoder(compression, max_output_bytes=limit)
    pieces = []
    for start in range(0, len(data), step):
        for piece in decoder.feed(data[start : start + step]):
            assert 0 < len(piece) <= PIECE_BYTES
            pieces.append(bytes(piece))
    decoder.finish()
    assert decoder.input_bytes == len(data)
    assert decoder.output_bytes == sum(map(len, pieces))
    return b"".join(pieces)


def zipped(
    data: bytes = PLAIN, *, stored: bool = False, name: str = "disk.img", zip64: bool = False
) -> bytes:
    """A ZIP archive with sizes in front of the data."""
    output = io.BytesIO()
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with (
        zipfile.ZipFile(output, "w", method) as archive,
        archive.open(name, "w", force_zip64=zip64) as member,
    ):
        member.write(data)
    return output.getvalue()


class OneWay(io.BytesIO):
    """A file that cannot seek, so that the ZIP writer puts sizes behind the data."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise OSError

    def seek(self, *_: object) -> int:
        raise OSError


def streamed_zip(*, zip64: bool = False) -> bytes:
    """A ZIP archive with sizes behind the data."""
    output = OneWay()
    with (
        zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("disk.img", "w", force_zip64=zip64) as member,
    ):
        member.write(PLAIN)
    return output.getvalue()


WRAPPERS: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: gzip.compress(PLAIN),
    "bzip2": lambda: bz2.compress(PLAIN),
    "xz": lambda: lzma.compress(PLAIN, preset=0),
    "zstd": lambda: zstandard.ZstdCompressor(write_checksum=True).compress(PLAIN),
    "zip": zipped,
    "zip stored": lambda: zipped(stored=True),
    "zip64": lambda: zipped(zip64=True),
    "zip streamed": streamed_zip,
    "zip64 streamed": lambda: streamed_zip(zip64=True),
    "tar": lambda: make.tar_archive(make.tar_member("disk.img", PLAIN)),
}


@pytest.fixture(params=sorted(WRAPPERS))
def wrapped(request: pytest.FixtureRequest) -> bytes:
    """Each kind of wrapper around the same content."""
    return WRAPPERS[request.param]()


@pytest.mark.parametrize("step", [1 << 22, 65536, 1009])
def test_a_wrapper_comes_off_whatever_the_chunks(wrapped: bytes, step: int) -> None:
    assert decode(wrapped, step=step) == PLAIN


@pytest.mark.parametrize("cut", [1, 2, 9, 23, 1000, 100_000])
def test_a_truncated_wrapper_is_refused(wrapped: bytes, cut: int) -> None:
    """Requirements H11: a stream without its end is an error, never a short image."""
    if wrapped.endswith(bytes(1024)):
        cut += 1024  # the zeros at the end of a tar carry nothing
    with pytest.raises(CompressionError, match=r"cut short|too early"):
        decode(wrapped[:-cut])


@pytest.mark.parametrize("junk", [b"x", b"junk" * 1000])
def test_junk_behind_a_wrapper_is_refused(wrapped: bytes, junk: bytes) -> None:
    with pytest.raises(ImageError, match=r"belong|junk"):
        decode(wrapped + junk)


def test_a_damaged_byte_is_noticed(wrapped: bytes) -> None:
    at = 10 if wrapped[257:262] == b"ustar" else 5000  # a tar only protects its headers
    damaged = make.overlay(wrapped, at, bytes([wrapped[at] ^ 0x10]))
    with pytest.raises(ImageError):
        decode(damaged, compression=detect(wrapped[:DETECT_BYTES]))


def test_the_limit_holds_to_the_byte(wrapped: bytes) -> None:
    """Requirements R15."""
    assert decode(wrapped, limit=len(PLAIN)) == PLAIN
    with pytest.raises(SizeLimitError, match="decompressed image is larger"):
        decode(wrapped, limit=len(PLAIN) - 1)


@pytest.mark.parametrize(
    "bomb",
    [
        gzip.compress(bytes(200 << 20), 9),
        bz2.compress(bytes(200 << 20)),
        lzma.compress(bytes(200 << 20), preset=0),
        zstandard.ZstdCompressor().compress(bytes(200 << 20)),
        zipped(bytes(200 << 20)),
    ],
    ids=["gzip", "bzip2", "xz", "zstd", "zip"],
)
def test_a_bomb_is_stopped_at_the_limit(bomb: bytes) -> None:
    """Requirements H11: what a bomb costs is the limit and one piece."""
    compression = detect(bomb[:DETECT_BYTES])
    assert compression is not None
    decoder = Decoder(compression, max_output_bytes=8 << 20)
    with pytest.raises(SizeLimitError):
        collections.deque(decoder.feed(bomb), maxlen=1)
    assert decoder.output_bytes <= (8 << 20) + PIECE_BYTES


def test_a_ratio_can_be_limited() -> None:
    decoder = Decoder(Compression.GZIP, max_output_bytes=NO_LIMIT, max_ratio=100)
    with pytest.raises(SizeLimitError, match="100 times"):
        list(decoder.feed(gzip.compress(bytes(100 << 20))))


@pytest.mark.parametrize(
    ("data", "plain"),
    [
        (gzip.compress(b"one") + gzip.compress(b"two"), b"onetwo"),
        (gzip.compress(b"one") + bytes(512), b"one"),
        (gzip.compress(b"one") + bytes(7) + gzip.compress(b"two"), b"onetwo"),
        (bz2.compress(b"one") + bz2.compress(b"two"), b"onetwo"),
        (lzma.compress(b"one") + bytes(4) + lzma.compress(b"two"), b"onetwo"),
        (zstandard.compress(b"one") + zstandard.compress(b"two"), b"onetwo"),
        (zstandard.compress(b"one") + SKIPPABLE + zstandard.compress(b"two"), b"onetwo"),
        (gzip.compress(b""), b""),
        (bz2.compress(b""), b""),
        (lzma.compress(b""), b""),
        (zstandard.compress(b""), b""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 1000])
def test_streams_that_follow_each_other_are_one(data: bytes, plain: bytes, step: int) -> None:
    """Requirements H11: concatenated members have a clear verdict."""
    assert decode(data, step=step) == plain


def test_a_million_empty_streams_are_refused() -> None:
    with pytest.raises(CompressionError, match="small pieces"):
        decode(gzip.compress(b"") * 2000)


@pytest.mark.parametrize("compression", list(Compression))
def test_nothing_at_all_is_truncated(compression: Compression) -> None:
    with pytest.raises(CompressionError):
        Decoder(compression, max_output_bytes=1).finish()


@pytest.mark.parametrize("compression", list(Compression))
def test_the_wrong_content_is_an_error_and_not_a_copy(compression: Compression) -> None:
    """Requirements R16: never a silent copy."""
    decoder = Decoder(compression, max_output_bytes=NO_LIMIT)
    with pytest.raises(ImageError):
        assert list(decoder.feed(b"Hello, this is not what it was said to be." * 100)) == []


def test_zstd_windows_beyond_the_bound_are_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=28)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    wrapped = compressor.compress(b"x" * 1000) + compressor.flush()
    with pytest.raises(CompressionError, match="dictionary too large"):
        decode(wrapped)


def test_xz_dictionaries_beyond_the_bound_are_refused() -> None:
    """The block header of a sound stream is bent to ask for half a gibibyte."""
    wrapped = lzma.compress(b"x" * 100, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}])
    assert decode(wrapped) == b"x" * 100
    header = bytearray(wrapped[12:24])
    header[4] = 2 * (29 - 12)
    header[8:12] = struct.pack("<I", zlib.crc32(header[:8]))
    with pytest.raises(CompressionError, match="dictionary too large"):
        decode(make.overlay(wrapped, 12, bytes(header)))


def test_gzip_works_without_the_fast_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    codecs.codec_errors.cache_clear()
    try:
        assert decode(gzip.compress(PLAIN), step=1013) == PLAIN
        assert decode(zipped()) == PLAIN
        with pytest.raises(CompressionError, match="damaged"):
            decode(make.overlay(gzip.compress(PLAIN), 5000, b"\0\1\2\3"))
    finally:
        codecs.codec_errors.cache_clear()


# --- zip ------------------------------------------------------------------------------------------


def two_members() -> bytes:
    """A ZIP archive with two files."""
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        archive.writestr("a.img", b"a" * 1000)
        archive.writestr("b.img", b"b" * 1000)
    return output.getvalue()


def with_mode(mode: int) -> bytes:
    """A ZIP archive whose one member has a Unix file type."""
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        info = zipfile.ZipInfo("disk.img")
        info.create_system = 3
        info.external_attr = mode << 16
        archive.writestr(info, b"/etc/shadow")
    return output.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (two_members(), "more than one file"),
        (zipped(name="../disk.img"), "directory"),
        (zipped(name="/disk.img"), "directory"),
        (zipped(name="dir/disk.img"), "directory"),
        (with_mode(stat.S_IFLNK | 0o777), "not a regular file"),
        (make.overlay(zipped(), 6, b"\x01"), "encrypted"),
        (make.overlay(zipped(), 8, b"\x0c"), "method 12"),
        (make.overlay(zipped(stored=True), 6, b"\x08"), "how long"),
    ],
)  # fmt: skip
def test_an_unsafe_zip_is_refused(data: bytes, words: str) -> None:
    """Requirements H12."""
    with pytest.raises(ArchiveRefusedError, match=words):
        decode(data)


def test_the_two_directories_of_a_zip_must_agree() -> None:
    data = zipped(name="disk.img")
    at = data.rindex(b"disk.img")
    with pytest.raises(ArchiveRefusedError, match="contradict"):
        decode(make.overlay(data, at, b"evil.img"))


def test_a_zip_with_a_prefix_in_its_offsets_is_refused() -> None:
    data = zipped()
    start = data.rindex(b"PK\x05\x06") + 16
    (offset,) = struct.unpack_from("<I", data, start)
    with pytest.raises(ArchiveRefusedError, match="contradict"):
        decode(make.overlay(data, start, struct.pack("<I", offset - 1)))


@pytest.mark.needs("zip")
def test_zips_of_the_command_line_tool_are_read(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(PLAIN)
    subprocess.run(["zip", "-q", "a.zip", "disk.img"], cwd=tmp_path, check=True)
    with (tmp_path / "disk.img").open("rb") as source, (tmp_path / "b.zip").open("wb") as target:
        subprocess.run(["zip", "-q", "-", "-"], stdin=source, stdout=target, check=True)
    for name in ("a.zip", "b.zip"):
        assert decode((tmp_path / name).read_bytes()) == PLAIN


# --- tar ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([], "empty"),
        ([make.tar_member("a", b"a"), make.tar_member("b", b"b")], "more than 1 members"),
        ([make.tar_header(b"a", 0, kind=b"2", link=b"/etc/shadow")], "symbolic link"),
        ([make.tar_member("../a", b"a")], "directory"),
    ],
)  # fmt: skip
def test_an_unsafe_tar_is_refused(members: list[bytes], words: str) -> None:
    """Requirements R16: exactly one file."""
    with pytest.raises(ArchiveRefusedError, match=words):
        decode(make.tar_archive(*members), compression=Compression.TAR)


# --- detection ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "declared", "expected"),
    [
        (gzip.compress(b"x"), ImageFormat.QCOW2, Compression.GZIP),
        (gzip.compress(b"x"), ImageFormat.OVA, Compression.GZIP),
        (bz2.compress(b"x"), None, Compression.BZIP2),
        (bz2.compress(b""), None, Compression.BZIP2),
        (b"BZh9 is how this text begins", None, None),
        (lzma.compress(b"x"), None, Compression.XZ),
        (zstandard.compress(b"x"), None, Compression.ZSTD),
        (zipped(b"x"), ImageFormat.RAW, Compression.ZIP),
        (zipped(b"x"), ImageFormat.ZIP, None),
        (make.ova(), ImageFormat.RAW, Compression.TAR),
        (make.ova(), ImageFormat.OVA, None),
        (make.ova(), ImageFormat.TAR, None),
        (make.qcow2(), ImageFormat.QCOW2, None),
        (bytes(512), ImageFormat.RAW, None),
        (b"", None, None),
    ],
)  # fmt: skip
def test_a_wrapper_is_recognised_by_content(
    head: bytes, declared: ImageFormat | None, expected: Compression | None
) -> None:
    """Requirements R16: by content, not by name; an OVA is a tar and stays one."""
    assert detect(head[:DETECT_BYTES], declared) is expected
