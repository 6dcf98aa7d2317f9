# SPDX-License-Identifier: Apache-2.0
"""Config drive ISOs on secondary storage (storage-commands.md 3.16)."""

from ssvm_agent.messages.base import Answer, Command, DataStoreTO, SecretText, wire_class
from ssvm_agent.messages.names import IsoLocation, IsoLocationName


@wire_class("com.cloud.agent.api.HandleConfigDriveIsoCommand", bare=True)
class HandleConfigDriveIsoCommand(Command, kw_only=True, frozen=True):
    """Write or delete an ISO; ``iso_data`` is base64 and may hold user data."""

    iso_data: SecretText | None = None
    iso_file: str | None = None
    create: bool = False
    dest_store: DataStoreTO | None = None
    use_host_cache_on_unsupported_pool: bool = False
    prefer_host_cache: bool = False


@wire_class("com.cloud.agent.api.HandleConfigDriveIsoAnswer", bare=True)
class HandleConfigDriveIsoAnswer(Answer, kw_only=True, frozen=True):
    """The server needs the location, also with a failure."""

    location: IsoLocationName | None = IsoLocation.SECONDARY
