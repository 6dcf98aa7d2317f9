# SPDX-License-Identifier: Apache-2.0
"""What the guest fetches: images made here by the usual tools, and the web server they lie on."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MIB: Final = 1 << 20
# Small: an emulated guest decompresses at a tenth of the usual speed.
_CONTENT_BYTES: Final = 2 * MIB
_DISK_MIB: Final = 8

_OVF: Final = """<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
          xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
  <References>
    <File ovf:id="file1" ovf:href="{disk}" ovf:size="{size}"/>
  </References>
  <DiskSection>
    <Info>disks</Info>
    <Disk ovf:diskId="disk1" ovf:fileRef="file1" ovf:capacity="{capacity}"
          ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <VirtualSystem ovf:id="machine">
    <Info>a machine</Info>
    <Name>machine</Name>
    <OperatingSystemSection ovf:id="94"><Info>system</Info></OperatingSystemSection>
    <VirtualHardwareSection><Info>hardware</Info></VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"""


@dataclass(frozen=True, slots=True)
class Published:
    """A file on the site.

    Attributes:
        path: As served.
        plain: What must lie in the store afterwards; the same file when it is not compressed.
        format: The management server's word.
    """

    path: Path
    plain: Path
    format: str

    @property
    def checksum(self) -> str:
        """``{ALG}hex`` of the file as served."""
        with self.path.open("rb") as file:
            return f"{{SHA-512}}{hashlib.file_digest(file, 'sha512').hexdigest()}"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Makes the images on first use; all lie in one folder."""

    root: Path

    def raw(self) -> Published:
        """A bare ext4 file system with something in it."""
        path = self.root / "volume.raw"
        if not path.exists():
            content = self.root / "content"
            content.mkdir()
            (content / "noise").write_bytes(os.urandom(_CONTENT_BYTES))
            (content / "text").write_bytes(b"all work and no play\n" * 20_000)
            _run("mke2fs", "-q", "-t", "ext4", "-d", content, path, f"{_DISK_MIB}M")
        return Published(path, path, "RAW")

    def qcow2(self) -> Published:
        """The same as a qcow2 disk."""
        path = self.root / "disk.qcow2"
        if not path.exists():
            _run("qemu-img", "convert", "-O", "qcow2", "-f", "raw", self.raw().path, path)
        return Published(path, path, "QCOW2")

    def template(self) -> Published:
        """The qcow2 disk in bzip2, as templates are usually published."""
        plain = self.qcow2().path
        path = plain.with_name(plain.name + ".bz2")
        if not path.exists():
            _run("bzip2", "-k1", plain)
        return Published(path, plain, "QCOW2")

    def iso(self) -> Published:
        """A plain ISO of a few files."""
        path = self.root / "tools.iso"
        if not path.exists():
            _run("genisoimage", "-quiet", "-R", "-o", path, self.raw().path)
        return Published(path, path, "ISO")

    def ova(self) -> Published:
        """An appliance of one disk."""
        path = self.root / "appliance.ova"
        if not path.exists():
            disk, ovf = self.root / "appliance-disk1.vmdk", self.root / "appliance.ovf"
            raw = self.raw().path
            _run("qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized",
                 "-f", "raw", raw, disk)  # fmt: skip
            size, capacity = disk.stat().st_size, raw.stat().st_size
            ovf.write_text(_OVF.format(disk=disk.name, size=size, capacity=capacity))
            with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
                for member in (ovf, disk):
                    archive.add(member, member.name)
        return Published(path, path, "OVA")

    def large(self, size_mib: int) -> Published:
        """A raw disk of random content, for what takes its time."""
        path = self.root / f"large-{size_mib}.raw"
        if not path.exists():
            sector = (
                bytes(446) + b"\x80\0\2\0\x83\0\2\0\1\0\0\0\xff\0\0\0" + bytes(48) + b"\x55\xaa"
            )
            path.write_bytes(sector + os.urandom(size_mib * MIB - len(sector)))
        return Published(path, path, "RAW")


def _run(*argv: str | Path) -> None:
    subprocess.run([str(word) for word in argv], check=True, capture_output=True)
