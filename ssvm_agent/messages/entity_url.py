# SPDX-License-Identifier: Apache-2.0
"""Download links (storage-commands.md 3.7, 3.8)."""

import msgspec

from ssvm_agent.messages.base import Answer, DataTO, wire_class
from ssvm_agent.messages.download import AbstractDownloadCommand
from ssvm_agent.messages.names import ExtractTypeName


@wire_class("com.cloud.agent.api.storage.CreateEntityDownloadURLCommand")
class CreateEntityDownloadURLCommand(AbstractDownloadCommand, kw_only=True, frozen=True):
    """Publish one file; 4.5 sends ``extract_link_uuid`` instead of the two names."""

    install_path: str | None = None
    parent: str | None = None
    filename_in_extract_url: str | None = msgspec.field(default=None, name="filenameInExtractURL")
    filepath_in_extract_url: str | None = msgspec.field(default=None, name="filepathInExtractURL")
    extract_link_uuid: str | None = msgspec.field(default=None, name="extractLinkUUID")
    data: DataTO | None = None


@wire_class("com.cloud.agent.api.storage.CreateEntityDownloadURLAnswer")
class CreateEntityDownloadURLAnswer(Answer, kw_only=True, frozen=True):
    """Whether the link is there; the server makes the URL itself."""


@wire_class("com.cloud.agent.api.storage.DeleteEntityDownloadURLCommand")
class DeleteEntityDownloadURLCommand(AbstractDownloadCommand, kw_only=True, frozen=True):
    """Take a link back, and the copy made for it."""

    path: str | None = None
    extract_url: str | None = None
    type: ExtractTypeName | None = None
    parent_path: str | None = None
