# SPDX-License-Identifier: Apache-2.0
"""An upload as the server orders it: what it signs and encrypts, and what a browser then sends.

The URL, the three texts and the metadata are those of storage-commands.md 5.3 and 5.4. Nothing is
sent from here.
"""

from __future__ import annotations

import json
import secrets
import shlex
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from ssvm_agent.masking import Secret
from ssvm_agent.sealed import SealVersion, seal_v1
from ssvm_agent.simulator import commands
from ssvm_agent.simulator.model import Fields, Message
from ssvm_agent.web.upload_crypto import encrypt_metadata, sign

FIELD: Final = "files[]"
"""Name of the form field with the file, as the web interface calls it."""

_V2_IV_BYTES: Final = 12
_V1_SALT_BYTES: Final = 8
_AREAS: Final = {"TEMPLATE": "template/tmpl", "VOLUME": "volumes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadTicket:
    """What the API of the server tells whoever asked to upload.

    Attributes:
        post_url: Where to send the form.
        metadata: The encrypted order.
        expires: ISO 8601, in milliseconds and UTC.
        signature: Over the other three; the URL without a port.
    """

    uuid: str
    post_url: str
    metadata: str
    expires: str
    signature: str

    def headers(self) -> dict[str, str]:
        """The three headers a form sends."""
        return {
            "X-signature": self.signature,
            "X-metadata": self.metadata,
            "X-expires": self.expires,
        }

    def curl(self, file: str = "FILE") -> str:
        """A command line that uploads a file as a form would."""
        words = ["curl"]
        for name, value in self.headers().items():
            words += ["-H", f"{name}: {value}"]
        return shlex.join([*words, "-F", f"{FIELD}=@{file}", self.post_url])


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadOrder:
    """What may be uploaded and as what (storage-commands.md 5.4).

    Attributes:
        entity_id: Of the template or volume.
        name: Unique name of a template, name of a volume.
        store_url: Of the image store it goes to.
        kind: TEMPLATE (ISOs too) or VOLUME.
        extra: Further fields of the metadata, or other values for them.
    """

    entity_id: int
    name: str
    store_url: str
    kind: str = "TEMPLATE"
    format: str = "QCOW2"
    account_id: int = 2
    max_size_gib: int = 500
    checksum: str | None = None
    description: str = ""
    hvm: bool = True
    extra: Fields = field(default_factory=dict)
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))

    def directory(self) -> str:
        """Where it goes below the store."""
        return f"{_AREAS[self.kind]}/{self.account_id}/{self.entity_id}"

    def document(self) -> Fields:
        """The metadata before encryption."""
        known: Fields = {
            "entityId": self.entity_id,
            "entityUUID": self.uuid,
            "absolutePath": self.directory(),
            "checksum": self.checksum,
            "type": self.kind,
            "name": self.name,
            "requiresHvm": self.hvm,
            "imageFormat": self.format,
            "dataTo": self.store_url,
            "dataToRole": "Image",
            "maxUploadSize": str(self.max_size_gib),
            "description": self.description or self.name,
            "defaultMaxSecondaryStorageInGB": -1,
            "processTimeout": 0,
            "accountId": self.account_id,
            **self.extra,
        }
        return {name: value for name, value in known.items() if value is not None}

    def ticket(
        self, key: Secret, base: str, expires: datetime, encryption: SealVersion = SealVersion.V2
    ) -> UploadTicket:
        """Sign it; arguments as of :func:`sign_upload`."""
        return sign_upload(
            key,
            json.dumps(self.document()),
            base=base,
            uuid=self.uuid,
            expires=expires,
            encryption=encryption,
        )

    def status_command(self, *, abort: bool | None = None) -> Message:
        """The question how far it is; with ``abort`` (4.23) it ends there."""
        return commands.command(
            commands.STORAGE + "UploadStatusCommand",
            entityUuid=self.uuid,
            entityType=self.kind.capitalize(),
            abort=abort,
        )


def sign_upload(
    key: Secret,
    plaintext: str,
    *,
    base: str,
    uuid: str,
    expires: datetime,
    encryption: SealVersion = SealVersion.V2,
) -> UploadTicket:
    """Encrypt a metadata text and sign the upload (storage-commands.md 5.3).

    Args:
        key: The ``postUploadKey`` of the zone.
        plaintext: The metadata.
        base: Scheme and host of the URL. A port leads the browser there; the server, which knows
            none, signs without it.
        uuid: Of the template or volume.
        expires: Aware; from then on the upload is refused.
        encryption: V2, or V1 as servers before 4.18.
    """
    if encryption is SealVersion.V2:
        metadata = encrypt_metadata(key, plaintext, iv=secrets.token_bytes(_V2_IV_BYTES))
    else:
        metadata = seal_v1(key, plaintext, salt=secrets.token_bytes(_V1_SALT_BYTES))
    until = expires.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    path = f"/upload/{uuid}"
    signature = sign(key, metadata=metadata, url=_without_port(base) + path, expires=until)
    return UploadTicket(
        uuid=uuid, post_url=base + path, metadata=metadata, expires=until, signature=signature
    )


def _without_port(base: str) -> str:
    port = urlsplit(base).port
    return base if port is None else base.removesuffix(f":{port}")
