# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF009 - setting() makes a dataclass field, evaluated once on purpose
"""The tree of settings: every key with its type, default, sources and meaning, once.

A leaf is declared with :func:`~ssvm_agent.config.declare.setting`; loading, ``config show`` and
docs/configuration.md all read the declarations from here. This module does not know files,
precedence or the environment: see :mod:`ssvm_agent.config.load`. The tree is frozen and can be
built directly in tests. It is long because it is a table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from ssvm_agent.config import convert
from ssvm_agent.config.declare import leaves, setting, value_at
from ssvm_agent.masking import Secret


class Publisher(StrEnum):
    """Who serves the public HTTP ports of the machine."""

    BUILTIN = "builtin"
    APACHE = "apache"


class HostKeyRule(StrEnum):
    """What becomes of an SSH server whose key is not on record."""

    FIRST_USE = "first-use"
    STRICT = "strict"


class ApplianceKind(StrEnum):
    """What the agent may change on the machine it runs on."""

    SYSTEM_VM = "system-vm"
    RECORDING = "recording"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """Addresses CloudStack gave the machine (boot-and-system.md 1.3). Empty: not given."""

    private_device: str = setting("eth1", "interface of the management network")
    private_address: str = setting(
        "", "its IPv4 address", boot="eth1ip", properties="eth1ip", check=convert.ipv4
    )
    private_netmask: str = setting(
        "", "its netmask", boot="eth1mask", properties="eth1mask", check=convert.ipv4
    )
    public_device: str = setting("eth2", "interface of the public network")
    public_address: str = setting(
        "", "its IPv4 address", boot="eth2ip", properties="eth2ip", check=convert.ipv4
    )
    public_netmask: str = setting(
        "", "its netmask", boot="eth2mask", properties="eth2mask", check=convert.ipv4
    )
    storage_address: str = setting(
        "",
        "address on the storage network, when there is one",
        boot="storageip eth1ip",
        properties="storageip eth1ip",
        check=convert.ipv4,
    )
    storage_netmask: str = setting(
        "",
        "netmask of the storage network",
        boot="storagenetmask eth1mask",
        properties="storagenetmask eth1mask",
        check=convert.ipv4,
    )
    storage_gateway: str = setting(
        "",
        "next hop to stores outside the storage network",
        boot="storagegateway localgw",
        properties="storagegateway localgw",
        check=convert.ipv4,
    )
    local_gateway: str = setting(
        "",
        "gateway of the pod: next hop to management servers, internal DNS and internal sites",
        boot="localgw",
        properties="localgw",
        check=convert.ipv4,
    )
    internal_dns: tuple[str, ...] = setting(
        (),
        "internal DNS servers; each gets a host route",
        boot="internaldns1 internaldns2",
        properties="internaldns1 internaldns2",
        check=convert.ipv4_list,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """Deadlines and pauses of the connection to the management server (agent-lifecycle.md 3.1)."""

    connect_timeout_s: float = setting(
        20.0, "TCP connect to one management server", check=convert.positive
    )
    handshake_timeout_s: float = setting(
        30.0, "TLS handshake", properties="ssl.handshake.timeout", check=convert.positive
    )
    startup_timeout_s: float = setting(
        180.0, "wait for StartupAnswer; doubled after each failure", check=convert.positive
    )
    backoff_initial_s: float = setting(
        1.0,
        "first pause between connection attempts",
        properties="backoff.seconds",
        check=convert.positive,
    )
    backoff_max_s: float = setting(
        30.0, "longest pause between connection attempts", check=convert.positive
    )
    ping_missing_limit: int = setting(
        3,
        "unanswered pings after which the link counts as dead",
        check=convert.positive,
    )
    preferred_host_check_s: int = setting(
        0,
        "interval of the check for the preferred management server; 0: as the server says",
        properties="host.lb.check.interval",
        check=convert.not_negative,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSettings:
    """How many commands run at once (agent-lifecycle.md 3.4)."""

    normal: int = setting(16, "short commands running at the same time", check=convert.positive)
    long: int = setting(
        8, "copies and other long commands running at the same time", check=convert.positive
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadSettings:
    """Fetching images from the outside (R7, R9, R15, S2)."""

    max_concurrent: int = setting(
        50,
        "downloads running at the same time; more wait",
        properties="install.numthreads",
        check=convert.positive,
    )
    connect_timeout_s: float = setting(30.0, "connect to a source", check=convert.positive)
    header_timeout_s: float = setting(
        60.0, "wait for the first byte of an answer", check=convert.positive
    )
    idle_timeout_s: float = setting(60.0, "silence within a body", check=convert.positive)
    min_speed_bytes_s: int = setting(
        1024, "slowest mean speed over the window; 0: any", check=convert.not_negative
    )
    min_speed_window_s: float = setting(
        120.0, "window of the minimum speed", check=convert.positive
    )
    retries: int = setting(
        8, "attempts to resume an interrupted download", check=convert.not_negative
    )
    retry_max_pause_s: float = setting(
        60.0, "longest pause before such an attempt", check=convert.positive
    )
    proxy: Secret | None = setting(
        None, "proxy URL for http and https sources; may hold user and password"
    )
    no_proxy: tuple[str, ...] = setting((), "hosts, domains or CIDRs fetched without the proxy")
    ca_dir: Path = setting(
        Path("/etc/ssvm-agent/ca.d"),
        "extra CA certificates (*.crt, *.pem) for sources",
        check=convert.absolute,
    )
    scp_host_keys: HostKeyRule = setting(
        HostKeyRule.FIRST_USE,
        "scp sources without a recorded host key: first-use records it, strict refuses",
    )
    allowed_internal_cidrs: tuple[str, ...] = setting(
        (),
        "internal networks sources may be in, besides the allowed internal sites of the cloud",
        check=convert.networks,
    )
    blocked_cidrs: tuple[str, ...] = setting(
        (),
        "networks no source may be in, besides those that never may",
        check=convert.networks,
    )
    allow_loopback_sources: bool = setting(
        False, "let sources be on loopback addresses; for development only"
    )
    install_timeout_per_gib_s: float = setting(
        900.0,
        "deadline of the install step for each GiB",
        properties="install.timeout.pergig",
        boot="install.timeout.pergig",
        check=convert.positive,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSettings:
    """Browser uploads (storage-commands.md 5)."""

    listen_host: str = setting("127.0.0.1", "address of the upload listener behind Apache")
    listen_port: int = setting(
        8210, "port of the upload listener behind Apache; 0: any", check=convert.listen_port
    )
    use_https: bool = setting(
        True,
        "whether the management server signs https upload URLs",
        boot="useHttpsToUpload",
        properties="useHttpsToUpload",
    )
    max_concurrent: int = setting(32, "uploads running at the same time", check=convert.positive)
    idle_timeout_s: float = setting(60.0, "silence within an upload", check=convert.positive)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicSettings:
    """The public ports: extract links, zone copies, uploads (docs/http.md)."""

    listen: tuple[str, ...] = setting(
        (), "addresses the agent's own server listens on; empty: the public address"
    )
    names: tuple[str, ...] = setting(
        (), "public names of this machine besides its address, for certificates and signed URLs"
    )
    http_port: int = setting(80, "port for http; 0: any", check=convert.listen_port)
    https_port: int = setting(443, "port for https; 0: any", check=convert.listen_port)
    trusted_proxies: tuple[str, ...] = setting(
        (),
        "networks of proxies whose X-Forwarded-* headers are believed, besides loopback",
        check=convert.networks,
    )
    require_copy_user: bool = setting(
        False, "ask for the copy user in the zone copy area besides the address"
    )
    link_days: float = setting(
        7.0,
        "days after which a download link nobody withdrew is; keep it above the management"
        " server's extract.url.expiration.interval",
        check=convert.positive,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSettings:
    """The status page, health and metrics."""

    listen: str = setting(
        "127.0.0.1:9180", "address and port of status page, health and metrics; empty: none"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Where log lines go and how many (R26)."""

    level: str = setting("info", "debug, info, warning or error", check=convert.log_level)
    file: Path | None = setting(
        None,
        "log file besides the journal; empty: none, in a system VM /var/log/cloud.log",
        check=convert.absolute,
    )
    file_max_bytes: int = setting(
        20 << 20, "size at which the file is rotated", check=convert.positive
    )
    file_backups: int = setting(5, "rotated files kept", check=convert.not_negative)
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
    port: int = setting(
        8250, "port of the management servers", boot="port", properties="port", check=convert.port
    )
    zone: str = setting("", "zone id or name", boot="zone", properties="zone")
    pod: str = setting("default", "pod id or name", boot="pod", properties="pod")
    guid: str = setting("", "guid without the resource suffix", boot="guid", properties="guid")
    name: str = setting("", "instance name; empty: the host name", boot="name", properties="name")
    resource_class: str = setting(
        "NfsSecondaryStorageResource",
        "simple resource class name: suffix of the guid and prefix of the persisted ids",
        boot="resource",
        properties="resource",
        properties_first=True,
    )
    workers: int = setting(
        5,
        "request workers CloudStack asks for; the command lanes are never smaller",
        boot="workers threads",
        properties="workers threads",
        check=convert.positive,
    )
    reported_version: str = setting("4.22.0.0", "version told to the management server")

    mount_root: Path = setting(
        Path("/mnt/SecStorage"), "directory below which stores are mounted", check=convert.absolute
    )
    mounts_outside: bool = setting(
        False, "mount through the service manager, for a unit with a mount namespace of its own"
    )
    mount_timeout_s: float = setting(
        90.0,
        "deadline of a mount",
        check=convert.positive,
    )
    nfs_version: str | None = setting(
        None,
        "NFS version for stores that name none; empty: the kernel negotiates",
        boot="nfsVersion",
        properties="nfsVersion",
        check=convert.nfs_version,
    )
    conf_dir: Path = setting(
        Path("/usr/local/cloud/systemvm/conf"),
        "agent.properties and certificates",
        check=convert.absolute,
    )
    state_dir: Path = setting(
        Path("/var/lib/ssvm-agent"), "job journal and other own state", check=convert.absolute
    )
    pid_file: Path | None = setting(
        None,
        "pid file; empty: none, in a system VM agent.SecStorage.pid above conf_dir",
        check=convert.absolute,
    )
    publish: Publisher = setting(
        Publisher.BUILTIN,
        "who serves the public ports: builtin (the agent), or apache, which is also the default"
        " when the boot text says type=secstorage",
    )
    appliance: ApplianceKind = setting(
        ApplianceKind.RECORDING,
        "what may be changed on this machine: recording (nothing), or system-vm, which is also the"
        " default when the boot text says type=secstorage",
    )
    stop_timeout_s: float = setting(
        20.0, "time running work gets on a clean stop", check=convert.positive
    )

    networks: NetworkSettings = field(default_factory=NetworkSettings)
    link: LinkSettings = field(default_factory=LinkSettings)
    commands: CommandSettings = field(default_factory=CommandSettings)
    download: DownloadSettings = field(default_factory=DownloadSettings)
    upload: UploadSettings = field(default_factory=UploadSettings)
    public: PublicSettings = field(default_factory=PublicSettings)
    status: StatusSettings = field(default_factory=StatusSettings)
    log: LogSettings = field(default_factory=LogSettings)

    persisted: Persisted = field(default_factory=Persisted)
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Dotted key -> where its value came from; keys not named here have their default."""
    oddities: tuple[str, ...] = ()
    """What was strange in CloudStack's texts and was corrected; logged once at the start."""

    @property
    def use_https_to_upload(self) -> bool:
        """Whether upload URLs are https."""
        return self.upload.use_https

    @property
    def status_listen(self) -> str:
        """Address and port of the status page; empty: none."""
        return self.status.listen

    @property
    def full_guid(self) -> str:
        """The guid as the management server stores it (agent-lifecycle.md 0, fact 9)."""
        return f"{self.guid}-{self.resource_class}"

    @property
    def agent_properties(self) -> Path:
        """The file the agent and the certificate scripts share."""
        return self.conf_dir / "agent.properties"

    def explain(self) -> list[SettingRow]:
        """Every key with its value, as text, and where the value came from."""
        rows = [
            SettingRow(
                key=leaf.key,
                value=convert.show(value := value_at(self, leaf.path)),
                source=self.sources.get(leaf.key, "default"),
                secret=isinstance(value, Secret),
            )
            for leaf in leaves(Settings)
        ]
        remembered = dataclasses.asdict(self.persisted)
        rows.extend(
            SettingRow(
                key=f"persisted.{name}",
                value=convert.show(value),
                source="default" if value is None else "agent.properties",
                secret=False,
            )
            for name, value in remembered.items()
        )
        return rows
