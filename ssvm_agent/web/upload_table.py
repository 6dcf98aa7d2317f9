# SPDX-License-Identifier: Apache-2.0
"""What became of each upload, as UploadStatusCommand asks for it (storage-commands.md 5.6).

One entry per upload and no state shared between them. An entry is made only for a request whose
signature was right; it ends as COMPLETED or ERROR once and stays readable for a day, so an answer
that got lost can be asked for again. No I/O.

Differs: storage-commands.md 5.6: a terminal state is repeated, not forgotten after the first read.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from ssvm_agent.images.ovf import OvfFacts
from ssvm_agent.images.ovf_disks import DataDisk
from ssvm_agent.images.ovf_record import from_record, to_record
from ssvm_agent.ingest.progress import Progress
from ssvm_agent.web.errors import UploadRefusedError

# The server polls every 60 s and gives up after upload.operation.timeout, an hour by default.
KEEP_FINISHED: Final = timedelta(days=1)
MAX_ENTRIES: Final = 10_000
ABORTED_MESSAGE: Final = "Upload Entity aborted"
BROKEN_MESSAGE: Final = "file receive failed or connection closed prematurely."
RESTARTED_MESSAGE: Final = "The upload was interrupted by a restart of the agent."


class UploadState(StrEnum):
    """States of an upload; an upload never heard of is UNKNOWN to the server."""

    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadResult:
    """What an upload leaves in the store.

    Attributes:
        store: Name of the store's directory.
        install_path: Relative to the store's root.
        ovf: What the OVF says, for OVA templates.
        disks: Its disks.
        directory: Where the OVA was unpacked, absolute.
    """

    store: str
    install_path: str
    virtual_size_bytes: int
    physical_size_bytes: int
    ovf: OvfFacts | None = None
    disks: tuple[DataDisk, ...] = ()
    directory: Path = Path()


@dataclass(slots=True, kw_only=True, eq=False)
class Upload:
    """One entry. The entrance that made it writes it; everybody else reads."""

    uuid: str
    description: str
    """For logs and the status page: kind, id and directory."""
    content_length: int
    started: datetime
    signed_until: datetime
    """When the URL it came by expires."""
    progress: Progress = field(default_factory=Progress)
    body_bytes: int = 0
    """Bytes of the request body so far, the form around the file included."""
    state: UploadState = UploadState.IN_PROGRESS
    message: str = ""
    result: UploadResult | None = None
    """Known shortly before the image is visible, so that a restart in between can tell."""
    ended: datetime | None = None
    cancel: Callable[[], None] | None = None
    """Stops the work behind the entry, while there is some."""

    @property
    def percent(self) -> int:
        """Share of the body received (5.6); 100 only when the body is complete."""
        if self.state is UploadState.COMPLETED:
            return 100
        return min(100, 100 * self.body_bytes // max(1, self.content_length))


async def _forget() -> None:
    """A table nobody saves."""


class UploadTable:
    """All uploads by entity uuid.

    Args:
        on_change: Called after a state changed, to have the table saved soon.
        save: Saves the table now.
    """

    def __init__(
        self,
        on_change: Callable[[], None] = lambda: None,
        *,
        save: Callable[[], Awaitable[None]] = _forget,
    ) -> None:
        self._save = save
        self._uploads: dict[str, Upload] = {}
        self._on_change = on_change

    def __iter__(self) -> Iterator[Upload]:
        return iter(tuple(self._uploads.values()))

    def find(self, uuid: str) -> Upload | None:
        """The upload of this entity; ``None``: unknown."""
        return self._uploads.get(uuid.lower())

    @property
    def running(self) -> int:
        """How many are in progress."""
        return sum(one.state is UploadState.IN_PROGRESS for one in self._uploads.values())

    def require_unused(self, uuid: str) -> None:
        """Refuse a URL that was used before (5.5.3).

        Raises:
            UploadRefusedError: With the state the first use is in.
        """
        used = self.find(uuid)
        if used is not None:
            raise UploadRefusedError(
                HTTPStatus.BAD_REQUEST,
                "The one time post url is already used and the upload is in "
                f"{used.state.value} state.",
            )

    def claim(self, upload: Upload) -> None:
        """Enter an upload; from here on its URL is used.

        Raises:
            UploadRefusedError: Somebody was faster.
        """
        self.require_unused(upload.uuid)
        if len(self._uploads) >= MAX_ENTRIES:
            self._drop_oldest()
        self._uploads[upload.uuid.lower()] = upload
        self._on_change()

    async def expect(self, upload: Upload, result: UploadResult) -> None:
        """The image will be visible in the store at once, or never; returns when that is saved.

        :meth:`load` leaves such an upload in progress: the store tells what became of it.
        """
        if upload.state is UploadState.IN_PROGRESS:
            upload.result = result
            await self._save()

    def complete(self, upload: Upload, result: UploadResult, now: datetime) -> None:
        """The image is in the store. A state that ended before, by abort, stays."""
        if upload.state is UploadState.IN_PROGRESS:
            upload.result = result
            self._end(upload, UploadState.COMPLETED, "", now)

    def fail(self, upload: Upload, message: str, now: datetime) -> None:
        """The upload came to nothing. The first reason stays (R14)."""
        if upload.state is UploadState.IN_PROGRESS:
            upload.result = None
            self._end(upload, UploadState.ERROR, message, now)

    def abort(self, uuid: str, now: datetime) -> None:
        """Stop an upload in progress (4.23 ``abort``); others are left as they are."""
        upload = self.find(uuid)
        if upload is None or upload.state is not UploadState.IN_PROGRESS:
            return
        cancel = upload.cancel
        self.fail(upload, ABORTED_MESSAGE, now)
        if cancel is not None:
            cancel()

    def sweep(self, now: datetime) -> None:
        """Forget ends nobody will ask for any more; never while their URL could be used again."""
        stale = [
            key
            for key, one in self._uploads.items()
            if one.ended is not None and max(one.ended + KEEP_FINISHED, one.signed_until) <= now
        ]
        for key in stale:
            del self._uploads[key]
        if stale:
            self._on_change()

    def to_document(self) -> dict[str, object]:
        """All entries as JSON values."""
        return {"uploads": [_to_entry(upload) for upload in self._uploads.values()]}

    def load(self, document: Mapping[str, Any], now: datetime) -> None:
        """Take over a document of :meth:`to_document`.

        What was in progress when the process ended has failed; where the image was about to become
        visible (:meth:`expect`), the store has to be asked and the upload stays in progress.
        """
        for entry in document.get("uploads", ()):
            try:
                upload = _from_entry(entry)
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
            if upload.state is UploadState.IN_PROGRESS and upload.result is None:
                upload.state, upload.message = UploadState.ERROR, RESTARTED_MESSAGE
                upload.ended = now
            self._uploads[upload.uuid.lower()] = upload

    def _end(self, upload: Upload, state: UploadState, message: str, now: datetime) -> None:
        upload.state, upload.message, upload.ended = state, message, now
        upload.cancel = None
        self._on_change()

    def _drop_oldest(self) -> None:
        ended = [(one.ended, key) for key, one in self._uploads.items() if one.ended is not None]
        if not ended:
            raise UploadRefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, "Too many uploads are in progress; try again later."
            )
        del self._uploads[min(ended)[1]]


def whole_gib(size_bytes: int) -> int:
    """Bytes in GiB, rounded up, as the texts of the server's users have it."""
    return math.ceil(size_bytes / (1 << 30))


