# SPDX-License-Identifier: Apache-2.0
"""One zone: what its management server is configured with and what it knows.

Data and look-ups only; the rules of finding host rows are those of agent-lifecycle.md 2.3.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ssvm_agent.simulator.downloads import Download
from ssvm_agent.simulator.model import Fields, Host, HostStatus, ImageStore


@dataclass(slots=True, kw_only=True)
class Zone:
    """Configuration and rows of the one zone.

    Attributes:
        names: Name and numeric id; an agent's ``dataCenter`` must be one of them.
        stores: Image stores; every agent that connects is told of them.
        servers: Management servers as agents are told to use them; none: the one they reached.
        avoid: Those of them that agents shall avoid.
        vm_names: Instance names of system VMs; an agent with another name goes Up without any
            setup (agent-lifecycle.md 0.10). None: every name is one.
        https_uploads: Whether uploads go over HTTPS (``use.https.to.upload``).
        encrypt_copy: Whether links do, given a domain (``secstorage.encrypt.copy``).
        certificate_domain: Of the names in URLs, as ``example.com`` or ``*.example.com``; empty:
            addresses are used (``secstorage.ssl.cert.domain``).
    """

    names: tuple[str, ...] = ("1", "zone-1")
    stores: list[ImageStore] = field(default_factory=list)
    servers: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    algorithm: str = "static"
    check_interval_s: int = 0
    allowed_sites: tuple[str, ...] = ()
    upload_key: str = "simulated-upload-key"
    copy_password: str = "simulated-copy-password"  # noqa: S105 - of a simulated cloud
    vm_names: frozenset[str] | None = None
    https_uploads: bool = True
    encrypt_copy: bool = False
    certificate_domain: str = ""
    hosts: dict[int, Host] = field(default_factory=dict)
    downloads: dict[int, Download] = field(default_factory=dict)

    def host_for(self, startup: Fields) -> Host:
        """The row of the agent that sent this Startup, made when there is none."""
        guid = str(startup.get("guid", ""))
        plain = guid.removesuffix(f"-{startup.get('resourceName', '')}")
        for host in self.hosts.values():
            if host.guid in (guid, plain):
                break
        else:
            host = Host(id=len(self.hosts) + 1, guid=guid, name=str(startup["name"]))
            self.hosts[host.id] = host
        host.startup = startup
        host.name = str(startup["name"])
        host.become(HostStatus.CONNECTING)
        return host

    def is_up(self, host_id: object) -> bool | None:
        """Whether this row is Up; None when there is no such row."""
        host = self.hosts.get(host_id) if isinstance(host_id, int) else None
        return None if host is None else host.status is HostStatus.UP

    def sets_up(self, host: Host) -> bool:
        """Whether the host is known as a system VM and therefore gets its setup."""
        return self.vm_names is None or host.name in self.vm_names

    def upload_base(self, address: str) -> str:
        """Scheme and host of upload URLs for a system VM with this public address."""
        scheme = "https" if self.https_uploads else "http"
        return f"{scheme}://{self._public_name(address)}"

    def extract_base(self, address: str) -> str:
        """Scheme and host of extract URLs; over HTTP by address, as no certificate matters."""
        if self.encrypt_copy and self.certificate_domain:
            return f"https://{self._public_name(address)}"
        return f"http://{address}"

    def _public_name(self, address: str) -> str:
        domain = self.certificate_domain.removeprefix("*.")
        return f"{address.replace('.', '-')}.{domain}" if domain else address
