# SPDX-License-Identifier: Apache-2.0
"""What shall be brought in, and what then lies there. Plain data, the same for every way in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.ingest.checksum import ExpectedChecksum
from ssvm_agent.ingest.limits import DEFAULT_MAX_SIZE_BYTES
from ssvm_agent.ingest.source import ResumePoint, Source
from ssvm_agent.storage.layout import ImageKind
from ssvm_agent.storage.stores import Store

if TYPE_CHECKING:
    from ssvm_agent.images.ovf import OvfFacts
    from ssvm_agent.images.ovf_disks import DataDisk


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPart:
    """One file of a snapshot: its source and its path below the install directory."""

    source: Source
    relative_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSpec:
    """One image to bring into a store.

    Attributes:
        job_id: Names the temporary file, so that a sweep knows whose it is.
        kind: TEMPLATE (ISOs too) or VOLUME; snapshots use :class:`SnapshotSpec`.
        store: The open store.
        directory: Install directory relative to the store root, ``template/tmpl/2/201``.
        name: Unique name of the template or volume.
        image_format: What the command declares; anything else is refused.
        checksum: Digest of the bytes as received; ``None`` computes SHA-512.
        max_size_bytes: Byte-exact limit on the wire and after decompression.
        max_virtual_size_bytes: Limit of the size the image announces, if any.
        resume: Continue the job's own temporary file of an earlier process.
        compute_checksum: Whether a digest is made when none is given.
        record_checksum: Whether the given digest goes into the properties (uploaded volumes).
        file_stem: Names an ISO file instead of ``name``.
        unpack_deadline_s: For laying the members of an OVA beside it.
    """

    job_id: str
    kind: ImageKind
    store: Store
    directory: str
    name: str
    image_id: int
    account_id: int
    image_format: ImageFormat
    source: Source
    description: str = ""
    hvm: bool = False
    checksum: ExpectedChecksum | None = None
    max_size_bytes: int = DEFAULT_MAX_SIZE_BYTES
    max_virtual_size_bytes: int | None = None
    resume: ResumePoint | None = None
    compute_checksum: bool = True
    record_checksum: bool = False
    file_stem: str | None = None
    unpack_deadline_s: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSpec:
    """A snapshot to bring in: one or several files, no properties file (storage-commands.md 4.10).

    Attributes:
        install_path: What is answered as install path once all parts lie there.
    """

    job_id: str
    store: Store
    directory: str
    parts: tuple[SnapshotPart, ...]
    install_path: str
    max_size_bytes: int = DEFAULT_MAX_SIZE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What lies in the store after a successful ingest.

    Attributes:
        install_path: Relative to the store root, ``template/tmpl/2/201/<file>``.
        virtual_size_bytes: Size the guest sees; 0 for snapshots.
        physical_size_bytes: Length of the installed file(s).
        checksum_text: ``{SHA-512}hex`` of the bytes as received; empty when none was made.
        ovf: What the OVF says, for OVA templates.
        disks: Its disks, held against the unpacked files.
    """

    install_path: str
    virtual_size_bytes: int
    physical_size_bytes: int
    checksum_text: str
    ovf: OvfFacts | None = None
    disks: tuple[DataDisk, ...] = ()
