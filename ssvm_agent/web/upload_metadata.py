# SPDX-License-Identifier: Apache-2.0
"""What the management server says about an upload, inside the encrypted metadata (5.4).

Pure translation of ``TemplateOrVolumePostUploadCommand``: a plain JSON object, not an envelope of
commands. Unknown fields are ignored; a field of the wrong type refuses the whole text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from ssvm_agent.masking import mask_url
from ssvm_agent.web.upload_crypto import MetadataError

GIB: Final = 1 << 30
UNLIMITED: Final = -1
# An account limit no cloud gives in GiB: 4.22 servers put bytes into this field.
_LARGEST_LIMIT_GIB: Final = 1 << 28
# Templates are sent with 0 (storage-commands.md 5.4).
_DEFAULT_PROCESS_TIMEOUT_S: Final = 3600
_MAX_INT64: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadMetadata:
    """One upload as the server ordered it. Not yet checked against paths or formats."""

    entity_id: int
    entity_uuid: str
    kind: Literal["TEMPLATE", "VOLUME"]
    directory: str
    """Install directory, relative to the store's root (``absolutePath``)."""
    name: str
    image_format: str
    """Format name as the server writes it, e.g. ``QCOW2``."""
    store_url: str
    account_id: int
    max_size_bytes: int
    """Largest file; also the largest virtual size."""
    account_limit_bytes: int | None = None
    """Limit of the account's secondary storage; ``None``: unlimited."""
    store_role: str = "Image"
    checksum: str = ""
    description: str = ""
    requires_hvm: bool = False
    nfs_version: str | None = None
    process_timeout_s: int = _DEFAULT_PROCESS_TIMEOUT_S

    def __repr__(self) -> str:
        return (
            f"UploadMetadata({self.kind} {self.entity_uuid!r} id={self.entity_id} "
            f"directory={self.directory!r} store={mask_url(self.store_url)!r})"
        )


def parse_metadata(text: str) -> UploadMetadata:
    """Read the decrypted JSON.

    Raises:
        MetadataError: It is no JSON object, or a needed field is absent or of the wrong type.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MetadataError("The metadata is not JSON.") from error
    if not isinstance(document, dict):
        raise MetadataError("The metadata is not a JSON object.")
    fields = _Fields(document)
    return UploadMetadata(
        entity_id=fields.integer("entityId"),
        entity_uuid=fields.text("entityUUID"),
        kind=_kind(fields.text("type")),
        directory=fields.text("absolutePath"),
        name=fields.text("name"),
        image_format=fields.text("imageFormat"),
        store_url=fields.text("dataTo"),
        account_id=fields.integer("accountId"),
        max_size_bytes=_max_size(fields.integer("maxUploadSize")),
        account_limit_bytes=_account_limit(
            fields.integer("defaultMaxSecondaryStorageInGB", default=UNLIMITED)
        ),
        store_role=fields.text("dataToRole", default="Image"),
        checksum=fields.text("checksum", default=""),
        description=fields.text("description", default=""),
        requires_hvm=fields.boolean("requiresHvm"),
        nfs_version=fields.text("nfsVersion", default="") or None,
        process_timeout_s=fields.integer("processTimeout", default=0) or _DEFAULT_PROCESS_TIMEOUT_S,
    )


class _Fields:
    """Typed access to the object; numbers may be texts, as the server's own reader allows."""

    def __init__(self, document: Mapping[str, object]) -> None:
        self._document = document

    def text(self, name: str, *, default: str | None = None) -> str:
        value = self._document.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or (default is None and not value):
            raise MetadataError(f"The metadata has no usable {name}.")
        return value

    def integer(self, name: str, *, default: int | None = None) -> int:
        value = self._document.get(name)
        if value is None and default is not None:
            return default
        if isinstance(value, str):
            try:
                value = int(value)
            except ValueError as error:
                raise MetadataError(f"The metadata has no usable {name}.") from error
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _MAX_INT64:
            raise MetadataError(f"The metadata has no usable {name}.")
        return value

    def boolean(self, name: str) -> bool:
        value = self._document.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise MetadataError(f"The metadata has no usable {name}.")
        return value


def _kind(text: str) -> Literal["TEMPLATE", "VOLUME"]:
    match text:
        case "TEMPLATE" | "VOLUME":
            return text
        case _:
            raise MetadataError(f"The metadata has the unknown type {text!r}.")


def _max_size(gib: int) -> int:
    if gib <= 0:
        raise MetadataError("The metadata has no usable maxUploadSize.")
    return gib * GIB


def _account_limit(limit: int) -> int | None:
    if limit < 0:
        return None
    # Differs: storage-commands.md 5.4: 4.22 sends bytes and 4.23 GiB; both are honoured.
    return limit if limit >= _LARGEST_LIMIT_GIB else limit * GIB
