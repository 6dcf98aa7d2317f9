# SPDX-License-Identifier: Apache-2.0
"""From an upload's metadata to the install pipeline: the same one downloads take (R31)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.ingest import pipeline
from ssvm_agent.ingest.checksum import ExpectedChecksum
from ssvm_agent.ingest.progress import Progress
from ssvm_agent.ingest.spec import IngestSpec, Installed
from ssvm_agent.ingest.tools import IngestTools
from ssvm_agent.storage.errors import PathEscapeError
from ssvm_agent.storage.layout import TEMPLATES, VOLUMES, ImageKind, check_relative
from ssvm_agent.storage.paths import is_plain_directory, resolve_inside
from ssvm_agent.storage.stores import Store, StoreRef
from ssvm_agent.web.upload_metadata import UploadMetadata
from ssvm_agent.web.upload_source import FormFileSource
from ssvm_agent.web.upload_table import UploadResult


class StoreOpener(Protocol):
    """Opens stores by URL; implemented by the store service."""

    async def open(self, ref: StoreRef) -> Store:
        """The live store."""
        ...


class AccountUsage(Protocol):
    """Knows how much each account keeps on a store (requirement R23)."""

    async def used_bytes(self, store: Store, account_id: int) -> int:
        """Bytes of templates, volumes and snapshots of the account."""
        ...


class PipelineInstaller:
    """Opens the store of an upload and sends its file through the pipeline.

    Args:
        stores: Opens stores.
        tools: Equipment of the pipeline.
        usage: Usage per account, for the quota.
    """

    def __init__(self, *, stores: StoreOpener, tools: IngestTools, usage: AccountUsage) -> None:
        self._stores = stores
        self._tools = tools
        self._usage = usage

    async def prepare(self, metadata: UploadMetadata) -> PipelineUpload:
        """Open the store; refuses metadata that names no install directory.

        Raises:
            AgentError: The store, the directory or the format cannot be used.
        """
        directory = _install_directory(metadata)
        image_format = ImageFormat.from_name(metadata.image_format)
        store = await self._stores.open(
            StoreRef(
                url=metadata.store_url, role=metadata.store_role, nfs_version=metadata.nfs_version
            )
        )
        exists = await store.run(_exists, store, directory, what=f"look at {directory}")
        return PipelineUpload(
            metadata=metadata,
            store=store,
            directory=directory,
            image_format=image_format,
            checksum=ExpectedChecksum.parse(metadata.checksum) if metadata.checksum else None,
            directory_exists=exists,
            tools=self._tools,
            usage=self._usage,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineUpload:
    """One upload, ready to run."""

    metadata: UploadMetadata
    store: Store
    directory: str
    image_format: ImageFormat
    checksum: ExpectedChecksum | None
    directory_exists: bool
    tools: IngestTools
    usage: AccountUsage

    async def account_used_bytes(self) -> int:
        """How much secondary storage the account uses on this store."""
        return await self.usage.used_bytes(self.store, self.metadata.account_id)

    async def install(
        self,
        source: FormFileSource,
        progress: Progress,
        on_ready: Callable[[UploadResult], Awaitable[None]],
    ) -> UploadResult:
        """Run the pipeline; on failure nothing is left in the store.

        Args:
            source: The body.
            progress: Kept up to date.
            on_ready: Told the result right before the image becomes visible.
        """
        metadata = self.metadata
        spec = IngestSpec(
            job_id=str(uuid4()),
            kind=ImageKind(metadata.kind),
            store=self.store,
            directory=self.directory,
            name=metadata.name,
            image_id=metadata.entity_id,
            account_id=metadata.account_id,
            image_format=self.image_format,
            source=source,
            description=metadata.description,
            hvm=metadata.requires_hvm,
            checksum=self.checksum,
            # Nobody asks for the digest of an upload, and it would cost more than all the rest.
            compute_checksum=False,
            record_checksum=metadata.kind == "VOLUME",
            # Compat: storage-commands.md 5.5, last paragraph: an ISO is named by its entity.
            file_stem=metadata.entity_uuid,
            max_size_bytes=metadata.max_size_bytes,
        )

        async def announce(installed: Installed) -> None:
            await on_ready(self._result(installed))

        installed = await pipeline.run(spec, progress, self.tools, on_ready=announce)
        return self._result(installed)

    def _result(self, installed: Installed) -> UploadResult:
        return UploadResult(
            store=self.store.directory_name,
            install_path=installed.install_path,
            virtual_size_bytes=installed.virtual_size_bytes,
            physical_size_bytes=installed.physical_size_bytes,
            ovf=installed.ovf,
            disks=installed.disks,
            directory=self.store.root / self.directory,
        )


def _install_directory(metadata: UploadMetadata) -> str:
    """The directory as a path of the full depth: area, account, id (S8)."""
    path = check_relative(metadata.directory)
    area = TEMPLATES if metadata.kind == "TEMPLATE" else VOLUMES
    if path.parts[: len(area.parts)] != area.parts or len(path.parts) != len(area.parts) + 2:
        raise PathEscapeError("The upload names no install directory", detail=str(path)[:200])
    return str(path)


def _exists(store: Store, directory: str) -> bool:
    return is_plain_directory(resolve_inside(store.root, directory))