def _to_entry(upload: Upload) -> dict[str, object]:
    return {
        "uuid": upload.uuid,
        "description": upload.description,
        "content_length": upload.content_length,
        "body_bytes": upload.body_bytes,
        "started": upload.started.isoformat(),
        "signed_until": upload.signed_until.isoformat(),
        "state": upload.state.value,
        "message": upload.message,
        "ended": None if upload.ended is None else upload.ended.isoformat(),
        "result": None if upload.result is None else _to_result(upload.result),
    }


def _to_result(result: UploadResult) -> dict[str, object]:
    return {
        "store": result.store,
        "install_path": result.install_path,
        "virtual_size_bytes": result.virtual_size_bytes,
        "physical_size_bytes": result.physical_size_bytes,
        "ovf": to_record(result.ovf, result.disks),
        "directory": str(result.directory),
    }


def _from_entry(entry: Mapping[str, Any]) -> Upload:
    result = entry["result"]
    return Upload(
        uuid=str(entry["uuid"]),
        description=str(entry["description"]),
        content_length=int(entry["content_length"]),
        body_bytes=int(entry["body_bytes"]),
        started=datetime.fromisoformat(entry["started"]),
        signed_until=datetime.fromisoformat(entry["signed_until"]),
        state=UploadState(entry["state"]),
        message=str(entry["message"]),
        ended=None if entry["ended"] is None else datetime.fromisoformat(entry["ended"]),
        result=None if result is None else _from_result(result),
    )


def _from_result(result: Mapping[str, Any]) -> UploadResult:
    # An earlier agent wrote neither the store nor the OVF nor its directory.
    ovf, disks = from_record(result.get("ovf"))
    return UploadResult(
        store=str(result.get("store", "")),
        install_path=str(result["install_path"]),
        virtual_size_bytes=int(result["virtual_size_bytes"]),
        physical_size_bytes=int(result["physical_size_bytes"]),
        ovf=ovf,
        disks=disks,
        directory=Path(result.get("directory", "")),
    )
