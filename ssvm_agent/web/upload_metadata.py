# SPDX-License-Identifier: Apache-2.0
"""What the management server says about an upload, inside the encrypted metadata (5.4).

Pure translation of ``TemplateOrVolumePostUploadCommand``: a plain JSON object, not an envelope of
commands. Unknown fields are ignored; a field of the wrong type refuses the whole text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from ssvm_agent.masking import mask_url
from ssvm_agent.messages.envelope import decode_object
from ssvm_agent.messages.errors import MessageError
from ssvm_agent.messages.upload import TemplateOrVolumePostUploadCommand
from ssvm_agent.web.upload_crypto import MetadataError

GIB: Final = 1 << 30
# An account limit no cloud gives in GiB: 4.22 servers put bytes into this field.
_LARGEST_LIMIT_GIB: Final = 1 << 28
# Templates are sent with 0 (storage-commands.md 5.4).
_DEFAULT_PROCESS_TIMEOUT_S: Final = 3600
_MAX_GIB_DIGITS: Final = 9


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
        command = decode_object(TemplateOrVolumePostUploadCommand, text.encode())
    except MessageError as error:
        raise MetadataError("The metadata cannot be read.", detail=str(error)) from error
    return UploadMetadata(
        entity_id=command.entity_id,
        entity_uuid=_needed("entityUUID", command.entity_uuid),
        kind=_kind(_needed("type", command.type)),
        directory=_needed("absolutePath", command.absolute_path),
        name=_needed("name", command.name),
        image_format=_needed("imageFormat", command.image_format),
        store_url=_needed("dataTo", command.data_to),
        account_id=command.account_id,
        max_size_bytes=_max_size(_needed("maxUploadSize", command.max_upload_size)),
        account_limit_bytes=_account_limit(command.default_max_secondary_storage_in_gb),
        store_role=command.data_to_role or "Image",
        checksum=command.checksum or "",
        description=command.description or "",
        requires_hvm=command.requires_hvm,
        nfs_version=command.nfs_version or None,
        process_timeout_s=command.process_timeout or _DEFAULT_PROCESS_TIMEOUT_S,
    )


def _needed(name: str, value: str | None) -> str:
    if not value:
        raise MetadataError(f"The metadata has no {name}.")
    return value


def _kind(text: str) -> Literal["TEMPLATE", "VOLUME"]:
    match text:
        case "TEMPLATE" | "VOLUME":
            return text
        case _:
            raise MetadataError(f"The metadata has the unknown type {text!r}.")


def _max_size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= _MAX_GIB_DIGITS and int(text)):
        raise MetadataError("The metadata has no usable maxUploadSize.")
    return int(text) * GIB


def _account_limit(limit: int) -> int | None:
    if limit < 0:
        return None
    # Differs: storage-commands.md 5.4: 4.22 sends bytes and 4.23 GiB; both are honoured.
    return limit if limit >= _LARGEST_LIMIT_GIB else limit * GIB
