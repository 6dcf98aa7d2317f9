# SPDX-License-Identifier: Apache-2.0
"""The Startup request: what the agent says of itself on every new link (agent-lifecycle.md 2.3).

Pure. The facts come from settings and from the machine; this module only knows which of them goes
into which field, and which the server cannot do without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ssvm_agent.link.errors import LinkError, Step
from ssvm_agent.messages.agent import StartupSecondaryStorageCommand

_HOST_TYPE: Final = "SecondaryStorage"
# Stored by the server as the row's url; an SSVM has no initiator name.
_IQN: Final = "NoIqn"
# What the server takes; with anything else it refuses the Startup (agent-lifecycle.md 2.3).
_ARCHITECTURES: Final = frozenset({"i686", "x86_64", "aarch64"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NicFacts:
    """Address, mask and hardware address of one interface, as texts."""

    address: str
    netmask: str
    mac: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupFacts:
    """What Startup needs to know.

    Attributes:
        zone: Zone id or name, from the boot arguments.
        pod: Pod id or name; None when not given.
        guid: The ``guid`` boot argument, without suffix.
        resource_class: Simple name of the resource class; suffix of the guid on the wire.
        name: Host name; has to be the VM's instance name, or the server skips all setup.
        version: The version reported to the server.
        private: eth1; its address is one of the fields the server cannot do without.
        public: eth2; None when the VM has no such interface.
        server_list: The ``host`` entry of agent.properties, with ``@algorithm`` if persisted.
        architecture: As ``arch`` prints it.
    """

    zone: str
    pod: str | None
    guid: str
    resource_class: str
    name: str
    version: str
    private: NicFacts | None
    public: NicFacts | None
    server_list: str | None
    architecture: str


def startup_command(
    facts: StartupFacts, *, host_id: int | None, transferred: bool
) -> StartupSecondaryStorageCommand:
    """The one command of the Startup request.

    Args:
        facts: What the machine and the settings say.
        host_id: The persisted host id; None before the first Ready.
        transferred: Whether this connect is the result of a MigrateAgentConnectionCommand.

    Raises:
        LinkError: A fact is missing that the server insists on; the message names it.
    """
    _insist(facts)
    private, public = facts.private, facts.public
    assert private is not None
    return StartupSecondaryStorageCommand(
        type=_HOST_TYPE,
        data_center=facts.zone,
        pod=facts.pod,
        # Compat: agent-lifecycle.md 0.9, the row is found again only by the guid with this suffix.
        guid=f"{facts.guid}-{facts.resource_class}",
        name=facts.name,
        id=host_id,
        version=facts.version,
        iqn=_IQN,
        public_ip_address=public.address if public else None,
        public_netmask=public.netmask if public else None,
        public_mac_address=public.mac if public else None,
        private_ip_address=private.address,
        private_mac_address=private.mac,
        private_netmask=private.netmask,
        # Compat: agent-lifecycle.md 0.13, the storage address is eth1's even when eth3 exists.
        storage_ip_address=private.address,
        storage_netmask=private.netmask,
        storage_mac_address=private.mac,
        resource_name=facts.resource_class,
        ms_host_list=facts.server_list,
        connection_transferred=transferred,
        arch=facts.architecture if facts.architecture in _ARCHITECTURES else None,
    )


def _insist(facts: StartupFacts) -> None:
    needed = {
        "zone": facts.zone,
        "guid": facts.guid,
        "host name": facts.name,
        "version": facts.version,
        "private address (eth1 has no usable IPv4 address)": facts.private,
    }
    for what, value in needed.items():
        if not value:
            raise LinkError(
                f"The agent knows no {what}, without which the management server refuses it.",
                step=Step.STARTUP,
            )
