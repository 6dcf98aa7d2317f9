# SPDX-License-Identifier: Apache-2.0
"""Reserve, fetch, verify, install, publish."""

from __future__ import annotations

import asyncio
import errno
import gzip
import hashlib
import lzma
import os
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

import pytest

from ssvm_agent.errors import AgentError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.ingest import install, pipeline
from ssvm_agent.ingest.checksum import ExpectedChecksum
from ssvm_agent.ingest.errors import (
    ChecksumMismatchError,
    SourceFailedError,
    SourceRestartedError,
    TooBigError,
    UnsupportedContentError,
)
from ssvm_agent.ingest.progress import Phase, Progress
from ssvm_agent.ingest.source import BytesLike, ResumePoint
from ssvm_agent.ingest.stage import Stage
from ssvm_agent.storage.errors import NoSpaceError, PathEscapeError, StorageError
from ssvm_agent.storage.layout import ImageKind
from ssvm_agent.storage.properties import read_file
from tests.fakes.ingest import DIRECTORY, BytesSource, Rig
from tests.fakes.machine import until

MIB = 1 << 20
BODY = os.urandom(2 * MIB + 777)
SHA512 = hashlib.sha512(BODY).hexdigest()


async def test_an_image_is_installed_with_its_properties(rig: Rig) -> None:
    """storage-commands.md 4.10, 6.3."""
    source = BytesSource([BODY[:100], BODY[100:MIB], BODY[MIB:]], size=len(BODY))
    installed = await rig.run(source, description="Debian", hvm=True)
    path = rig.root / installed.install_path
    assert path.read_bytes() == BODY
    assert installed.checksum_text == f"{{SHA-512}}{SHA512}"
    assert installed.virtual_size_bytes == installed.physical_size_bytes == len(BODY)
    assert rig.files() == sorted([path.name, "template.properties"])
    properties = read_file(rig.directory / "template.properties")
    assert (properties.unique_name, properties.id, properties.file_name) == (
        "201-2-0a5b7c3e", 201, path.name,
    )  # fmt: skip
    assert properties.formats == ("raw",)
    assert (properties.description, properties.hvm) == ("Debian", True)
    assert properties.checksum is None
    assert rig.progress.phase is Phase.PUBLISH
    assert rig.progress.bytes_expected == rig.progress.bytes_received == len(BODY)


async def test_the_digest_is_that_of_the_bytes_as_received(rig: Rig) -> None:
    """storage-commands.md 4.10 step 1."""
    packed = gzip.compress(BODY)
    expected = ExpectedChecksum.parse(hashlib.sha256(packed).hexdigest())
    installed = await rig.run(BytesSource([packed]), checksum=expected)
    assert installed.checksum_text == str(expected)
    assert (rig.root / installed.install_path).read_bytes() == BODY


async def test_a_wrong_checksum_leaves_nothing(rig: Rig) -> None:
    with pytest.raises(ChecksumMismatchError, match="didn't match the given value"):
        await rig.run(BytesSource([BODY]), checksum=ExpectedChecksum.parse("0" * 64))
    assert not rig.directory.exists()


async def test_the_sources_own_checksum_counts_too(rig: Rig) -> None:
    source = BytesSource([BODY], promised=ExpectedChecksum.parse("0" * 32))
    good = ExpectedChecksum.parse(hashlib.sha256(BODY).hexdigest())
    with pytest.raises(ChecksumMismatchError):
        await rig.run(source, checksum=good)
    source.promised = ExpectedChecksum.parse(hashlib.md5(BODY, usedforsecurity=False).hexdigest())
    assert (await rig.run(source, checksum=good)).checksum_text == str(good)


async def test_another_format_than_declared_is_refused_in_known_words(rig: Rig) -> None:
    """storage-commands.md 4.5."""
    with pytest.raises(UnsupportedContentError) as caught:
        await rig.run(BytesSource([BODY]), image_format=ImageFormat.QCOW2)
    assert caught.value.message.startswith(
        "Failed to install: Template content is unsupported, or mismatch between selected format "
        "and template content. Found  : "
    )
    assert not rig.directory.exists()


@pytest.mark.parametrize("announced", [True, False])
async def test_too_many_bytes_are_refused(rig: Rig, announced: bool) -> None:
    """requirements R15."""
    source = BytesSource([BODY], size=len(BODY) if announced else None)
    with pytest.raises(TooBigError, match="Download file size is too large"):
        await rig.run(source, max_size_bytes=len(BODY) - 1)
    assert not rig.directory.exists()
    await rig.run(BytesSource([BODY]), max_size_bytes=len(BODY))


async def test_an_announcement_beyond_the_limit_is_refused_at_once(rig: Rig) -> None:
    with pytest.raises(TooBigError):
        await rig.run(BytesSource([b"x" * MIB], size=1 << 62), max_size_bytes=50 << 30)


async def test_an_announcement_beyond_the_free_space_is_refused_at_once(rig: Rig) -> None:
    with pytest.raises(NoSpaceError, match="the download needs"):
        await rig.run(BytesSource([b"x" * MIB], size=1 << 60), max_size_bytes=1 << 61)
    assert not rig.directory.exists()


