# SPDX-License-Identifier: Apache-2.0
"""Has every interface of the boot text its address, is it up, is the address its own (5.3.3)?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ssvm_agent.appliance.plan.model import Interface
from ssvm_agent.diag.check import Check, Need
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.verdict import Verdict, error, ok, warning
from ssvm_agent.host.errors import HostError
from ssvm_agent.host.run import Runner

_HOW: Final = "ip address show"
_REPAIR: Final = "Run ssvm-agent boot apply, or stop and start the system VM from CloudStack."
_PROGRAM_DEADLINE_S: Final = 5.0
_ARP_WAIT_S: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class NicState:
    """An interface as the kernel has it.

    Attributes:
        addresses: IPv4 and IPv6, each with its prefix length.
        is_up: Whether it is switched on.
        has_carrier: Whether something is on the other end.
        mtu: In bytes.
        mac: Lower case.
    """

    addresses: frozenset[str]
    is_up: bool = True
    has_carrier: bool = True
    mtu: int = 1500
    mac: str = ""


class InterfacesCheck(Check):
    """The interfaces beside the boot text."""

    slug = "interfaces"
    title = "interfaces are as the boot text says"
    needs = (Need.SYSTEM_VM,)

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        result = await facts.runner.run(
            ["ip", "-json", "address", "show"], deadline_s=_PROGRAM_DEADLINE_S
        )
        states = parse(result.stdout)
        wanted = [nic for nic in facts.plan.interfaces if nic.is_configured]
        async with asyncio.TaskGroup() as group:
            asked = {
                nic.name: group.create_task(_is_taken(nic, facts.runner))
                for nic in wanted
                if nic.name in states
            }
        taken = frozenset(name for name, task in asked.items() if task.result())
        return judge(wanted, states, taken)


def judge(
    wanted: Sequence[Interface], states: Mapping[str, NicState], taken: frozenset[str]
) -> list[Verdict]:
    """The verdicts.

    Args:
        wanted: The interfaces of the boot text that have anything to configure.
        states: What the kernel has, by name.
        taken: Names of those whose address another machine answers for.
    """
    found: list[Verdict] = []
    for nic in wanted:
        state = states.get(nic.name)
        if state is None:
            found.append(
                error(
                    f"There is no interface {nic.name}.",
                    _HOW,
                    "See the network cards of the virtual machine on its host; stop and start the"
                    " system VM from CloudStack.",
                )
            )
            continue
        found += _of_one(nic, state)
        if nic.name in taken:
            found.append(
                error(
                    f"Another machine has the address of {nic.name} too:"
                    f" {nic.address.ip if nic.address else ''}.",
                    f"arping -D -c 2 -I {nic.name} {nic.address.ip if nic.address else ''}",
                    "Take the address from the other machine, or reserve another range for system"
                    " VMs in CloudStack.",
                )
            )
    return found or [ok(f"{len(wanted)} interfaces are up with their addresses.", _HOW)]


def _of_one(nic: Interface, state: NicState) -> list[Verdict]:
    found = [
        error(f"{nic.name} lacks its address {address}.", _HOW, _REPAIR)
        for address in (nic.address, nic.address6)
        if address is not None and str(address) not in state.addresses
    ]
    if nic.dhcp and not state.addresses:
        found.append(
            error(
                f"{nic.name} got no address by DHCP.", _HOW, "Check the DHCP server of its network."
            )
        )
    if not state.is_up:
        found.append(error(f"{nic.name} is switched off.", _HOW, _REPAIR))
    elif not state.has_carrier:
        found.append(
            error(
                f"{nic.name} is connected to nothing.",
                f"ip link show {nic.name}",
                "See the virtual network card and its bridge or port group on the host.",
            )
        )
    if nic.mtu is not None and nic.mtu != state.mtu:
        found.append(
            warning(
                f"{nic.name} has MTU {state.mtu}, the boot text says {nic.mtu}.",
                f"ip link show {nic.name}",
                f"{_REPAIR} The value is the setting secstorage.vm.mtu.size.",
            )
        )
    if nic.mac and state.mac and nic.mac != state.mac:
        found.append(
            error(
                f"{nic.name} is the card {state.mac}, the boot text means {nic.mac}: the cards are"
                " in another order.",
                f"ip link show {nic.name}",
                f"{_REPAIR} Names by hardware address are in"
                " /etc/udev/rules.d/70-persistent-net.rules.",
            )
        )
    return found


def parse(output: bytes) -> dict[str, NicState]:
    """The interfaces of ``ip -json address show``."""
    return {
        str(entry["ifname"]): _state(entry)
        for entry in json.loads(output or b"[]")
        if "ifname" in entry
    }


def _state(entry: Mapping[str, Any]) -> NicState:
    flags = entry.get("flags", [])
    return NicState(
        addresses=frozenset(
            f"{info['local']}/{info['prefixlen']}"
            for info in entry.get("addr_info", [])
            if "local" in info and "prefixlen" in info
        ),
        is_up="UP" in flags,
        has_carrier="NO-CARRIER" not in flags,
        mtu=int(entry.get("mtu", 0)),
        mac=str(entry.get("address", "")).lower(),
    )


async def _is_taken(nic: Interface, runner: Runner) -> bool:
    """Whether another machine answers for the address; not known counts as no."""
    if nic.address is None:
        return False
    argv = ["arping", "-D", "-q", "-c", "2", "-w", str(_ARP_WAIT_S), "-I", nic.name,
            str(nic.address.ip)]  # fmt: skip
    try:
        result = await runner.run(argv, deadline_s=_ARP_WAIT_S + 3, check=False)
    except HostError:
        return False
    # In duplicate detection an answer is the failure; other failures say something on stderr.
    return result.returncode == 1 and not result.stderr.strip()
