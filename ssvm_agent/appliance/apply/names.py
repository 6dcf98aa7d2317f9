# SPDX-License-Identifier: Apache-2.0
"""The name of the running machine; the file of it is one of the declared files."""

from __future__ import annotations

import socket

from ssvm_agent.appliance.apply.report import Item, Status
from ssvm_agent.appliance.apply.request import Request, Tools
from ssvm_agent.host.network import host_name


async def set_host_name(name: str, tools: Tools, request: Request) -> Item:
    """Name the running machine."""
    item = "host name"
    current = host_name()
    if current == name:
        return Item(name=item, status=Status.UNCHANGED)
    reason = f"it was {current}"
    if request.dry_run:
        return Item(name=item, status=Status.WOULD_CHANGE, reason=reason)
    try:
        await tools.pool.call(socket.sethostname, name)
    except OSError as error:
        return Item(name=item, status=Status.FAILED, reason=error.strerror or str(error))
    return Item(name=item, status=Status.CHANGED, reason=reason)
