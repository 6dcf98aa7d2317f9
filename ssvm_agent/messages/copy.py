# SPDX-License-Identifier: Apache-2.0
"""Copies between stores (storage-commands.md 3.15)."""

import msgspec

from ssvm_agent.messages.base import Answer, Command, DataTO, wire_class


@wire_class("org.apache.cloudstack.storage.command.CopyCommand", bare=True)
class CopyCommand(Command, kw_only=True, frozen=True):
    """Copy ``src`` to ``dest``; what the two are decides how."""

    src: DataTO | None = msgspec.field(default=None, name="srcTO")
    dest: DataTO | None = msgspec.field(default=None, name="destTO")
    cache: DataTO | None = msgspec.field(default=None, name="cacheTO")
    execute_in_sequence: bool = False
    options: dict[str, str] | None = None
    options2: dict[str, str] | None = None


@wire_class("org.apache.cloudstack.storage.command.CopyCmdAnswer", bare=True)
class CopyCmdAnswer(Answer, kw_only=True, frozen=True):
    """The object as it is at its new place; every field set overwrites the server's row."""

    new_data: DataTO | None = None
