# SPDX-License-Identifier: Apache-2.0
"""What Startup says of this machine: settings, and what the interfaces really have.

Blocking (asks the kernel); the link calls it in a pool before every connect.
"""

from __future__ import annotations

from ssvm_agent.config.settings import Settings
from ssvm_agent.config.state import AgentState
from ssvm_agent.host import network
from ssvm_agent.link.startup import NicFacts, StartupFacts


def startup_facts(settings: Settings, state: AgentState) -> StartupFacts:
    """The facts at this moment."""
    networks = settings.networks
    return StartupFacts(
        zone=settings.zone,
        pod=settings.pod or None,
        guid=settings.guid,
        resource_class=settings.resource_class,
        name=settings.name,
        version=settings.reported_version,
        private=_nic(networks.private_device, networks.private_address, networks.private_netmask),
        public=_nic(networks.public_device, networks.public_address, networks.public_netmask),
        server_list=state.server_list or ",".join(settings.management_servers),
        architecture=network.architecture(),
    )


def _nic(device: str, address: str, netmask: str) -> NicFacts | None:
    """What the interface has; what CloudStack said when there is no such interface."""
    facts = network.interface(device)
    if facts is not None:
        return NicFacts(address=facts.address, netmask=facts.netmask, mac=facts.mac)
    return NicFacts(address=address, netmask=netmask, mac="") if address else None
