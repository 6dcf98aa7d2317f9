# SPDX-License-Identifier: Apache-2.0
"""What is known about the keys of a boot text: which are needed, which are never shown. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ssvm_agent.bootargs import BootArgs
from ssvm_agent.masking import MASK, is_secret_name

SECONDARY_STORAGE: Final = "secstorage"

# boot-and-system.md 1.3: what a secondary storage VM cannot do without, and what it costs.
_NEEDED: Final = {
    "type": "the text does not say what kind of system VM this is; it is not applied",
    "host": "the agent does not know its management servers",
    "zone": "the agent cannot register",
    "guid": "the agent cannot register",
    "name": "the machine keeps the host name it has",
    "eth1ip": "there is no management network",
    "eth1mask": "there is no management network",
    "eth2ip": "there is no public network: no uploads, downloads and copies from other zones",
    "eth2mask": "there is no public network: no uploads, downloads and copies from other zones",
    "gateway": "there is no default route",
    "localgw": "networks behind the pod's gateway are not reached",
}

_HIDDEN: Final = frozenset(
    {"authorized_key", "userdata", "certificate", "cacertificate", "privatekey"}
)

# Every key of boot-and-system.md 1.3, those a secondary storage VM is never sent included.
_KNOWN: Final = """
    template type host port name zone pod guid workers authorized_key resource instance sslcopy role
    mtu vmpassword ntpserverlist eth0ip eth0mask eth1ip eth1mask eth2ip eth2mask eth3ip eth3mask
    gateway mgmtcidr localgw private.network.device public.network.device storageip storagenetmask
    storagegateway bootproto internaldns1 internaldns2 dns1 dns2 nfsVersion keystore_password
    userdata useHttpsToUpload secondaryStorageServerAddress nic_macs
    disable_rp_filter ip6gateway eth0ip6 eth0ip6prelen eth1ip6 eth1ip6prelen eth2ip6 eth2ip6prelen
    ip6dns1 ip6dns2 ip6firewall is_routed domain dnssearchorder useextdns sshonguest dhcprange
    defaultroute redundant_router redundant_state guestgw guestbrd guestcidrsize guestgw6
    guestcidr6size router_pr extra_pubnics storagecidr vpccidr cidrsize advert_int validity
    certificate cacertificate privatekey logrotatefrequency publicMtu privateMtu vncport
"""
KNOWN_KEYS: Final = frozenset(_KNOWN.split())


def is_hidden(key: str) -> bool:
    """Whether the value of a key is never shown, logged or copied to other files."""
    return key in _HIDDEN or is_secret_name(key)


def shown(boot: BootArgs) -> dict[str, str]:
    """The settings as people may see them."""
    return {key: MASK if is_hidden(key) and value else value for key, value in boot.values.items()}


def missing(boot: BootArgs) -> dict[str, str]:
    """Needed keys without a value, each with what that costs."""
    return {key: cost for key, cost in _NEEDED.items() if boot.get(key) is None}


def unknown(boot: BootArgs) -> Iterator[str]:
    """Keys nobody reads; a newer server may send them."""
    return (key for key in boot.values if key not in KNOWN_KEYS)


def is_for_secondary_storage(boot: BootArgs) -> bool:
    """Whether the text is one of a secondary storage VM."""
    return boot.get("type") == SECONDARY_STORAGE
