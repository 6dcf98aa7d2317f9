# SPDX-License-Identifier: Apache-2.0
"""What the operator asks for, after the command line has been read. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.ingest.checksum import ExpectedChecksum
from ssvm_agent.masking import Secret
from ssvm_agent.sysvmtemplate.hypervisors import Hypervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseRequest:
    """What the command line says about the database; the properties file fills the rest.

    Attributes:
        properties: ``db.properties`` of the management server.
        properties_required: Whether it was named, so that it must exist.
        key: Decrypts ``ENC(…)``; ``None`` takes it from where the management server has it.
        socket: Unix socket, instead of host and port.
        ca_file: Certificates to verify the server with; TLS is used when given.
    """

    properties: Path
    properties_required: bool = False
    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: Secret | None = None
    name: str | None = None
    key: Secret | None = None
    socket: str | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One installation.

    Attributes:
        mounts: Where secondary stores are mounted, absolute; the template goes to each.
        file: The template as a local file, absolute and without links, or
        url: where it is downloaded from. Exactly one of the two is set.
        hypervisor: Whose system VM template it is.
        image_format: What the file must be once it is decompressed.
        template_id: Instead of the newest system VM template in the database.
        force: Replace a template that is there.
        checksum: Of the file as it is given or downloaded.
        dry_run: Only look.
        database: None leaves the database alone.
    """

    mounts: tuple[Path, ...]
    hypervisor: Hypervisor
    image_format: ImageFormat
    file: Path | None = None
    url: str | None = None
    template_id: int | None = None
    force: bool = False
    checksum: ExpectedChecksum | None = None
    dry_run: bool = False
    database: DatabaseRequest | None = field(default=None)
