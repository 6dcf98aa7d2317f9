# SPDX-License-Identifier: Apache-2.0
"""The packet filter rules the agent declares, as data, and how they are put in place.

The base rules come from the boot; these are added to them (boot-and-system.md 2.5). Foreign rules
are never touched, present ones never repeated (R27), missing ones go in as one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from ssvm_agent.appliance.plan.filter import NEW_TCP, SSH_PORT
from ssvm_agent.host.run import Runner

Network = IPv4Network | IPv6Network

_PUBLIC_PORTS: Final = (80, 443)
# Waits for the lock of the filter shorter than for the program.
_LOCK_WAIT_S: Final = 10
_DEADLINE_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of the filter table.

    Attributes:
        chain: ``INPUT`` or ``OUTPUT``.
        match: Arguments from the first match to the target, in the stock spelling, so that a rule
            the stock scripts made is recognised.
        top: Goes above all others; otherwise below.
        version: 4 or 6.
    """

    chain: str
    match: tuple[str, ...]
    top: bool
    version: int = 4


def machine_rules(*, public_device: str, private_device: str) -> tuple[Rule, ...]:
    """What every secondary storage VM has: SSH inside, HTTP outside, no HTTP into the inside."""
    ssh = Rule(
        chain="INPUT",
        match=("-i", private_device, *NEW_TCP, "--dport", str(SSH_PORT), "-j", "ACCEPT"),
        top=True,
    )
    public = (
        Rule(
            chain="INPUT",
            match=("-i", public_device, *NEW_TCP, "--dport", str(port), "-j", "ACCEPT"),
            top=True,
        )
        for port in _PUBLIC_PORTS
    )
    inside = (
        Rule(
            chain="OUTPUT",
            match=("-o", private_device, *NEW_TCP, "--dport", str(port), "-j", "REJECT"),
            top=False,
        )
        for port in _PUBLIC_PORTS
    )
    return (ssh, *public, *inside)


def internal_site(network: Network, *, private_device: str) -> Rule:
    """An allowed internal site: above the rejects (storage-commands.md 3.2)."""
    return Rule(
        chain="OUTPUT",
        match=("-d", str(network), "-o", private_device, *NEW_TCP, "-j", "ACCEPT"),
        top=True,
        version=network.version,
    )


async def apply(rules: Sequence[Rule], runner: Runner) -> tuple[Rule, ...]:
    """Add the rules that are missing.

    Returns:
        The rules that were added.

    Raises:
        HostError: A program is missing, failed or took too long; nothing of the transaction holds.
    """
    missing = [rule for rule in rules if not await _is_present(rule, runner)]
    for version in sorted({rule.version for rule in missing}):
        text = transaction(rule for rule in missing if rule.version == version)
        await runner.run(
            [f"{_program(version)}-restore", "-w", str(_LOCK_WAIT_S), "--noflush"],
            deadline_s=_DEADLINE_S,
            input=text.encode("ascii"),
        )
    return tuple(missing)


def transaction(rules: Iterable[Rule]) -> str:
    """The rules as one text for ``iptables-restore --noflush``."""
    lines = (
        " ".join((("-I", rule.chain, "1") if rule.top else ("-A", rule.chain)) + rule.match)
        for rule in rules
    )
    return "\n".join(("*filter", *lines, "COMMIT", ""))


async def _is_present(rule: Rule, runner: Runner) -> bool:
    result = await runner.run(
        [_program(rule.version), "-w", str(_LOCK_WAIT_S), "-C", rule.chain, *rule.match],
        deadline_s=_DEADLINE_S,
        check=False,
    )
    # Every failure counts as missing: adding then tells the reason.
    return result.returncode == 0


def _program(version: int) -> str:
    return "iptables" if version == 4 else "ip6tables"
