# SPDX-License-Identifier: Apache-2.0
"""From a boot text to the declared machine. Pure; never raises on any text.

What cannot be followed (an address that is none, a gateway outside every subnet) is left out and
said in the plan's oddities, so a strange text costs what is strange in it and no more
(boot-and-system.md 1 and 2; departures are marked and listed in docs/boot.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from ssvm_agent.appliance.plan.filter import base_rules, base_rules6
from ssvm_agent.appliance.plan.model import Hypervisor, Interface, MachinePlan, Route
from ssvm_agent.bootargs import BootArgs

_DEFAULT_MTU: Final = 1500
# The smallest MTU IPv4 hosts must take, and the largest an Ethernet driver offers.
_MTU_RANGE: Final = range(576, 65536)
_HOSTNAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9-]{1,63})*")
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_MAX_NICS: Final = 4

# Compat: boot-and-system.md 2.4 step 4, private networks are reached through the pod's gateway
# when the public address is not private itself.
_PRIVATE: Final = tuple(
    IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
_LOOPBACK: Final = IPv4Network("127.0.0.0/8")

# Compat: boot-and-system.md 2.8, the live patch and postinit read these names.
_SERVICES_ENABLED: Final = ("cloud", "apache2", "nfs-common", "portmap")
_SERVICES_DISABLED: Final = ("conntrackd", "keepalived", "haproxy", "dnsmasq")


def build_plan(boot: BootArgs, hypervisor: Hypervisor) -> MachinePlan:
    """Everything the boot text asks of the machine."""
    return _Builder(boot, hypervisor).build()


class _Builder:
    def __init__(self, boot: BootArgs, hypervisor: Hypervisor) -> None:
        self._boot = boot
        self._hypervisor = hypervisor
        self._oddities = list(boot.oddities)

    def build(self) -> MachinePlan:
        interfaces = self._interfaces()
        by_name = {nic.name: nic for nic in interfaces}
        public = self._public_address(by_name)
        ssh = by_name["eth0" if self._hypervisor.has_link_local_control else "eth1"]
        devices = tuple(nic.name for nic in interfaces if nic.is_configured)
        ssh_device = ssh.name if ssh.is_configured else ""
        return MachinePlan(
            hypervisor=self._hypervisor,
            interfaces=interfaces,
            nameservers=self._nameservers(),
            hostname=self._hostname(),
            public_address=public,
            routes=self._routes(by_name, public),
            sshd_listen=str(ssh.address.ip) if ssh.address is not None else "",
            sshd_device=ssh_device,
            ntp_servers=self._ntp_servers(),
            firewall=base_rules(devices, ssh_device),
            firewall6=base_rules6(devices, ssh_device),
            services_enabled=_SERVICES_ENABLED,
            services_disabled=_SERVICES_DISABLED,
            web_includes=self._web_includes(public),
            oddities=tuple(dict.fromkeys(self._oddities)),
        )

    # --- interfaces ------------------------------------------------------------------------------

    def _interfaces(self) -> tuple[Interface, ...]:
        macs = self._macs()
        dhcp = (self._boot.get("bootproto") or "").lower() == "dhcp"
        nics = []
        for name in ("eth0", "eth1", "eth2"):
            # Compat: boot-and-system.md 2.2, the control interface stays static with DHCP too.
            by_dhcp = dhcp and name != "eth0"
            nics.append(
                Interface(
                    name=name,
                    address=None if by_dhcp else self._address(f"{name}ip", f"{name}mask"),
                    address6=self._address6(name),
                    dhcp=by_dhcp,
                    mtu=self._mtu({"eth0": "privateMtu", "eth2": "publicMtu"}.get(name)),
                    mac=macs.get(name),
                )
            )
        storage = self._address("storageip", "storagenetmask")
        if storage is not None:
            nics.append(
                Interface(
                    name="eth3",
                    address=None if dhcp else storage,
                    dhcp=dhcp,
                    mtu=self._mtu("mtu") or _DEFAULT_MTU,
                    mac=macs.get("eth3"),
                )
            )
        elif "eth3" in macs:
            nics.append(Interface(name="eth3", mac=macs["eth3"]))
        self._report_twice(nics)
        return tuple(nics)

    def _address(self, ip_key: str, mask_key: str) -> IPv4Interface | None:
        ip, mask = self._boot.get(ip_key), self._boot.get(mask_key)
        if ip is None:
            return None
        if mask is None:
            self._odd(f"{ip_key} has no {mask_key}; the interface gets no address")
            return None
        try:
            return IPv4Interface(f"{ip}/{mask}")
        except ValueError:
            self._odd(f"{ip_key} and {mask_key} are no IPv4 address and netmask")
            return None

    def _address6(self, name: str) -> IPv6Interface | None:
        ip = self._boot.get(f"{name}ip6")
        if ip is None:
            return None
        prefix = self._boot.get(f"{name}ip6prelen") or "64"
        try:
            return IPv6Interface(f"{ip}/{prefix}")
        except ValueError:
            self._odd(f"{name}ip6 and {name}ip6prelen are no IPv6 address and prefix length")
            return None

    def _mtu(self, key: str | None) -> int | None:
        text = self._boot.get(key) if key else None
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and int(text) in _MTU_RANGE):
            self._odd(f"{key} is no MTU between {_MTU_RANGE.start} and {_MTU_RANGE.stop - 1}")
            return None
        return int(text)

    def _macs(self) -> dict[str, str]:
        text = self._boot.get("nic_macs")
        if text is None:
            return {}
        macs = [part.strip().lower() for part in text.split("|")]
        if len(macs) > _MAX_NICS or not all(_MAC.fullmatch(mac) for mac in macs):
            self._odd("nic_macs is no list of up to four hardware addresses; it was ignored")
            return {}
        return {f"eth{number}": mac for number, mac in enumerate(macs)}

    def _report_twice(self, nics: list[Interface]) -> None:
        seen: dict[IPv4Address, str] = {}
        for nic in nics:
            if nic.address is not None:
                first = seen.setdefault(nic.address.ip, nic.name)
                if first != nic.name:
                    self._odd(f"{first} and {nic.name} have the same address")

    # --- names -----------------------------------------------------------------------------------

    def _hostname(self) -> str:
        name = self._boot.get("name") or ""
        if name and not _HOSTNAME.fullmatch(name):
            self._odd("name is no host name; the machine keeps the one it has")
            return ""
        return name

    def _nameservers(self) -> tuple[str, ...]:
        servers: list[str] = []
        for key in ("internaldns1", "internaldns2", "dns1", "dns2", "ip6dns1", "ip6dns2"):
            text = self._boot.get(key)
            if text is None:
                continue
            try:
                servers.append(str(ip_address(text)))
            except ValueError:
                self._odd(f"{key} is no IP address; it is not used as a name server")
        return tuple(dict.fromkeys(servers))

    def _ntp_servers(self) -> tuple[str, ...]:
        names = self._list("ntpserverlist")
        servers = tuple(name for name in names if _HOSTNAME.fullmatch(name) or _is_address(name))
        if servers != names:
            self._odd("ntpserverlist holds something that is no name and no address")
        return servers

    def _list(self, key: str) -> tuple[str, ...]:
        return tuple(part for part in (self._boot.get(key) or "").split(",") if part)

    def _public_address(self, nics: dict[str, Interface]) -> str:
        for key in ("eth2ip", "eth1ip"):
            nic = nics[key.removesuffix("ip")]
            if nic.address is not None:
                return str(nic.address.ip)
            # With DHCP the text still carries the addresses, and names follow them.
            text = self._boot.get(key)
            if nic.dhcp and text is not None and _is_ipv4(text):
                return text
        return ""

    def _web_includes(self, public: str) -> tuple[str, ...]:
        upload = (
            "http.conf"
            if (self._boot.get("useHttpsToUpload") or "true").lower() == "false"
            else "https.conf"
        )
        return (f"vhost-{public}.conf", upload) if public else (upload,)

    # --- routes ----------------------------------------------------------------------------------

    def _routes(self, nics: dict[str, Interface], public: str) -> tuple[Route, ...]:
        routes = self._management_routes(nics)
        gateway = self._gateway("gateway")
        if gateway is not None:
            routes.append(Route(destination=IPv4Network("0.0.0.0/0"), via=gateway, dev="eth2"))
        routes += self._private_routes(nics, public)
        gateway6 = self._gateway6()
        if gateway6 is not None:
            # Differs: boot-and-system.md 2.2. The IPv6 gateway of the text is used.
            routes.append(Route(destination=IPv6Network("::/0"), via=gateway6, dev="eth2"))
        return self._one_each(r for r in routes if self._has_reachable_gateway(r, nics))

    def _one_each(self, routes: Iterable[Route]) -> tuple[Route, ...]:
        """One route to each network: the last, as the public gateway's replaces one of mgmtcidr."""
        chosen: dict[IPv4Network | IPv6Network, Route] = {}
        for route in routes:
            other = chosen.pop(route.destination, route)
            if other != route:
                # Compat: boot-and-system.md 2.4 step 2.
                self._odd(f"the route to {other.text} by {other.dev} gives way to the one by "
                          f"{route.dev}")  # fmt: skip
            chosen[route.destination] = route
        return tuple(chosen.values())

    def _has_reachable_gateway(self, route: Route, nics: dict[str, Interface]) -> bool:
        nic, hop = nics[route.dev], ip_address(route.via)
        own = nic.address if hop.version == 4 else nic.address6
        # What DHCP will bring, and link-local routers, cannot be judged from the text.
        if nic.dhcp or hop.is_link_local or (own is not None and hop in own.network):
            return True
        # Differs: boot-and-system.md 2.4. The kernel would refuse such a route anyway.
        self._odd(f"the gateway to {route.text} is outside the network of {route.dev}; "
                  "there is no such route")  # fmt: skip
        return False

    def _management_routes(self, nics: dict[str, Interface]) -> list[Route]:
        cidrs, gateway = self._list("mgmtcidr"), self._gateway("localgw")
        if not cidrs or gateway is None:
            return []
        routes = []
        for cidr in cidrs:
            try:
                network = ip_network(cidr)
            except ValueError:
                self._odd("mgmtcidr holds something that is no network; it gets no route")
                continue
            if isinstance(network, IPv6Network):
                self._odd(f"mgmtcidr {network} is IPv6 and localgw is not; it gets no route")
                continue
            if _is_on_link(network, nics):
                # Differs: boot-and-system.md 2.4 step 1. A connected network is never routed away.
                self._odd(f"mgmtcidr {network} is connected to an interface; it needs no route")
                continue
            routes.append(Route(destination=network, via=gateway, dev="eth1"))
        return routes

    def _private_routes(self, nics: dict[str, Interface], public: str) -> list[Route]:
        gateway = self._gateway("localgw")
        if gateway is None or not public:
            return []
        address = IPv4Address(public)
        if address in _LOOPBACK or any(address in network for network in _PRIVATE):
            return []
        return [
            Route(destination=network, via=gateway, dev="eth1")
            for network in _PRIVATE
            if not _is_on_link(network, nics)
        ]

    def _gateway(self, key: str) -> str | None:
        text = self._boot.get(key)
        if text is not None and not _is_ipv4(text):
            self._odd(f"{key} is no IPv4 address; routes through it are left out")
            return None
        return text

    def _gateway6(self) -> str | None:
        text = self._boot.get("ip6gateway")
        if text is None or self._boot.get("eth2ip6") is None:
            return None
        try:
            return str(IPv6Address(text))
        except ValueError:
            self._odd("ip6gateway is no IPv6 address; there is no IPv6 default route")
            return None

    def _odd(self, sentence: str) -> None:
        self._oddities.append(sentence)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_on_link(network: IPv4Network, nics: dict[str, Interface]) -> bool:
    return any(
        nic.address is not None and network.subnet_of(nic.address.network) for nic in nics.values()
    )
