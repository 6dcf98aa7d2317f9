# SPDX-License-Identifier: Apache-2.0
"""Objects of a store, and what is done with them, as commands of the management server."""

from __future__ import annotations

from typing import Any

from ssvm_agent.simulator import commands
from ssvm_agent.simulator.model import Message
from tests.vm.lab.world import World

_TO = "org.apache.cloudstack.storage.to."


def transfer_object(lab: World, kind: str, store: int, path: str, **more: Any) -> dict[str, Any]:
    """An object of a store as CopyCommand and DeleteCommand carry it."""
    where = "dataStore" if kind in ("Snapshot", "Volume") else "imageDataStore"
    fields = {"path": path, "accountId": 2, where: lab.store(store).transfer_object(), **more}
    return {f"{_TO}{kind}ObjectTO": fields}


def copy(source: dict[str, Any], target: dict[str, Any]) -> Message:
    """Copy one object to another's place."""
    return commands.command(f"{commands.STORAGE}CopyCommand", srcTO=source, destTO=target)


def delete(data: dict[str, Any]) -> Message:
    """Remove an object."""
    return commands.command(f"{commands.STORAGE}DeleteCommand", data=data)
