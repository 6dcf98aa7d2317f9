# SPDX-License-Identifier: Apache-2.0
"""The declared machine as data: what has to be true, in no words of any tool but the file texts.

A plan is made by :func:`ssvm_agent.appliance.plan.build.build_plan`, compared with the machine and
applied elsewhere. Nothing here touches a machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network


class Hypervisor(StrEnum):
    """The platform the machine runs on; it decides where sshd listens and how texts arrive."""

    KVM = "kvm"
    XEN_PV = "xen-pv"
    XEN_HVM = "xen-hvm"
    VMWARE = "vmware"
    HYPERV = "hyperv"
    OVM3 = "ovm3"
    LXC = "lxc"
    VIRTUALBOX = "virtualbox"

    @property
    def has_link_local_control(self) -> bool:
        """Whether hosts reach the machine over the control interface (boot-and-system.md 3.3)."""
        return self not in {Hypervisor.VMWARE, Hypervisor.HYPERV}


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One network interface and the addresses it shall have.

    Attributes:
        name: ``eth0`` control, ``eth1`` management, ``eth2`` public, ``eth3`` storage.
        address: Static IPv4 address with its prefix; ``None`` when it has none or asks DHCP.
        address6: Static IPv6 address with its prefix.
        dhcp: Ask for the IPv4 address.
        mtu: ``None`` leaves the MTU alone.
        mac: Hardware address by which the interface is found; ``None`` trusts the name.
    """

    name: str
    address: IPv4Interface | None = None
    address6: IPv6Interface | None = None
    dhcp: bool = False
    mtu: int | None = None
    mac: str | None = None

    @property
    def is_configured(self) -> bool:
        """Whether there is anything to bring up."""
        return self.dhcp or self.address is not None or self.address6 is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A destination and the next hop towards it."""

    destination: IPv4Network | IPv6Network
    via: str
    dev: str

    @property
    def text(self) -> str:
        """The destination as operators write it."""
        return "default" if self.destination.prefixlen == 0 else str(self.destination)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePlan:
    """Everything a boot text asks of the machine.

    Attributes:
        hypervisor: The platform the plan is for.
        interfaces: In the order of their names, those without an address included.
        nameservers: In the order of preference.
        hostname: Also the name the agent reports; empty when the text has none.
        public_address: What the host name resolves to locally.
        routes: In the order they are made.
        sshd_listen: Address sshd listens on; empty leaves its configuration alone.
        sshd_device: The interface of that address; its port 3922 is open.
        ntp_servers: Empty keeps what the machine has.
        firewall: The base rule set as lines for iptables-restore, table ``filter``.
        firewall6: The same for IPv6.
        services_enabled: Units that shall run.
        services_disabled: Units that shall not.
        web_includes: Names of the include files of the web server in apache mode.
        oddities: One sentence for each thing in the text that could not be followed.
    """

    hypervisor: Hypervisor
    interfaces: tuple[Interface, ...]
    nameservers: tuple[str, ...]
    hostname: str
    public_address: str
    routes: tuple[Route, ...]
    sshd_listen: str
    sshd_device: str
    ntp_servers: tuple[str, ...]
    firewall: tuple[str, ...]
    firewall6: tuple[str, ...]
    services_enabled: tuple[str, ...]
    services_disabled: tuple[str, ...]
    web_includes: tuple[str, ...]
    oddities: tuple[str, ...]

    def interface(self, name: str) -> Interface | None:
        """The interface of this name."""
        return next((nic for nic in self.interfaces if nic.name == name), None)
