# SPDX-License-Identifier: Apache-2.0
"""The commands a management server sends, as it would spell them.

Only builders of class names and fields; who sends them and when is decided elsewhere. Field names
and values follow agent-lifecycle.md 2.5 and storage-commands.md 4.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ssvm_agent.simulator.model import Fields, Host, ImageStore, Message

API: Final = "com.cloud.agent.api."
STORAGE_API: Final = "com.cloud.agent.api.storage."
STORAGE: Final = "org.apache.cloudstack.storage.command."
CA: Final = "org.apache.cloudstack.ca."
LB: Final = "org.apache.cloudstack.agent.lb."

ANSWER: Final = API + "Answer"
UNSUPPORTED_ANSWER: Final = API + "UnsupportedAnswer"
SEC_STORAGE_SETUP_ANSWER: Final = API + "SecStorageSetupAnswer"
STARTUP: Final = API + "StartupSecondaryStorageCommand"
DOWNLOAD: Final = STORAGE + "DownloadCommand"

# Sent one at a time to each agent (agent-lifecycle.md 2.5, storage-commands.md 9).
_IN_SEQUENCE: Final = frozenset(
    {
        API + "SecStorageSetupCommand",
        API + "SecStorageVMSetupCommand",
        API + "ReadyCommand",
        API + "ShutdownCommand",
        API + "MaintainCommand",
        API + "ComputeChecksumCommand",
        API + "DeleteSnapshotsDirCommand",
        STORAGE_API + "ListTemplateCommand",
        STORAGE_API + "ListVolumeCommand",
        STORAGE_API + "UploadCommand",
        STORAGE_API + "UploadProgressCommand",
        STORAGE_API + "DeleteEntityDownloadURLCommand",
    }
)


def command(class_name: str, *, wait: int = 0, **fields: object) -> Message:
    """A command with the envelope every command carries; fields that are None are left out."""
    present: Fields = {name: value for name, value in fields.items() if value is not None}
    envelope: Fields = {"contextMap": {}, "wait": wait, "bypassHostMaintenance": False}
    return Message(class_name, present | envelope)


def answer(class_name: str, *, result: bool = True, **fields: object) -> Message:
    """An answer of the server to a command of an agent."""
    return command(class_name, wait=0, result=result, **fields)


def is_in_sequence(message: Message) -> bool:
    """Whether the server sends such a command only after the one before was answered."""
    return message.class_name in _IN_SEQUENCE or message.fields.get("executeInSequence") is True


# --- connect --------------------------------------------------------------------------------------


def startup_answer(*, host_id: int, host_uuid: str, host_name: str, ping_interval: int) -> Message:
    """The first one on a connection has id 0 and no names (agent-lifecycle.md 0.3)."""
    return answer(
        API + "StartupAnswer",
        hostId=host_id,
        hostUuid=host_uuid,
        hostName=host_name,
        pingInterval=ping_interval,
    )


def refusal(text: str) -> Message:
    """The Ready that says no (agent-lifecycle.md 5.1)."""
    return command(API + "ReadyCommand", _details=text, enableHumanReadableSizes=True)


def sec_storage_setup(store: ImageStore, upload_key: str) -> Message:
    """Mount this store and take the key that signs uploads."""
    return command(
        API + "SecStorageSetupCommand",
        store=store.transfer_object(),
        secUrl=store.url,
        postUploadKey=upload_key,
        nfsVersion=store.nfs_version,
    )


def firewall(addresses: Sequence[str], *, append: bool) -> Message:
    """Who may copy from here; an empty list is not written at all."""
    entries = [
        {"add": True, "sourceIp": address, "port": port, "intf": "eth2"}
        for address in addresses
        for port in ("80", "443")
    ]
    return command(
        API + "SecStorageFirewallCfgCommand", portConfigs=entries or None, isAppendAIp=append
    )


def vm_setup(allowed_sites: Sequence[str], copy_password: str) -> Message:
    """Sites inside that may be reached, and the password for copies between zones."""
    return command(
        API + "SecStorageVMSetupCommand",
        allowedInternalSites=list(allowed_sites),
        copyUserName="cloud",
        copyPassword=copy_password,
    )


def list_volume(store: ImageStore) -> Message:
    """What volumes does this store hold."""
    return command(
        STORAGE_API + "ListVolumeCommand", store=store.transfer_object(), secUrl=store.url
    )


def list_template(store: ImageStore) -> Message:
    """What templates does this store hold."""
    return command(
        STORAGE_API + "ListTemplateCommand",
        store=store.transfer_object(),
        nfsVersion=store.nfs_version,
    )


def ready(host: Host, *, wait: int) -> Message:
    """Ready #1: who the agent is."""
    return command(
        API + "ReadyCommand",
        dcId=1,
        hostId=host.id,
        hostUuid=host.uuid,
        hostName=host.name,
        enableHumanReadableSizes=True,
        wait=wait,
    )


def ready_with_servers(
    host: Host, servers: Sequence[str], avoid: Sequence[str], algorithm: str, interval: int
) -> Message:
    """Ready #2: the same with the list of management servers."""
    fields = ready(host, wait=0).fields
    more: Fields = {
        "msHostList": list(servers),
        "avoidMsHostList": list(avoid),
        "lbAlgorithm": algorithm,
        "lbCheckInterval": interval,
        "arch": host.startup.get("arch", "x86_64"),
    }
    return Message(API + "ReadyCommand", fields | more)


def ping_answer(ping: Message, *, send_startup: bool, avoid: Sequence[str]) -> Message:
    """The answer to a ping, with the ping inside."""
    return answer(
        API + "PingAnswer",
        _command=ping.fields,
        sendStartup=send_startup,
        avoidMsList=list(avoid),
        reconcileCommands=[],
    )


# --- while up -------------------------------------------------------------------------------------


def check_health() -> Message:
    """Are you there."""
    return command(API + "CheckHealthCommand", wait=60)


def storage_stats(store: ImageStore) -> Message:
    """How large and how full is this store."""
    return command(
        API + "GetStorageStatsCommand", store=store.transfer_object(), nfsVersion=store.nfs_version
    )


def setup_server_list(
    servers: Sequence[str], avoid: Sequence[str], algorithm: str, interval: int, *, check_now: bool
) -> Message:
    """A new list of management servers."""
    return command(
        LB + "SetupMSListCommand",
        msList=list(servers),
        avoidMsList=list(avoid),
        lbAlgorithm=algorithm,
        lbCheckInterval=interval,
        triggerHostLb=check_now,
        wait=60,
    )


def migrate(
    servers: Iterable[str] | None, avoid: Sequence[str], algorithm: str | None = None
) -> Message:
    """Move to another management server."""
    return command(
        API + "MigrateAgentConnectionCommand",
        msList=None if servers is None else list(servers),
        avoidMsList=list(avoid),
        lbAlgorithm=algorithm,
        wait=60,
    )


def setup_certificate(certificate: str, private_key: str, ca_certificates: str) -> Message:
    """A new client certificate with its key."""
    return command(
        CA + "SetupCertificateCommand",
        certificate=certificate,
        privateKey=private_key,
        caCertificates=ca_certificates,
        handleByAgent=True,
        accessDetails={},
        wait=60,
    )


def progress(download: Message, request: str, job_id: str) -> Message:
    """A question about a download: all its fields, its job and what is wanted."""
    fields = download.fields | {"jobId": job_id, "request": request}
    return Message(STORAGE + "DownloadProgressCommand", fields)
