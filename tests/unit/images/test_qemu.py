# SPDX-License-Identifier: Apache-2.0
"""The one door to qemu-img: explicit formats, limits, readable failures (requirements S3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from ssvm_agent.host.errors import ProgramMissingError
from ssvm_agent.host.run import Argument, ProgramResult, ResourceLimits, SystemRunner
from ssvm_agent.images.errors import ConversionError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.qemu import QemuImg
from tests.fixtures.disk_images import run

MIB = 1 << 20


class Pretender:
    """A runner that answers without running anything."""

    def __init__(self, output: bytes = b"", error: Exception | None = None) -> None:
        self.calls: list[tuple[list[str], ResourceLimits | None]] = []
        self._output = output
        self._error = error

    async def run(
        self,
        argv: Sequence[Argument],
        *,
        deadline_s: float,
        input: bytes | None = None,  # noqa: A002 - the name of the protocol
        check: bool = True,
        env: Mapping[str, str] | None = None,
        max_output_bytes: int = 1 << 20,
        limits: ResourceLimits | None = None,
    ) -> ProgramResult:
        self.calls.append((list(map(str, argv)), limits))
        if self._error:
            raise self._error
        return ProgramResult(returncode=0, stdout=self._output, stderr=b"")


async def test_the_format_is_always_explicit_and_limits_are_set() -> None:
    runner = Pretender()
    await QemuImg(runner, no_network=True).convert(
        Path("/store/a.vhd"), ImageFormat.VHD, Path("/store/b.qcow2"), ImageFormat.QCOW2,
        deadline_s=5, max_output_bytes=MIB, options={"compat": "1.1"},
    )  # fmt: skip
    ((argv, limits),) = runner.calls
    assert argv == [
        "qemu-img", "convert", "-q", "-f", "vpc", "-O", "qcow2", "-o", "compat=1.1",
        "/store/a.vhd", "/store/b.qcow2",
    ]  # fmt: skip
    assert limits is not None
    assert limits.no_network
    assert limits.file_size_bytes == MIB
    assert limits.address_space_bytes


@pytest.mark.needs("qemu-img")
async def test_a_real_image_is_described_and_converted(tmp_path: Path) -> None:
    source, target = tmp_path / "a.qcow2", tmp_path / "b.raw"
    run("qemu-img", "create", "-q", "-f", "qcow2", source, "8M")
    qemu = QemuImg(SystemRunner(), no_network=False)
    info = await qemu.info(source, ImageFormat.QCOW2)
    assert (info.format, info.virtual_size_bytes, info.backing_file) == ("qcow2", 8 * MIB, None)
    await qemu.convert(
        source, ImageFormat.QCOW2, target, ImageFormat.RAW, deadline_s=30, max_output_bytes=8 * MIB
    )
    assert target.stat().st_size == 8 * MIB


@pytest.mark.needs("qemu-img")
async def test_the_wrong_format_is_a_readable_failure(tmp_path: Path) -> None:
    (tmp_path / "a.img").write_bytes(bytes(MIB))
    with pytest.raises(ConversionError, match="qemu-img"):
        await QemuImg(SystemRunner(), no_network=False).info(tmp_path / "a.img", ImageFormat.QCOW2)


@pytest.mark.parametrize("output", [b"", b"[]", b"{}", b'{"format": "qcow2", "virtual-size": "x"}'])
async def test_an_answer_that_cannot_be_read_is_a_failure(output: bytes) -> None:
    with pytest.raises(ConversionError, match="cannot be read"):
        await QemuImg(Pretender(output), no_network=False).info(Path("/a"), ImageFormat.RAW)


async def test_a_missing_program_is_a_readable_failure() -> None:
    runner = Pretender(error=ProgramMissingError("qemu-img"))
    with pytest.raises(ConversionError, match="not installed"):
        await QemuImg(runner, no_network=False).info(Path("/a"), ImageFormat.RAW)


@pytest.mark.parametrize(
    ("path", "image_format"),
    [(Path("nbd:host:10809"), ImageFormat.RAW), (Path("/a"), ImageFormat.OVA)],
)
async def test_nothing_is_run_for_what_must_not_be_asked(
    path: Path, image_format: ImageFormat
) -> None:
    runner = Pretender()
    with pytest.raises(ConversionError):
        await QemuImg(runner, no_network=False).info(path, image_format)
    assert runner.calls == []
