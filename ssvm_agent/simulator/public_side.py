# SPDX-License-Identifier: Apache-2.0
"""What a server does with the public ports of its system VMs: orders uploads, gives out links.

The server never goes there itself. It tells users URLs, and asks the agent over the link how far an
upload is (storage-commands.md 5.6) and to make and withdraw links.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from ssvm_agent.masking import Secret
from ssvm_agent.sealed import SealVersion
from ssvm_agent.simulator.errors import LinkRefusedError, UploadFailedError
from ssvm_agent.simulator.extracts import ExtractLink
from ssvm_agent.simulator.model import Fields, ImageStore, Message
from ssvm_agent.simulator.server import ManagementServer
from ssvm_agent.simulator.uploads import UploadOrder, UploadTicket


class PublicSide:
    """The uploads and links of one server.

    ``at`` is scheme, host and port where the agent's public side really is. Without it, URLs are
    as the zone is configured, with the public address of the agent's host, without a port.

    Args:
        server: A running server.
    """

    def __init__(self, server: ManagementServer) -> None:
        self._server = server
        self._uploads: dict[str, UploadOrder] = {}
        self._links: dict[str, ExtractLink] = {}

    def order_upload(
        self,
        *,
        name: str,
        store: ImageStore,
        image_id: int | None = None,
        at: str | None = None,
        host: str | None = None,
        life_s: float | None = None,
        encryption: SealVersion = SealVersion.V2,
        **more: Any,
    ) -> tuple[UploadOrder, UploadTicket]:
        """Order an upload and sign it.

        Args:
            name: Unique name.
            store: Where it goes.
            image_id: Taken from a counter unless given.
            at: See above.
            host: Name of the agent's host; the first one unless given.
            life_s: So long the signature is good; an hour (times the timing) unless given.
            encryption: Of the metadata.
            more: Further fields of :class:`UploadOrder`.

        Raises:
            NoAgentError: The public address is not known: no such host.
        """
        number = self._server.take_image_id() if image_id is None else image_id
        order = UploadOrder(entity_id=number, name=name, store_url=store.url, **more)
        zone = self._server.zone
        base = at or zone.upload_base(self._address(host))
        life = timedelta(seconds=self._server.timing.upload_timeout_s if life_s is None else life_s)
        ticket = order.ticket(Secret(zone.upload_key), base, datetime.now(UTC) + life, encryption)
        self._uploads[order.uuid] = order
        return order, ticket

    async def upload_status(
        self, uuid: str, *, host: str | None = None, abort: bool | None = None
    ) -> Message:
        """Ask once how far an upload is, or end it; the answer.

        Raises:
            UploadFailedError: It was not ordered here.
        """
        if uuid not in self._uploads:
            raise UploadFailedError(f"No upload {uuid} was ordered.")
        command = self._uploads[uuid].status_command(abort=abort)
        return await self._server.ask(command, host=host)

    async def upload_result(self, uuid: str, *, host: str | None = None) -> Fields:
        """Ask again and again until an upload has ended: the fields of the COMPLETED answer.

        Raises:
            UploadFailedError: It ended in an error, with the agent's text.
            TimeoutError: It did not end in the time a server gives it.
        """
        timing = self._server.timing
        async with asyncio.timeout(timing.upload_timeout_s):
            while True:
                answer = await self.upload_status(uuid, host=host)
                status = answer.fields.get("status")
                if status == "COMPLETED":
                    return answer.fields
                if status == "ERROR":
                    raise UploadFailedError(answer.details or "no reason given")
                await asyncio.sleep(timing.upload_poll_s)

    async def create_link(
        self,
        *,
        name: str,
        path: str,
        store: ImageStore,
        kind: str = "TEMPLATE",
        at: str | None = None,
        host: str | None = None,
    ) -> ExtractLink:
        """Have a file published, and return the link with the URL the user is shown.

        Args:
            name: Of the template, ISO, volume or snapshot.
            path: Of its file below the store.
            store: Where it is.
            kind: TEMPLATE, ISO, VOLUME or SNAPSHOT.
            at: See above.
            host: Name of the agent's host; the first one unless given.

        Raises:
            LinkRefusedError: The agent did not publish it.
        """
        base = at or self._server.zone.extract_base(self._address(host))
        link = ExtractLink(store=store, path=path, name=name, base=base, kind=kind)
        _check(await self._server.ask(link.create_command(), host=host))
        self._links[link.url] = link
        return link

    async def delete_link(self, url: str, *, host: str | None = None) -> Message:
        """Have a link withdrawn, and the copy that was made for it deleted; the answer.

        Raises:
            LinkRefusedError: It was not made here, or the agent did not delete it.
        """
        if url not in self._links:
            raise LinkRefusedError(f"There is no link {url}.")
        answer = await self._server.ask(self._links[url].delete_command(), host=host)
        _check(answer)
        del self._links[url]
        return answer

    def _address(self, host: str | None) -> str:
        return str(self._server.host(host).startup["publicIpAddress"])


def _check(answer: Message) -> None:
    if not answer.result:
        raise LinkRefusedError(answer.details or "no reason given")
