# SPDX-License-Identifier: Apache-2.0
"""Images made by real tools, judged by us and by somebody else's inspector."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from oslo_utils.imageutils import format_inspector

from ssvm_agent.images.compression import DETECT_BYTES, Decoder, detect
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.inspect_file import inspect_stream
from ssvm_agent.images.report import ImageReport
from tests.fixtures import disk_images, hostile_images
from tests.fixtures.disk_images import CONVERSIONS, DEBIAN_ISOS, MIB, convert, run

needs_qemu = pytest.mark.needs("qemu-img", "mke2fs")

ORACLE_FORMATS = {
    ImageFormat.QCOW2: "qcow2",
    ImageFormat.VHD: "vhd",
    ImageFormat.VHDX: "vhdx",
    ImageFormat.VMDK: "vmdk",
    ImageFormat.VDI: "vdi",
    ImageFormat.ISO: "iso",
}


def chunks(path: Path, step: int = MIB) -> Iterator[bytes]:
    """A file in pieces."""
    with path.open("rb") as file:
        while chunk := file.read(step):
            yield chunk


def inspect(path: Path, declared: ImageFormat | None) -> ImageReport:
    return inspect_stream(chunks(path), declared)


def ask_oracle(path: Path) -> format_inspector.FileInspector:
    """Somebody else's inspector, with its verdict on the format."""
    oracle = format_inspector.detect_file_format(str(path))
    assert oracle is not None
    return oracle


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw disk with a file system."""
    return disk_images.make_file_system(tmp_path_factory.mktemp("disk"))


@needs_qemu
@pytest.mark.parametrize("name", sorted(CONVERSIONS))
def test_what_qemu_img_makes_is_accepted_with_the_right_size(disk: Path, name: str) -> None:
    """Requirements H14."""
    declared = CONVERSIONS[name][0]
    image = convert(disk, name)
    report = inspect(image, declared)
    assert report.reasons == ()
    assert report.detected is declared
    assert report.physical_size_bytes == image.stat().st_size
    if name == "vhd-fixed":
        assert report.virtual_size_bytes == image.stat().st_size
    else:
        assert report.virtual_size_bytes == qemu_size(image, CONVERSIONS[name][1][0])


def qemu_size(path: Path, word: str) -> int:
    output = subprocess.run(
        ["qemu-img", "info", "-f", word, "--output=json", path], check=True, capture_output=True
    )
    return int(json.loads(output.stdout)["virtual-size"])


@needs_qemu
@pytest.mark.parametrize(
    "name", sorted(set(CONVERSIONS) - {"raw", "vhd-fixed", "qcow2-large-clusters"})
)
def test_the_oracle_agrees_on_format_and_virtual_size(disk: Path, name: str) -> None:
    """Two independent inspectors come to the same verdict."""
    declared = CONVERSIONS[name][0]
    image = convert(disk, name)
    oracle = ask_oracle(image)
    report = inspect(image, None)
    assert str(oracle) == ORACLE_FORMATS[declared]
    assert report.detected is declared
    assert report.virtual_size_bytes == oracle.virtual_size
    oracle.safety_check()
    assert report.accepted


@needs_qemu
@pytest.mark.parametrize("name", sorted(set(CONVERSIONS) - {"raw", "vhd-fixed"}))
def test_every_other_declaration_of_a_real_image_is_refused(disk: Path, name: str) -> None:
    """Requirements H8."""
    image = convert(disk, name)
    for declared in ImageFormat:
        expected = declared is CONVERSIONS[name][0] or declared.is_opaque
        assert inspect(image, declared).accepted is expected


@needs_qemu
def test_a_real_image_that_depends_on_another_is_refused(disk: Path) -> None:
    """Requirements H1, H2, H7, by the tool itself; the oracle refuses them too."""
    base = convert(disk, "qcow2")
    chained = disk.with_name("chained.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", chained)
    external = disk.with_name("external.qcow2")
    data_file = disk.with_name("external.data")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={data_file}", external, "8M")
    extended = disk.with_name("extended.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on", extended, "8M")
    for image, words in [(chained, "backing"), (external, "external"), (extended, "extended L2")]:
        (reason,) = inspect(image, ImageFormat.QCOW2).reasons
        assert words in reason
        with pytest.raises(format_inspector.SafetyCheckFailed):
            ask_oracle(image).safety_check()
    for kind in ("monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"):
        split = disk.with_name(f"{kind}.vmdk")
        run(
            "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={kind}", disk, split
        )
        assert not inspect(split, ImageFormat.VMDK).accepted


@needs_qemu
def test_internal_snapshots_and_other_normal_things_are_accepted(disk: Path) -> None:
    """Requirements H14."""
    image = convert(disk, "qcow2")
    run("qemu-img", "snapshot", "-c", "before", image)
    run("qemu-img", "resize", "-q", "-f", "qcow2", image, "+8M")
    run("qemu-img", "bitmap", "--add", image, "changes")
    report = inspect(image, ImageFormat.QCOW2)
    assert report.reasons == ()
    assert report.virtual_size_bytes == 32 * MIB


@needs_qemu
@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("qcow2", 150_000),
        ("vhd", -1000),
        ("vhd-fixed", -1000),
        ("vhdx", 3 * MIB),
        ("vmdk", -1000),
        ("vmdk-stream", -1000),
        ("vdi-static", -1000),
    ],
)
def test_a_truncated_real_image_is_refused(disk: Path, name: str, kept: int) -> None:
    """Formats without an end mark are caught where their tables reach beyond the end."""
    image = convert(disk, name).read_bytes()
    for end in (kept, 70_000, 600, 100):
        assert not inspect_stream([image[:end]], CONVERSIONS[name][0]).accepted


@pytest.mark.parametrize("path", DEBIAN_ISOS, ids=lambda path: path.name)
def test_bootable_isos_of_debian_are_accepted(path: Path) -> None:
    """Requirements H14: hybrid images with a boot record in front."""
    if not path.exists():
        pytest.skip(f"needs {path}, which is not installed")
    report = inspect(path, ImageFormat.ISO)
    assert report.reasons == ()
    assert report.virtual_size_bytes == path.stat().st_size
    assert "hybrid with a master boot record" in report.notes
    assert not inspect(path, ImageFormat.RAW).accepted


@pytest.mark.needs("xorriso", "genisoimage")
@pytest.mark.parametrize(
    ("udf", "hybrid", "note"),
    [(False, False, ()), (True, False, ("a UDF file system",)),
     (False, True, ("hybrid with a master boot record",))],
)  # fmt: skip
def test_isos_of_common_tools_are_accepted(
    tmp_path: Path, udf: bool, hybrid: bool, note: tuple[str, ...]
) -> None:
    image = disk_images.make_iso(tmp_path, udf=udf, hybrid=hybrid)
    report = inspect(image, ImageFormat.ISO)
    assert report.reasons == ()
    assert report.notes == note


@needs_qemu
@pytest.mark.parametrize(
    ("tool", "suffix"),
    [("gzip", ".gz"), ("bzip2", ".bz2"), ("xz", ".xz"), ("zstd", ".zst")],
)
def test_what_compression_tools_write_comes_out_again(disk: Path, tool: str, suffix: str) -> None:
    image = convert(disk, "qcow2")
    wrapped = image.with_name(image.name + suffix)
    run(tool, "-kf", image)
    data = wrapped.read_bytes()
    compression = detect(data[:DETECT_BYTES])
    assert compression is not None
    decoder = Decoder(compression, max_output_bytes=1 << 30)
    plain = b"".join(bytes(piece) for piece in decoder.feed(data))
    decoder.finish()
    assert plain == image.read_bytes()
    assert not inspect_stream([data], ImageFormat.QCOW2).accepted


@needs_qemu
@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_ova_of_a_real_disk_is_accepted(disk: Path, layout: int) -> None:
    vmdk = convert(disk, "vmdk-stream")
    descriptor = disk.with_name("vm.ovf")
    descriptor.write_bytes(
        hostile_images.ovf(files=[("file1", vmdk.name)], disks=[("vmdisk1", "file1", "24")])
    )
    archive = disk.with_name("vm.ova")
    with tarfile.open(archive, "w", format=layout) as tar:
        for path in (descriptor, vmdk):
            tar.add(path, arcname=path.name)
    report = inspect(archive, ImageFormat.OVA)
    assert report.reasons == ()
    assert report.virtual_size_bytes == 24 * MIB
