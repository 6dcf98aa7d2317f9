# SPDX-License-Identifier: Apache-2.0
"""A whole ingest room over a temporary directory, with time that is told and pauses that pass."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ssvm_agent.config.settings import DownloadSettings, Settings
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.ingest import pipeline
from ssvm_agent.ingest.assembly import Ingest, open_ingest
from ssvm_agent.ingest.checksum import ExpectedChecksum
from ssvm_agent.ingest.client import HttpOptions
from ssvm_agent.ingest.progress import Progress
from ssvm_agent.ingest.source import BytesLike, ResumePoint, Source
from ssvm_agent.ingest.spec import IngestSpec, Installed
from ssvm_agent.storage.layout import ImageKind
from ssvm_agent.storage.service import StoreService
from ssvm_agent.storage.stores import Store, StoreRef
from tests.fakes.machine import FakeClock, FakeRunner

DIRECTORY = "template/tmpl/2/201"


@dataclass
class BytesSource:
    """A source that is just there."""

    pieces: Sequence[bytes | memoryview]
    promised: ExpectedChecksum | None = None
    size: int | None = None
    failure: Exception | None = None
    opened: int = 0
    validator: str | None = None

    @property
    def expected_size_bytes(self) -> int | None:
        return self.size

    @property
    def checksum(self) -> ExpectedChecksum | None:
        return self.promised

    async def measure(self) -> int | None:
        return self.size

    def describe(self) -> str:
        return "bytes"

    async def open(
        self, progress: Progress, *, resume: ResumePoint | None = None
    ) -> AsyncGenerator[BytesLike, None]:
        self.opened += 1
        skip = resume.offset if resume else 0
        for piece in self.pieces:
            rest = piece[skip:]
            skip = max(0, skip - len(piece))
            if rest:
                yield rest
        if self.failure is not None:
            raise self.failure


@dataclass
class Rig:
    """The room and what it stands on."""

    ingest: Ingest
    store: Store
    stores: StoreService
    clock: FakeClock
    settings: Settings
    root: Path
    progress: Progress = field(default_factory=Progress)

    @property
    def directory(self) -> Path:
        """Where the images of these tests go."""
        return self.root / DIRECTORY

    def files(self) -> list[str]:
        """The names in it."""
        if not self.directory.exists():
            return []
        return sorted(path.name for path in self.directory.iterdir())

    def source(self, url: str, **options: object) -> Source:
        return self.ingest.tools.sources.make(url, HttpOptions(**options))  # type: ignore[arg-type]

    def spec(self, source: Source, **changes: object) -> IngestSpec:
        base = IngestSpec(
            job_id="11111111-2222-3333-4444-555555555555",
            kind=ImageKind.TEMPLATE,
            store=self.store,
            directory=DIRECTORY,
            name="201-2-0a5b7c3e",
            image_id=201,
            account_id=2,
            image_format=ImageFormat.RAW,
            source=source,
        )
        return replace(base, **changes)  # type: ignore[arg-type]

    async def run(self, source: Source, **changes: object) -> Installed:
        return await pipeline.run(self.spec(source, **changes), self.progress, self.ingest.tools)

    async def fetch(self, url: str, **options: object) -> bytes:
        """All bytes of a URL, without a store."""
        pieces = [bytes(piece) async for piece in self.source(url, **options).open(self.progress)]
        return b"".join(pieces)


@asynccontextmanager
async def ingest_rig(
    tmp_path: Path, *, clock: FakeClock | None = None, **download: object
) -> AsyncIterator[Rig]:
    """A room with a directory store below ``tmp_path``; a second one there is the next process."""
    download.setdefault("allow_loopback_sources", True)
    download.setdefault("ca_dir", tmp_path / "ca.d")
    clock = clock or FakeClock()
    root = tmp_path / "store"
    root.mkdir(exist_ok=True)
    settings = Settings(
        state_dir=tmp_path / "state",
        mount_root=tmp_path,
        download=DownloadSettings(**download),  # type: ignore[arg-type]
    )
    stores = StoreService(mount_root=tmp_path / "mnt", runner=FakeRunner(), clock=clock)
    store = await stores.open(StoreRef(url=f"file://{root}"))
    try:
        async with open_ingest(settings, clock=clock, owner="s-1-VM") as ingest:
            yield Rig(ingest, store, stores, clock, settings, root)
    finally:
        await stores.close()
