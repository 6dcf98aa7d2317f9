# SPDX-License-Identifier: Apache-2.0
"""The console's orders about uploads and links: from JSON to :class:`PublicSide` and back."""

from __future__ import annotations

import re
from typing import Final

from ssvm_agent.sealed import SealVersion
from ssvm_agent.simulator.form_page import FormSite
from ssvm_agent.simulator.orders import (
    Doing,
    Order,
    OrderError,
    Result,
    chosen_store,
    particulars,
)
from ssvm_agent.simulator.public_side import PublicSide
from ssvm_agent.simulator.server import ManagementServer

_BASE: Final = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")
_UPLOAD_KINDS: Final = ("TEMPLATE", "VOLUME")
_LINK_KINDS: Final = ("TEMPLATE", "ISO", "VOLUME", "SNAPSHOT")


class PublicOrders:
    """Carries these orders out.

    Args:
        server: A running server.
        forms: Gets a page for every upload; None: there are no pages.
    """

    def __init__(self, server: ManagementServer, forms: FormSite | None = None) -> None:
        self._server = server
        self._forms = forms
        self._side = PublicSide(server)
        self.doings: dict[str, Doing] = {
            "upload": self._upload,
            "upload-status": self._upload_status,
            "link": self._link,
            "unlink": self._unlink,
        }

    async def _upload(self, order: Order) -> Result:
        """Order an upload: all a browser or curl needs, with the names of the server's API."""
        _check(order, kinds=_UPLOAD_KINDS, needed=("name",))
        fields = particulars(order) | {"store": chosen_store(order, self._server.zone.stores)}
        encryption = str(fields.pop("encryption", "V2"))
        if encryption not in SealVersion.__members__:
            raise OrderError('"encryption" is V2 or V1.')
        try:
            made, ticket = self._side.order_upload(
                host=order.get("host"), encryption=SealVersion[encryption], **fields
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise OrderError(f"An upload cannot be ordered so: {error}.") from error
        result = {
            "uuid": made.uuid,
            "image": made.entity_id,
            "directory": made.directory(),
            "postURL": ticket.post_url,
            "metadata": ticket.metadata,
            "expires": ticket.expires,
            "signature": ticket.signature,
            "curl": ticket.curl(),
        }
        return result | ({"page": self._forms.offer(ticket)} if self._forms else {})

    async def _upload_status(self, order: Order) -> Result:
        """How far an upload is; with ``"wait": true`` the result comes when it has ended."""
        _check(order, needed=("uuid",))
        if order.get("wait"):
            return {"upload": await self._side.upload_result(order["uuid"], host=order.get("host"))}
        abort = True if order.get("abort") else None
        answer = await self._side.upload_status(order["uuid"], host=order.get("host"), abort=abort)
        return {"answers": [answer.element()]}

    async def _link(self, order: Order) -> Result:
        _check(order, kinds=_LINK_KINDS, needed=("name", "path"))
        fields = particulars(order) | {"store": chosen_store(order, self._server.zone.stores)}
        try:
            link = await self._side.create_link(host=order.get("host"), **fields)
        except TypeError as error:
            raise OrderError(f"A link cannot be made so: {error}.") from error
        return {"url": link.url}

    async def _unlink(self, order: Order) -> Result:
        _check(order, needed=("url",))
        answer = await self._side.delete_link(order["url"], host=order.get("host"))
        return {"answers": [answer.element()]}


def _check(order: Order, *, needed: tuple[str, ...], kinds: tuple[str, ...] = ()) -> None:
    for key in needed:
        if not isinstance(order.get(key), str):
            raise OrderError(f'The order needs "{key}", a text.')
    if kinds and order.get("kind", kinds[0]) not in kinds:
        raise OrderError(f'"kind" is one of {", ".join(kinds)}.')
    if "at" in order and not _BASE.fullmatch(str(order["at"])):
        raise OrderError('"at" is scheme, host and port, such as http://127.0.0.1:8080.')
