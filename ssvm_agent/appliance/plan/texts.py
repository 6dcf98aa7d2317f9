# SPDX-License-Identifier: Apache-2.0
"""The files of a machine plan as texts: interfaces, resolver, hosts, udev names. Pure.

Layouts follow boot-and-system.md 2.2 and 2.3 to the letter, since people and other programs of the
system VM read these files too.
"""

from __future__ import annotations

from collections.abc import Iterator

from ssvm_agent.appliance.plan.model import Interface, MachinePlan


def interfaces_text(plan: MachinePlan) -> str:
    """``/etc/network/interfaces``.

    # Differs: boot-and-system.md 2.2. An interface without any address is not named in the ``auto``
    line, so bringing the network up never fails for its sake.
    """
    early = [nic for nic in plan.interfaces if nic.name != "eth3" and nic.is_configured]
    lines = [" ".join(["auto", "lo", *(nic.name for nic in early)]), "iface lo inet loopback", ""]
    for nic in early:
        lines.extend(_stanza(nic))
    storage = plan.interface("eth3")
    if storage is not None and storage.is_configured:
        lines += ["", "auto eth3", *_stanza(storage)]
    return "\n".join(lines) + "\n"


def _stanza(nic: Interface) -> Iterator[str]:
    if nic.dhcp:
        yield f"iface  {nic.name} inet dhcp"
    elif nic.address is not None:
        yield f"iface  {nic.name} inet static"
        # Compat: boot-and-system.md 2.2, the blank behind the address belongs to the layout.
        yield f"  address {nic.address.ip} "
        yield f"  netmask {nic.address.netmask}"
    if nic.mtu is not None and (nic.dhcp or nic.address is not None):
        yield f"  mtu {nic.mtu}"
    if nic.address6 is not None:
        yield f"iface {nic.name} inet6 static"
        yield f"  address {nic.address6.ip} "
        yield f"  netmask {nic.address6.network.prefixlen}"
        yield "  accept_ra 1"


def resolver_text(plan: MachinePlan) -> str:
    """``/etc/resolv.conf``: one line per server, no search domain."""
    return "".join(f"nameserver {server}\n" for server in plan.nameservers)


def hosts_text(plan: MachinePlan, current: str = "127.0.0.1 localhost\n") -> str:
    """``/etc/hosts``: the current text with exactly one line for our own name.

    # Differs: boot-and-system.md 2.3. Only lines that carry the name as a whole word go.
    """
    kept = [
        line for line in current.splitlines() if plan.hostname not in line.partition("#")[0].split()
    ]
    if plan.hostname and plan.public_address:
        kept.append(f"{plan.public_address} {plan.hostname}")
    return "".join(f"{line}\n" for line in kept)


def udev_text(plan: MachinePlan) -> str:
    """``/etc/udev/rules.d/70-persistent-net.rules``: names by hardware address; may be empty."""
    return "".join(
        'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", '
        f'ATTR{{address}}=="{nic.mac}", NAME="{nic.name}"\n'
        for nic in plan.interfaces
        if nic.mac is not None
    )


def listing(plan: MachinePlan) -> dict[str, object]:
    """The plan in the shape ``boot plan --json`` prints."""
    return {
        "hypervisor": plan.hypervisor.value,
        "interfaces": interfaces_text(plan),
        "persistent_net_rules": udev_text(plan),
        "resolv_conf": resolver_text(plan),
        "hosts": hosts_text(plan),
        "hostname": plan.hostname,
        "routes": [
            {"destination": route.text, "via": route.via, "dev": route.dev} for route in plan.routes
        ],
        "sshd_listen": plan.sshd_listen,
        "sshd_device": plan.sshd_device,
        "ntp_servers": list(plan.ntp_servers),
        "firewall": list(plan.firewall),
        "firewall6": list(plan.firewall6),
        "services": {
            "enabled": list(plan.services_enabled),
            "disabled": list(plan.services_disabled),
        },
        "web_includes": list(plan.web_includes),
        "oddities": list(plan.oddities),
    }