async def test_a_full_disk_is_a_readable_error(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """requirements R14."""

    def full(self: Stage, piece: BytesLike) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Stage, "_write", full)
    with pytest.raises(NoSpaceError, match="no space is left"):
        await rig.run(BytesSource([BODY]))
    assert not rig.directory.exists()


@pytest.mark.parametrize("piece_bytes", [999, 65_536, 300_000, 5 * MIB])
@pytest.mark.parametrize("pack", [bytes, lzma.compress], ids=["plain", "xz"])
async def test_pieces_of_any_size_make_the_same_image(
    rig: Rig, piece_bytes: int, pack: Callable[[bytes], bytes]
) -> None:
    """How a source cuts its stream is nothing to the image or its digest."""
    body = BODY * 2
    packed = memoryview(pack(body))
    pieces = [packed[at : at + piece_bytes] for at in range(0, len(packed), piece_bytes)]
    installed = await rig.run(BytesSource(pieces))
    assert (rig.root / installed.install_path).read_bytes() == body
    digest = hashlib.sha512(packed).hexdigest()
    assert installed.checksum_text == f"{{SHA-512}}{digest}"


async def test_decompressors_share_their_memory(rig: Rig) -> None:
    """Requirement R30: one that needs more than is left waits, and gives it back at its end."""
    memory = rig.ingest.tools.memory
    source = BytesSource([lzma.compress(BODY)])
    async with memory.hold(150 * MIB):
        running = asyncio.create_task(rig.run(source))
        await until(lambda: rig.progress.bytes_received > 0)
        await until(lambda: bool(memory._waiting))
        assert rig.progress.bytes_written == 0
    installed = await running
    assert (rig.root / installed.install_path).read_bytes() == BODY
    assert memory.held_bytes == 0
    with pytest.raises(AgentError):
        await rig.run(BytesSource([lzma.compress(BODY)[:MIB]]))
    assert memory.held_bytes == 0


async def test_an_empty_stream_is_no_image(rig: Rig) -> None:
    with pytest.raises(AgentError):
        await rig.run(BytesSource([]))
    assert not rig.directory.exists()


async def test_an_error_of_the_source_passes_unchanged(rig: Rig) -> None:
    failure = SourceFailedError("gone")
    with pytest.raises(SourceFailedError) as caught:
        await rig.run(BytesSource([BODY], failure=failure))
    assert caught.value is failure
    assert not rig.directory.exists()


async def test_a_voided_stream_begins_anew(rig: Rig) -> None:
    @dataclass
    class Twice(BytesSource):
        async def open(
            self, progress: Progress, *, resume: ResumePoint | None = None
        ) -> AsyncGenerator[BytesLike, None]:
            self.opened += 1
            if self.opened == 1:
                yield os.urandom(3 * MIB)
                raise SourceRestartedError("the file has changed")
            for piece in self.pieces:
                yield piece

    source = Twice([BODY])
    installed = await rig.run(source)
    assert (rig.root / installed.install_path).read_bytes() == BODY
    assert installed.checksum_text == f"{{SHA-512}}{SHA512}"
    assert rig.progress.bytes_received == len(BODY)


async def test_volumes_have_their_own_properties(rig: Rig) -> None:
    """storage-commands.md 6.4."""
    installed = await rig.run(
        BytesSource([BODY]), kind=ImageKind.VOLUME, directory="volumes/2/9", image_id=9
    )
    assert installed.install_path.startswith("volumes/2/9/")
    properties = read_file(rig.root / "volumes/2/9/volume.properties")
    assert (properties.id, properties.checksum) == (9, "")


async def test_an_upload_may_go_without_digest_and_record_a_given_one(rig: Rig) -> None:
    installed = await rig.run(BytesSource([BODY]), compute_checksum=False)
    assert installed.checksum_text == ""
    given = ExpectedChecksum.parse(hashlib.md5(BODY, usedforsecurity=False).hexdigest())
    await rig.run(BytesSource([BODY]), checksum=given, record_checksum=True)
    assert read_file(rig.directory / "template.properties").checksum == given.hex_digest


async def test_an_iso_keeps_its_unique_name(rig: Rig) -> None:
    """storage-commands.md 4.10 step 2."""
    iso = bytearray(64 * 2048)
    iso[16 * 2048 : 16 * 2048 + 7] = b"\x01CD001\x01"
    iso[16 * 2048 + 80 : 16 * 2048 + 88] = (64).to_bytes(4, "little") + (64).to_bytes(4, "big")
    iso[16 * 2048 + 128 : 16 * 2048 + 132] = (2048).to_bytes(2, "little") + (2048).to_bytes(
        2, "big"
    )
    iso[17 * 2048 : 17 * 2048 + 7] = b"\xffCD001\x01"
    installed = await rig.run(
        BytesSource([bytes(iso)]), image_format=ImageFormat.ISO, name=" my iso "
    )
    assert installed.install_path == f"{DIRECTORY}/my_iso.iso"
    installed = await rig.run(
        BytesSource([bytes(iso)]), image_format=ImageFormat.ISO, file_stem="0a5b"
    )
    assert installed.install_path == f"{DIRECTORY}/0a5b.iso"
    assert rig.files() == ["0a5b.iso", "template.properties"]


