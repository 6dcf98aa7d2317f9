# SPDX-License-Identifier: Apache-2.0
"""What tests of the HTTP side hold in their hands, and requests as the other sides make them."""

from __future__ import annotations

import asyncio
import os
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp

from ssvm_agent.masking import Secret
from ssvm_agent.simulator.uploads import UploadOrder, UploadTicket
from ssvm_agent.storage.service import StoreService
from ssvm_agent.storage.stores import Store
from ssvm_agent.web.server import WebServices
from tests.fixtures.apache import ApacheHome

KEY = "test-psk"


@dataclass(slots=True, kw_only=True)
class Rig:
    """A running HTTP side.

    Attributes:
        web: The object under test.
        store: A plain directory store.
        data: Its directory.
        apache: Set when Apache serves the public ports.
    """

    web: WebServices
    stores: StoreService
    store: Store
    data: Path
    usage: Any
    http_port: int
    https_port: int
    apache: ApacheHome | None = None

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def https(self) -> str:
        return f"https://127.0.0.1:{self.https_port}"

    @property
    def proxied(self) -> str:
        return f"http://127.0.0.1:{self.web.ports.upload}"

    async def publish(self, content: bytes, *, name: str = "disk.qcow2") -> str:
        """Put a file into the store and publish it; returns the path of its URL."""
        path = f"volumes/2/{secrets.randbelow(10**6)}/{name}"
        file = self.data / path
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        # Apache tells the states of a file that was changed just now not apart.
        os.utime(file, (1_700_000_000, 1_700_000_000))
        link = await self.web.publish(self.store.directory_name, path, str(uuid4()), name)
        return f"/userdata/{link.key}"

    def leftovers(self) -> list[str]:
        """Everything in the upload areas of the store."""
        return sorted(
            str(path.relative_to(self.data))
            for area in ("template", "volumes")
            for path in (self.data / area).rglob("*")
            if path.is_file()
        )


@dataclass(slots=True, kw_only=True)
class Order:
    """One upload as the management server orders it."""

    rig: Rig
    uuid: str = field(default_factory=lambda: str(uuid4()))
    entity_id: int = 205
    key: str = KEY
    host: str = "127.0.0.1"
    scheme: str = "http"
    life: timedelta = timedelta(hours=1)
    metadata: dict[str, object] = field(default_factory=dict)

    def headers(self) -> dict[str, str]:
        """The three headers a form sends."""
        return self.ticket().headers()

    def ticket(self, *, at: str | None = None) -> UploadTicket:
        """The order, signed; ``at`` is where a browser finds the rig."""
        order = UploadOrder(
            uuid=self.uuid,
            entity_id=self.entity_id,
            name=f"{self.entity_id}-2-upload",
            store_url=f"file://{self.rig.data}",
            max_size_gib=1,
            extra=self.metadata,
        )
        base = at or f"{self.scheme}://{self.host}"
        return order.ticket(Secret(self.key), base, datetime.now(UTC) + self.life)


def form(
    content: bytes, *, name: str = "disk.qcow2", field_name: str = "files[]"
) -> tuple[bytes, str]:
    """A body and its content type, as a browser makes them."""
    boundary = f"----WebKitFormBoundary{secrets.token_hex(8)}"
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{field_name}"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer."""

    status: int
    text: str
    headers: Any


async def post(url: str, order: Order | UploadTicket, content: bytes, **options: Any) -> Reply:
    """Send an upload; a certificate nobody signed will do."""
    body, content_type = form(content, **options)
    async with aiohttp.ClientSession() as session:
        headers = {**order.headers(), "Content-Type": content_type}
        async with session.post(url, data=BytesIO(body), headers=headers, ssl=False) as answer:
            return Reply(status=answer.status, text=await answer.text(), headers=answer.headers)


async def raw(port: int, request: bytes, *, wait_s: float = 10) -> bytes:
    """Send bytes and read until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(wait_s):
            return await reader.read()
    finally:
        writer.close()


def status_of(answer: bytes) -> int:
    """The status of a raw answer; 0 when there was none."""
    parts = answer.split(b" ", 2)
    return int(parts[1]) if len(parts) > 2 else 0
