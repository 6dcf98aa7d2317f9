# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF009 - setting() makes a dataclass field, evaluated once on purpose
"""The tree of settings: every key with its type, default, sources and meaning, once.

A leaf is declared with :func:`setting`; loading, ``config show`` and docs/configuration.md all read
the declarations from here. This module does not know files, precedence or the environment: see
:mod:`ssvm_agent.config.load`. The tree is frozen and can be built directly in tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

from ssvm_agent.masking import Secret

T = TypeVar("T")

_META: Final = "setting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What is known about one key besides its value."""

    meaning: str
    boot: tuple[str, ...] = ()
    """Names in the boot text, first match wins."""
    properties: tuple[str, ...] = ()
    """Names in agent.properties, first match wins."""
    properties_first: bool = False
    """agent.properties beats the boot text for this key (agent-lifecycle.md 1.2 "File")."""


def setting(default: T, meaning: str, *, boot: str = "", properties: str = "",
            properties_first: bool = False) -> T:  # fmt: skip
    """Declare a leaf: its default, what it means, and its names in CloudStack's two texts.

    ``boot`` and ``properties`` hold names separated by blanks; most have one or none.
    """
    declaration = Declaration(
        meaning=meaning,
        boot=tuple(boot.split()),
        properties=tuple(properties.split()),
        properties_first=properties_first,
    )
    return field(default=default, metadata={_META: declaration})


class Publisher(StrEnum):
    """Who serves the public HTTP ports of the machine."""

    BUILTIN = "builtin"
    APACHE = "apache"


