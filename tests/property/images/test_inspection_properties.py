# SPDX-License-Identifier: Apache-2.0
"""What holds for every image: the verdict does not depend on chunks, and nothing crashes."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import itertools
import lzma
import random

import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ssvm_agent.images.codecs import PIECE_BYTES
from ssvm_agent.images.compression import Compression, Decoder
from ssvm_agent.images.errors import ImageError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.inspect_file import inspect_stream
from ssvm_agent.images.ovf_disks import reduce_to_disk
from ssvm_agent.images.ovf_reading import read_ovf
from tests.fixtures import hostile_images as make

SAMPLES = {
    ImageFormat.QCOW2: make.qcow2(),
    ImageFormat.VHD: make.dynamic_vhd(),
    ImageFormat.VHDX: make.vhdx(),
    ImageFormat.VMDK: make.vmdk(footer_capacity=20480),
    ImageFormat.VDI: make.vdi(),
    ImageFormat.ISO: make.with_mbr(make.iso(udf=True)),
    ImageFormat.OVA: make.ova(
        make.tar_member("x", b"n.txt", kind=b"L"), make.tar_member("n", b"x")
    ),
    ImageFormat.RAW: make.fixed_vhd(make.with_gpt(bytes(100_000))),
}
PLAIN = random.Random(1).randbytes(5000) + bytes(100_000)
WRAPPED = {
    Compression.GZIP: gzip.compress(PLAIN),
    Compression.BZIP2: bz2.compress(PLAIN),
    Compression.XZ: lzma.compress(PLAIN),
    Compression.ZSTD: zstandard.compress(PLAIN) * 2,
    Compression.TAR: make.tar_archive(make.tar_member("disk", PLAIN)),
}


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data in pieces cut at these places."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def mutate(data: bytes, changes: list[tuple[int, int]], length: int | None) -> bytes:
    """The data with some bytes changed and perhaps its end cut off."""
    result = bytearray(data)
    for place, value in changes:
        result[place % len(result)] = value
    return bytes(result if length is None else result[: length % (len(result) + 1)])


# Most headers lie in the first kibibyte or at the start of a larger block.
PLACES = st.one_of(
    st.integers(0, 1100),
    st.builds(
        lambda block, offset: block * 32768 + offset, st.integers(0, 130), st.integers(0, 200)
    ),
)
CUTS = st.lists(st.one_of(PLACES, st.integers(0, 1 << 23)), max_size=12)
CHANGES = st.lists(st.tuples(PLACES, st.integers(0, 255)), max_size=6)
LENGTHS = st.none() | st.integers(0, 1 << 23)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), CHANGES, LENGTHS, CUTS)
def test_the_verdict_does_not_depend_on_the_chunks(
    declared: ImageFormat, changes: list[tuple[int, int]], length: int | None, cuts: list[int]
) -> None:
    data = mutate(SAMPLES[declared], changes, length)
    for told in (declared, None):
        assert inspect_stream(split(data, cuts), told) == inspect_stream([data], told)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=2000), st.sampled_from([None, *ImageFormat]))
def test_arbitrary_bytes_are_judged_and_never_crash(
    data: bytes, declared: ImageFormat | None
) -> None:
    report = inspect_stream([data], declared)
    assert report.physical_size_bytes == len(data)
    assert report.accepted == (not report.reasons)
    assert not report.accepted or report.virtual_size_bytes > 0


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), CHANGES, LENGTHS)
def test_a_changed_image_is_judged_and_never_crashes(
    declared: ImageFormat, changes: list[tuple[int, int]], length: int | None
) -> None:
    report = inspect_stream([mutate(SAMPLES[declared], changes, length)], declared)
    assert report.accepted == (not report.reasons)


def decode(compression: Compression, pieces: list[bytes]) -> bytes:
    """Decode chunks, checking the bound on pieces."""
    decoder = Decoder(compression, max_output_bytes=1 << 20)
    output = []
    for chunk in pieces:
        for piece in decoder.feed(chunk):
            assert len(piece) <= PIECE_BYTES
            output.append(bytes(piece))
    decoder.finish()
    return b"".join(output)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(WRAPPED)), st.lists(st.integers(0, 1 << 20), max_size=10))
def test_decoding_does_not_depend_on_the_chunks(compression: Compression, cuts: list[int]) -> None:
    data = WRAPPED[compression]
    assert decode(compression, split(data, cuts)) == decode(compression, [data])


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(list(Compression)),
    st.lists(st.tuples(st.integers(0, 1 << 17), st.integers(0, 255)), max_size=5),
    LENGTHS,
    st.binary(max_size=30),
)
def test_damaged_compressed_data_only_gives_image_errors(
    compression: Compression, changes: list[tuple[int, int]], length: int | None, more: bytes
) -> None:
    data = mutate(WRAPPED.get(compression, b"PK\x03\x04" + PLAIN), changes, length) + more
    with contextlib.suppress(ImageError):
        decode(compression, [data])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=5))
def test_a_damaged_descriptor_only_gives_image_errors(changes: list[tuple[int, int]]) -> None:
    data = mutate(make.ovf(), changes, None)
    for read in (lambda: read_ovf(data, "vm.ovf"), lambda: reduce_to_disk(data, "disk1.vmdk")):
        with contextlib.suppress(ImageError):
            read()
