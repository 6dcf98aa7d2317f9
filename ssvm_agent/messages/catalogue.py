# SPDX-License-Identifier: Apache-2.0
"""Every command between management server and SSVM, and the class that answers it, as data.

Importing this module makes all message classes known to the envelope.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ssvm_agent.messages.agent import (
    AgentControlAnswer,
    AgentControlCommand,
    CheckHealthAnswer,
    CheckHealthCommand,
    ConsoleAccessAuthenticationCommand,
    ConsoleProxyLoadReportCommand,
    MaintainAnswer,
    MaintainCommand,
    MigrateAgentConnectionAnswer,
    MigrateAgentConnectionCommand,
    PingAnswer,
    PingStorageCommand,
    PingTestCommand,
    ReadyAnswer,
    ReadyCommand,
    SetupMSListAnswer,
    SetupMSListCommand,
    ShutdownCommand,
    StartupAnswer,
    StartupSecondaryStorageCommand,
    WatchConsoleProxyLoadCommand,
)
from ssvm_agent.messages.base import Answer, Command, UnsupportedAnswer, class_name_of
from ssvm_agent.messages.certificates import (
    SetupCertificateAnswer,
    SetupCertificateCommand,
    SetupKeystoreAnswer,
    SetupKeyStoreCommand,
)
from ssvm_agent.messages.configdrive import HandleConfigDriveIsoAnswer, HandleConfigDriveIsoCommand
from ssvm_agent.messages.copy import CopyCmdAnswer, CopyCommand
from ssvm_agent.messages.datadisk import (
    CreateDatadiskTemplateAnswer,
    CreateDatadiskTemplateCommand,
    GetDatadisksAnswer,
    GetDatadisksCommand,
)
from ssvm_agent.messages.delete import BackupDeleteAnswer, DeleteCommand, DeleteSnapshotsDirCommand
from ssvm_agent.messages.download import DownloadAnswer, DownloadCommand, DownloadProgressCommand
from ssvm_agent.messages.entity_url import (
    CreateEntityDownloadURLAnswer,
    CreateEntityDownloadURLCommand,
    DeleteEntityDownloadURLCommand,
)
from ssvm_agent.messages.files import (
    ComputeChecksumCommand,
    MoveVolumeCommand,
    QuerySnapshotZoneCopyAnswer,
    QuerySnapshotZoneCopyCommand,
)
from ssvm_agent.messages.hypervisor import (
    BackupSnapshotCommand,
    ConvertSnapshotCommand,
    CopyVolumeCommand,
    CreatePrivateTemplateFromSnapshotCommand,
    CreatePrivateTemplateFromVolumeCommand,
    CreateVolumeFromSnapshotCommand,
    GetVolumeStatsCommand,
    MigrateBackupsBetweenSecondaryStoragesCommand,
    PrimaryStorageDownloadCommand,
)
from ssvm_agent.messages.listing import (
    GetStorageStatsAnswer,
    GetStorageStatsCommand,
    ListDataStoreObjectsAnswer,
    ListDataStoreObjectsCommand,
    ListTemplateAnswer,
    ListTemplateCommand,
    ListVolumeAnswer,
    ListVolumeCommand,
)
from ssvm_agent.messages.setup import (
    SecStorageFirewallCfgCommand,
    SecStorageSetupAnswer,
    SecStorageSetupCommand,
    SecStorageVMSetupCommand,
)
from ssvm_agent.messages.upload import (
    UploadAnswer,
    UploadCommand,
    UploadProgressCommand,
    UploadStatusAnswer,
    UploadStatusCommand,
)


class Direction(StrEnum):
    """Who sends the command."""

    FROM_AGENT = "from agent"
    TO_AGENT = "to agent"
    BOTH = "both"


class Priority(StrEnum):
    """How much a zone needs it."""

    MUST = "must"
    SHOULD = "should"
    RARE = "rare"


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """One command.

    Attributes:
        command: Its class.
        answer: The class that answers it, also in case of an error.
        priority: Rare commands may be answered with :class:`UnsupportedAnswer`.
        direction: Who sends it.
        since: First release of CloudStack known to send it (4.5, 4.22 or 4.23).
        on_failure: Another class that answers some failures.
        in_vectors: Whether recorded contents of both directions exist (checked by a test).
    """

    command: type[Command]
    answer: type[Answer]
    priority: Priority = Priority.MUST
    direction: Direction = Direction.TO_AGENT
    since: str = "4.5"
    on_failure: type[Answer] | None = None
    in_vectors: bool = True

    @property
    def class_name(self) -> str:
        """The Java class name."""
        return class_name_of(self.command)


_FROM, _BOTH = Direction.FROM_AGENT, Direction.BOTH
_SHOULD, _RARE = Priority.SHOULD, Priority.RARE

_LINK: Final = (
    CatalogueRow(StartupSecondaryStorageCommand, StartupAnswer, direction=_FROM),
    CatalogueRow(PingStorageCommand, PingAnswer, direction=_FROM),
    CatalogueRow(ShutdownCommand, Answer, direction=_BOTH),
    CatalogueRow(ReadyCommand, ReadyAnswer),
    CatalogueRow(CheckHealthCommand, CheckHealthAnswer),
    CatalogueRow(MaintainCommand, MaintainAnswer, _SHOULD),
    CatalogueRow(WatchConsoleProxyLoadCommand, Answer, _RARE),
    CatalogueRow(AgentControlCommand, AgentControlAnswer, _RARE),
    CatalogueRow(ConsoleAccessAuthenticationCommand, AgentControlAnswer, _RARE, in_vectors=False),
    CatalogueRow(ConsoleProxyLoadReportCommand, AgentControlAnswer, _RARE),
    CatalogueRow(SetupKeyStoreCommand, SetupKeystoreAnswer, since="4.22"),
    CatalogueRow(SetupCertificateCommand, SetupCertificateAnswer, since="4.22"),
    CatalogueRow(SetupMSListCommand, SetupMSListAnswer, since="4.22"),
    CatalogueRow(
        MigrateAgentConnectionCommand, MigrateAgentConnectionAnswer, _SHOULD, since="4.22"
    ),
)

_STORAGE: Final = (
    CatalogueRow(SecStorageSetupCommand, SecStorageSetupAnswer),
    CatalogueRow(SecStorageVMSetupCommand, Answer),
    CatalogueRow(SecStorageFirewallCfgCommand, Answer),
    CatalogueRow(DownloadCommand, DownloadAnswer),
    CatalogueRow(DownloadProgressCommand, DownloadAnswer),
    CatalogueRow(ListTemplateCommand, ListTemplateAnswer),
    CatalogueRow(ListVolumeCommand, ListVolumeAnswer),
    CatalogueRow(GetStorageStatsCommand, GetStorageStatsAnswer),
    CatalogueRow(DeleteCommand, Answer, on_failure=BackupDeleteAnswer),
    CatalogueRow(CopyCommand, CopyCmdAnswer),
    CatalogueRow(CreateEntityDownloadURLCommand, CreateEntityDownloadURLAnswer),
    CatalogueRow(DeleteEntityDownloadURLCommand, Answer),
    CatalogueRow(ComputeChecksumCommand, Answer, _SHOULD),
    CatalogueRow(DeleteSnapshotsDirCommand, Answer),
    CatalogueRow(UploadStatusCommand, UploadStatusAnswer, since="4.22"),
    CatalogueRow(QuerySnapshotZoneCopyCommand, QuerySnapshotZoneCopyAnswer, _SHOULD, since="4.22"),
    CatalogueRow(MoveVolumeCommand, Answer, _SHOULD, since="4.22"),
    CatalogueRow(ListDataStoreObjectsCommand, ListDataStoreObjectsAnswer, _SHOULD, since="4.22"),
    CatalogueRow(HandleConfigDriveIsoCommand, HandleConfigDriveIsoAnswer, _SHOULD, since="4.22"),
    CatalogueRow(GetDatadisksCommand, GetDatadisksAnswer, _SHOULD, since="4.22"),
    CatalogueRow(
        CreateDatadiskTemplateCommand, CreateDatadiskTemplateAnswer, _SHOULD, since="4.22"
    ),
    CatalogueRow(UploadCommand, UploadAnswer, _RARE, in_vectors=False),
    CatalogueRow(UploadProgressCommand, UploadAnswer, _RARE, in_vectors=False),
)

_NOT_FOR_US: Final = tuple(
    CatalogueRow(command, UnsupportedAnswer, _RARE, since=since)
    for command, since in (
        (PrimaryStorageDownloadCommand, "4.5"),
        (BackupSnapshotCommand, "4.5"),
        (CreatePrivateTemplateFromVolumeCommand, "4.5"),
        (CreatePrivateTemplateFromSnapshotCommand, "4.5"),
        (CopyVolumeCommand, "4.5"),
        (CreateVolumeFromSnapshotCommand, "4.5"),
        (PingTestCommand, "4.5"),
        (GetVolumeStatsCommand, "4.22"),
        (ConvertSnapshotCommand, "4.22"),
        (MigrateBackupsBetweenSecondaryStoragesCommand, "4.23"),
    )
)

CATALOGUE: Final[tuple[CatalogueRow, ...]] = (*_LINK, *_STORAGE, *_NOT_FOR_US)
