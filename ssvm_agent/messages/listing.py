# SPDX-License-Identifier: Apache-2.0
"""What is on a store, and how full it is (storage-commands.md 3.9, 3.11, 3.12, 3.19)."""

from ssvm_agent.messages.base import Answer, Command, DataStoreTO, Int, wire_class
from ssvm_agent.messages.names import PoolTypeName
from ssvm_agent.messages.objects import TemplateProp


@wire_class("com.cloud.agent.api.storage.ListTemplateCommand")
class ListTemplateCommand(Command, kw_only=True, frozen=True):
    """All templates of a store."""

    store: DataStoreTO | None = None
    nfs_version: str | None = None


@wire_class("com.cloud.agent.api.storage.ListTemplateAnswer")
class ListTemplateAnswer(Answer, kw_only=True, frozen=True):
    """Templates by unique name; complete, or ``result`` false."""

    sec_url: str | None = None
    template_infos: dict[str, TemplateProp] | None = None


@wire_class("com.cloud.agent.api.storage.ListVolumeCommand")
class ListVolumeCommand(Command, kw_only=True, frozen=True):
    """All volumes of a store."""

    store: DataStoreTO | None = None
    sec_url: str | None = None
    nfs_version: str | None = None


@wire_class("com.cloud.agent.api.storage.ListVolumeAnswer")
class ListVolumeAnswer(Answer, kw_only=True, frozen=True):
    """Volumes by id; complete, or ``result`` false."""

    sec_url: str | None = None
    template_infos: dict[int, TemplateProp] | None = None


@wire_class("com.cloud.agent.api.GetStorageStatsCommand")
class GetStorageStatsCommand(Command, kw_only=True, frozen=True):
    """How full is this store?"""

    id: str | None = None
    local_path: str | None = None
    pooltype: PoolTypeName | None = None
    sec_url: str | None = None
    store: DataStoreTO | None = None
    nfs_version: str | None = None


@wire_class("com.cloud.agent.api.GetStorageStatsAnswer")
class GetStorageStatsAnswer(Answer, kw_only=True, frozen=True):
    """Bytes used and in all. Set both pairs: 4.5 reads ``used`` and ``capacity``."""

    used_bytes: int = 0
    capacity_bytes: int = 0
    capacity_iops: int | None = None
    used_iops: int | None = None
    used: int | None = None
    capacity: int | None = None


@wire_class("org.apache.cloudstack.storage.command.browser.ListDataStoreObjectsCommand")
class ListDataStoreObjectsCommand(Command, kw_only=True, frozen=True):
    """One page of a directory."""

    store: DataStoreTO | None = None
    path: str | None = None
    start_index: Int = 0
    page_size: Int = 0
    nfs_version: str | None = None


@wire_class("org.apache.cloudstack.storage.command.browser.ListDataStoreObjectsAnswer")
class ListDataStoreObjectsAnswer(Answer, kw_only=True, frozen=True):
    """Parallel lists; ``last_modified`` in milliseconds since 1970."""

    path_exists: bool = False
    count: Int = 0
    names: list[str] | None = None
    paths: list[str] | None = None
    abs_paths: list[str] | None = None
    is_dirs: list[bool] | None = None
    sizes: list[int] | None = None
    last_modified: list[int] | None = None
