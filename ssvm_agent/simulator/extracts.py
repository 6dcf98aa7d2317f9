# SPDX-License-Identifier: Apache-2.0
"""A link to a file of a store, as the server orders, shows and withdraws it.

Only the commands and the URL (storage-commands.md 3.7, 3.8); who sends them is decided elsewhere.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from ssvm_agent.simulator import commands
from ssvm_agent.simulator.model import ImageStore, Message

_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractLink:
    """One link.

    Attributes:
        path: Of the file below the store.
        name: Of the template, ISO, volume or snapshot, as its owner calls it.
        base: Scheme and host of the URL.
        kind: TEMPLATE, ISO, VOLUME or SNAPSHOT. Of the last two a copy was made for the link, which
            goes when the link does.
        directory: The unguessable part of the URL.
    """

    store: ImageStore
    path: str
    name: str
    base: str
    kind: str = "TEMPLATE"
    directory: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def file_name(self) -> str:
        """Under what name the user saves it."""
        return _NOT_IN_A_NAME.sub("-", self.name) + PurePosixPath(self.path).suffix

    @property
    def url(self) -> str:
        """What the user is shown."""
        return f"{self.base}/userdata/{self.directory}/{self.file_name}"

    def create_command(self) -> Message:
        """Make the link."""
        return commands.command(
            commands.STORAGE_API + "CreateEntityDownloadURLCommand",
            installPath=self.path,
            parent=self.store.parent,
            filepathInExtractURL=self.directory,
            filenameInExtractURL=self.file_name,
        )

    def delete_command(self) -> Message:
        """Withdraw the link."""
        return commands.command(
            commands.STORAGE_API + "DeleteEntityDownloadURLCommand",
            path=self.path,
            extractUrl=self.url,
            type=self.kind,
            parentPath=self.store.parent,
        )
