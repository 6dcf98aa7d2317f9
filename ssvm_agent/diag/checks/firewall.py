# SPDX-License-Identifier: Apache-2.0
"""Are the rules in place that this machine must have, for IPv4 and IPv6 (5.3.11)?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ssvm_agent.appliance.apply.filtering import FilterChange, compare
from ssvm_agent.appliance.firewall import machine_rules
from ssvm_agent.diag.check import Check, Need
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.verdict import Verdict, error, ok, skipped, warning
from ssvm_agent.host.errors import HostError

_REPAIR: Final = (
    "Run ssvm-agent boot apply for the base rules; the agent adds its own at its start"
    " (systemctl restart cloud)."
)
_HOW: Final = "iptables -S"
_IPV6_SWITCH: Final = "proc/sys/net/ipv6/conf/all/disable_ipv6"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterState:
    """What is judged.

    Attributes:
        missing: Rules and policies that are not there, in the words of ``iptables``.
        problem: Why the filter cannot be read; empty when it can.
        has_ipv6: Whether IPv6 is switched on.
        missing6: Like ``missing``, for IPv6.
    """

    missing: tuple[str, ...] = ()
    problem: str = ""
    has_ipv6: bool = False
    missing6: tuple[str, ...] = ()


class FirewallCheck(Check):
    """The packet filter."""

    slug = "firewall"
    title = "the packet filter has its rules"
    needs = (Need.SYSTEM_VM, Need.ROOT)
    deadline_s = 30.0

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        networks = facts.settings.networks
        rules = machine_rules(
            public_device=networks.public_device, private_device=networks.private_device
        )
        own = [f"-A {rule.chain} {' '.join(rule.match)}" for rule in rules]
        has_ipv6 = (await facts.text(_IPV6_SWITCH)).strip() == "0"
        try:
            missing = await compare([*facts.plan.firewall, *own], 4, facts.runner)
            missing6 = await compare(facts.plan.firewall6, 6, facts.runner) if has_ipv6 else None
        except HostError as problem:
            return judge(FilterState(problem=problem.message))
        return judge(
            FilterState(missing=_lines(missing), has_ipv6=has_ipv6, missing6=_lines(missing6))
        )


def judge(state: FilterState) -> list[Verdict]:
    """The verdicts."""
    if state.problem:
        return [skipped(f"The packet filter cannot be read: {state.problem}.")]
    found = [_missing(line) for line in state.missing]
    if state.missing6:
        found.append(
            warning(
                f"IPv6 is on and not filtered: {len(state.missing6)} rules or policies lack.",
                "ip6tables -S",
                _REPAIR,
            )
        )
    ipv6 = "on and filtered" if state.has_ipv6 else "off"
    return found or [ok(f"All rules are there; IPv6 is {ipv6}.", _HOW)]


def _missing(line: str) -> Verdict:
    if "REJECT" in line:
        what = "HTTP can leave into the internal networks"
    elif line.startswith("-P INPUT"):
        what = "What no rule allows is let in"
    elif "--dport" in line and "ACCEPT" in line:
        return error(f"A port is closed that must be open: missing is {line}.", _HOW, _REPAIR)
    else:
        what = "The packet filter is not complete"
    return warning(f"{what}: missing is {line}.", _HOW, _REPAIR)


def _lines(change: FilterChange | None) -> tuple[str, ...]:
    """The rules and policies of a change, without its frame, as ``iptables -S`` shows them."""
    return tuple(map(_spoken, change.forward[1:-1])) if change is not None else ()


def _spoken(line: str) -> str:
    """``:CHAIN POLICY [counters]`` of a rule file in the words of the program."""
    if not line.startswith(":"):
        return line
    chain, policy = line[1:].split()[:2]
    return f"-N {chain}" if policy == "-" else f"-P {chain} {policy}"