class ApplianceKind(StrEnum):
    """What the agent may change on the machine it runs on."""

    SYSTEM_VM = "system-vm"
    RECORDING = "recording"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """Addresses CloudStack gave the machine (boot-and-system.md 1.3). Empty: not given."""

    private_device: str = setting("eth1", "interface of the management network")
    private_address: str = setting("", "its IPv4 address", boot="eth1ip", properties="eth1ip")
    private_netmask: str = setting("", "its netmask", boot="eth1mask", properties="eth1mask")
    public_device: str = setting("eth2", "interface of the public network")
    public_address: str = setting("", "its IPv4 address", boot="eth2ip", properties="eth2ip")
    public_netmask: str = setting("", "its netmask", boot="eth2mask", properties="eth2mask")
    storage_address: str = setting(
        "", "address on the storage network, when there is one",
        boot="storageip eth1ip", properties="storageip eth1ip",
    )  # fmt: skip
    storage_netmask: str = setting(
        "", "netmask of the storage network",
        boot="storagenetmask eth1mask", properties="storagenetmask eth1mask",
    )  # fmt: skip
    storage_gateway: str = setting(
        "", "next hop to stores outside the storage network",
        boot="storagegateway localgw", properties="storagegateway localgw",
    )  # fmt: skip
    local_gateway: str = setting(
        "", "gateway of the pod: next hop to management servers, internal DNS and internal sites",
        boot="localgw", properties="localgw",
    )  # fmt: skip
    internal_dns: tuple[str, ...] = setting(
        (), "internal DNS servers; each gets a host route",
        boot="internaldns1 internaldns2", properties="internaldns1 internaldns2",
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """Deadlines and pauses of the connection to the management server (agent-lifecycle.md 3.1)."""

    connect_timeout_s: float = setting(20.0, "TCP connect to one management server")
    handshake_timeout_s: float = setting(
        30.0, "TLS handshake", properties="ssl.handshake.timeout"
    )  # fmt: skip
    startup_timeout_s: float = setting(180.0, "wait for StartupAnswer; doubled after each failure")
    backoff_initial_s: float = setting(
        1.0, "first pause between connection attempts", properties="backoff.seconds"
    )  # fmt: skip
    backoff_max_s: float = setting(30.0, "longest pause between connection attempts")
    ping_missing_limit: int = setting(
        5, "unanswered pings after which the link counts as dead", properties="ping.retries"
    )
    preferred_host_check_s: int = setting(
        0, "interval of the check for the preferred management server; 0: as the server says",
        properties="host.lb.check.interval",
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSettings:
    """How many commands run at once (agent-lifecycle.md 3.4)."""

    normal: int = setting(16, "short commands running at the same time")
    long: int = setting(
        8, "copies and other long commands running at the same time",
    )  # fmt: skip
    running_limit_s: float = setting(
        86400.0, "upper bound for one command, whatever its wait field says"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadSettings:
    """Fetching images from the outside (R7, R9, R15, S2)."""

    max_concurrent: int = setting(
        50, "downloads running at the same time; more wait", properties="install.numthreads"
    )
    connect_timeout_s: float = setting(30.0, "connect to a source")
    header_timeout_s: float = setting(60.0, "wait for the first byte of an answer")
    idle_timeout_s: float = setting(60.0, "silence within a body")
    min_speed_bytes_s: int = setting(1024, "slowest mean speed over the window; 0: any")
    min_speed_window_s: float = setting(120.0, "window of the minimum speed")
    retries: int = setting(8, "attempts to resume an interrupted download")
    retry_max_pause_s: float = setting(60.0, "longest pause before such an attempt")
    proxy: Secret | None = setting(
        None, "proxy URL for http and https sources; may hold user and password"
    )
    no_proxy: tuple[str, ...] = setting((), "hosts, domains or CIDRs fetched without the proxy")
    ca_dir: Path = setting(
        Path("/etc/ssvm-agent/ca.d"), "extra CA certificates (*.crt, *.pem) for sources"
    )
    allowed_internal_cidrs: tuple[str, ...] = setting(
        (), "internal networks sources may be in, besides the allowed internal sites of the cloud"
    )
    allow_loopback_sources: bool = setting(
        False, "let sources be on loopback addresses; for development only"
    )
    install_timeout_per_gib_s: float = setting(
        900.0, "deadline of the install step for each GiB", properties="install.timeout.pergig",
        boot="install.timeout.pergig",
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSettings:
    """Browser uploads (storage-commands.md 5)."""

    listen_host: str = setting("127.0.0.1", "address of the upload listener behind Apache")
    listen_port: int = setting(8210, "port of the upload listener behind Apache")
    use_https: bool = setting(
        True, "whether the management server signs https upload URLs",
        boot="useHttpsToUpload", properties="useHttpsToUpload",
    )  # fmt: skip
    max_concurrent: int = setting(32, "uploads running at the same time")
    idle_timeout_s: float = setting(60.0, "silence within an upload")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Where log lines go and how many (R26)."""

    level: str = setting("info", "debug, info, warning or error")
    file: Path | None = setting(None, "log file besides the journal; capped in size")
    file_max_bytes: int = setting(20 << 20, "size at which the file is rotated")
    file_backups: int = setting(5, "rotated files kept")
    journal: bool = setting(True, "write to standard error for the journal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Persisted:
    """What agent.properties remembers of earlier runs (agent-lifecycle.md 1.2, last rows)."""

    host_id: int | None = None
    host_uuid: str | None = None
    host_name: str | None = None
    server_list: str | None = None
    """The ``host`` entry as it stands, with ``@algorithm`` when there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One value with the place it came from, for ``config show``."""

    key: str
    value: str
    source: str
    secret: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the agent was told. Paths are absolute; times in seconds; sizes in bytes."""

    management_servers: tuple[str, ...] = setting(
        ("localhost",), "management servers in order of preference", boot="host", properties="host"
    )
    port: int = setting(8250, "port of the management servers", boot="port", properties="port")
    zone: str = setting("", "zone id or name", boot="zone", properties="zone")
    pod: str = setting("default", "pod id or name", boot="pod", properties="pod")
    guid: str = setting("", "guid without the resource suffix", boot="guid", properties="guid")
    name: str = setting("", "instance name; empty: the host name", boot="name", properties="name")
    resource_class: str = setting(
        "NfsSecondaryStorageResource",
        "simple resource class name: suffix of the guid and prefix of the persisted ids",
        boot="resource", properties="resource", properties_first=True,
    )  # fmt: skip
    workers: int = setting(
        5, "request workers CloudStack asks for; the command lanes are never smaller",
        boot="workers threads", properties="workers threads",
    )  # fmt: skip
    reported_version: str = setting("4.22.0.0", "version told to the management server")

    mount_root: Path = setting(Path("/mnt/SecStorage"), "directory below which stores are mounted")
    mount_timeout_s: float = setting(
        1440.0, "deadline of a mount", boot="scripts.timeout", properties="scripts.timeout"
    )
    nfs_version: str | None = setting(
        None, "NFS version for stores that name none; empty: the kernel negotiates",
        boot="nfsVersion", properties="nfsVersion",
    )  # fmt: skip
    conf_dir: Path = setting(
        Path("/usr/local/cloud/systemvm/conf"), "agent.properties and certificates"
    )
    state_dir: Path = setting(Path("/var/lib/ssvm-agent"), "job journal and other own state")
    pid_file: Path | None = setting(None, "pid file; empty: none")
    publish: Publisher = setting(Publisher.APACHE, "who serves ports 80 and 443")
    status_listen: str = setting("127.0.0.1:8211", "status and metrics page; empty: none")
    appliance: ApplianceKind = setting(
        ApplianceKind.RECORDING, "what may be changed on this machine: system-vm or recording"
    )
    stop_timeout_s: float = setting(20.0, "time running work gets on a clean stop")

    networks: NetworkSettings = field(default_factory=NetworkSettings)
    link: LinkSettings = field(default_factory=LinkSettings)
    commands: CommandSettings = field(default_factory=CommandSettings)
    download: DownloadSettings = field(default_factory=DownloadSettings)
    upload: UploadSettings = field(default_factory=UploadSettings)
    log: LogSettings = field(default_factory=LogSettings)

    persisted: Persisted = field(default_factory=Persisted)
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Dotted key -> where its value came from; keys not named here have their default."""

    @property
    def use_https_to_upload(self) -> bool:
        """Whether upload URLs are https."""
        return self.upload.use_https

    @property
    def full_guid(self) -> str:
        """The guid as the management server stores it (agent-lifecycle.md 0, fact 9)."""
        return f"{self.guid}-{self.resource_class}"

    @property
    def agent_properties(self) -> Path:
        """The file the agent and the certificate scripts share."""
        return self.conf_dir / "agent.properties"
