# SPDX-License-Identifier: Apache-2.0
"""The base packet filter of the machine as lines for iptables-restore. Pure.

What the agent adds while it runs is declared in :mod:`ssvm_agent.appliance.firewall`; the base set
stands from the first moment the network is up (boot-and-system.md 2.5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

SSH_PORT: Final = 3922
# In the spelling of the stock scripts, by which a rule of theirs is recognised.
NEW_TCP: Final = ("-p", "tcp", "-m", "state", "--state", "NEW", "-m", "tcp")

# A timestamp request (type 13) tells the machine's clock to strangers; the stock set drops it too.
_ICMP_TIMESTAMP_REQUEST: Final = 13


def base_rules(devices: Sequence[str], ssh_device: str) -> tuple[str, ...]:
    """The ``filter`` table for IPv4.

    Args:
        devices: Interfaces whose replies are let in.
        ssh_device: The interface hosts or the management server come over; empty for none.

    # Differs: boot-and-system.md 2.1 step 4. The SSH rule stays on the interface sshd listens on.
    """
    return (
        "*filter",
        ":INPUT DROP [0:0]",
        ":FORWARD DROP [0:0]",
        ":OUTPUT ACCEPT [0:0]",
        ":HTTP - [0:0]",
        *_replies(devices),
        f"-A INPUT -p icmp --icmp-type {_ICMP_TIMESTAMP_REQUEST} -j DROP",
        "-A INPUT -p icmp -j ACCEPT",
        "-A INPUT -i lo -j ACCEPT",
        *_ssh(ssh_device),
        "COMMIT",
    )


def base_rules6(devices: Sequence[str], ssh_device: str) -> tuple[str, ...]:
    """The ``filter`` table for IPv6: the same policy, with the ICMPv6 that IPv6 cannot do without.

    # Differs: boot-and-system.md 2.5. IPv6 is closed by a rule set of its own.
    """
    return (
        "*filter",
        ":INPUT DROP [0:0]",
        ":FORWARD DROP [0:0]",
        ":OUTPUT ACCEPT [0:0]",
        *_replies(devices),
        "-A INPUT -p ipv6-icmp -j ACCEPT",
        "-A INPUT -i lo -j ACCEPT",
        *_ssh(ssh_device),
        "COMMIT",
    )


def _replies(devices: Sequence[str]) -> Iterator[str]:
    for device in devices:
        yield f"-A INPUT -i {device} -m state --state RELATED,ESTABLISHED -j ACCEPT"


def _ssh(device: str) -> Iterator[str]:
    if device:
        yield f"-A INPUT -i {device} {' '.join(NEW_TCP)} --dport {SSH_PORT} -j ACCEPT"