async def test_an_earlier_image_stays_until_the_new_one_is_there(rig: Rig) -> None:
    """requirements R33: nothing good is deleted on doubt."""
    first = await rig.run(BytesSource([BODY]))
    rig.clock.advance(1)
    with pytest.raises(SourceFailedError):
        await rig.run(BytesSource([BODY], failure=SourceFailedError("gone")))
    assert (rig.root / first.install_path).read_bytes() == BODY
    assert read_file(rig.directory / "template.properties").file_name in first.install_path
    second = await rig.run(BytesSource([BODY[:MIB]]))
    assert not (rig.root / first.install_path).exists()
    assert (rig.root / second.install_path).read_bytes() == BODY[:MIB]


@pytest.mark.parametrize("directory", ["", "../x", "/etc/x", "a/../../b", "a\0b"])
async def test_directories_stay_inside_the_store(rig: Rig, directory: str) -> None:
    """requirements S8."""
    with pytest.raises(PathEscapeError):
        await rig.run(BytesSource([BODY]), directory=directory)


async def test_properties_appear_after_the_image_or_nothing_does(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requirements R20."""

    def refuse(*_: object, **__: object) -> None:
        assert any(name.endswith(".raw") for name in rig.files())
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(install, "write_file", refuse)
    with pytest.raises(StorageError):
        await rig.run(BytesSource([BODY]))
    assert not rig.directory.exists()


async def test_progress_is_visible_and_the_directory_marked_while_it_runs(rig: Rig) -> None:
    """storage-commands.md 4.3 step 2: an empty properties file marks a download in progress."""
    going_on = asyncio.Event()

    @dataclass
    class Slow(BytesSource):
        async def open(
            self, progress: Progress, *, resume: ResumePoint | None = None
        ) -> AsyncGenerator[BytesLike, None]:
            yield BODY
            await going_on.wait()
            yield BODY

    task = asyncio.create_task(rig.run(Slow([], size=2 * len(BODY))))
    await until(lambda: rig.progress.percent == 50)
    temporary = rig.progress.temporary_path.rpartition("/")[2]
    assert temporary.startswith("dnld.s-1-VM.11111111-")
    assert rig.files() == [temporary, "template.properties"]
    assert (rig.directory / "template.properties").read_bytes() == b""
    going_on.set()
    await task
    assert temporary not in rig.files()


async def test_a_cancelled_ingest_leaves_nothing_even_with_a_write_under_way(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, going_on = threading.Event(), threading.Event()
    write = Stage._write

    def slow(self: Stage, piece: BytesLike) -> None:
        entered.set()
        going_on.wait(10)
        write(self, piece)

    monkeypatch.setattr(Stage, "_write", slow)
    task = asyncio.create_task(rig.run(BytesSource([BODY])))
    await until(entered.is_set)
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    going_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not rig.directory.exists()


async def test_a_partial_file_may_be_kept_for_the_next_process(rig: Rig) -> None:
    """requirements R35."""
    never = asyncio.Event()
    points: list[ResumePoint] = []

    @dataclass
    class Stuck(BytesSource):
        async def open(
            self, progress: Progress, *, resume: ResumePoint | None = None
        ) -> AsyncGenerator[BytesLike, None]:
            for piece in self.pieces:
                yield piece
            await never.wait()

    async def remember(point: ResumePoint) -> None:
        points.append(point)

    spec = rig.spec(Stuck([BODY[:MIB], BODY[MIB : 2 * MIB]], validator='"v1"'))
    task = asyncio.create_task(
        pipeline.run(spec, rig.progress, rig.ingest.tools, on_checkpoint=remember)
    )
    await until(lambda: rig.progress.bytes_written == 2 * MIB)
    rig.progress.keep_partial = True
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert points == [ResumePoint(offset=2 * MIB, validator='"v1"')]
    rig.progress = Progress()
    installed = await rig.run(BytesSource([BODY]), resume=points[0])
    assert (rig.root / installed.install_path).read_bytes() == BODY
    assert installed.checksum_text == f"{{SHA-512}}{SHA512}"
    assert rig.progress.bytes_received == len(BODY)


async def test_a_lost_partial_file_is_fetched_anew(rig: Rig) -> None:
    point = ResumePoint(offset=2 * MIB, validator='"v1"')
    installed = await rig.run(BytesSource([BODY]), resume=point)
    assert (rig.root / installed.install_path).read_bytes() == BODY


async def test_long_downloads_are_made_durable_on_the_way(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssvm_agent.ingest.transfer._CHECKPOINT_BYTES", MIB)
    offsets: list[int] = []

    async def remember(point: ResumePoint) -> None:
        offsets.append(point.offset)

    pieces = [os.urandom(MIB) for _ in range(4)]
    spec = rig.spec(BytesSource(pieces, validator='"v1"'))
    await pipeline.run(spec, rig.progress, rig.ingest.tools, on_checkpoint=remember)
    assert offsets == [MIB, 2 * MIB, 3 * MIB, 4 * MIB]
