# SPDX-License-Identifier: Apache-2.0
"""Living beside ifupdown: it asks DHCP for us, and is told what is up already.

Addresses are set through netlink. ifupdown keeps its own list of what is up; without an entry there
its unit would set the same addresses again later in the boot and fail.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ssvm_agent.appliance.apply.report import Item, Status
from ssvm_agent.appliance.plan.model import MachinePlan
from ssvm_agent.host.errors import HostError
from ssvm_agent.host.files import atomic_write
from ssvm_agent.host.network import interface
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import Runner

_STATE: Final = Path("run/network/ifstate")
_PROGRAM: Final = Path("sbin/ifup")
_DHCP_DEADLINE_S: Final = 60.0


async def settle(plan: MachinePlan, runner: Runner, pool: WorkPool) -> tuple[Item, ...]:
    """What is left to do for a network that netlink has brought up."""
    asked = await _ask_dhcp(plan, runner, pool)
    return (*asked, *await pool.call(tell_ifupdown, plan))


async def _ask_dhcp(plan: MachinePlan, runner: Runner, pool: WorkPool) -> tuple[Item, ...]:
    """An address from DHCP for the interfaces that shall ask for one and have none."""
    items: list[Item] = []
    for nic in plan.interfaces:
        if not nic.dhcp:
            continue
        name = f"DHCP on {nic.name}"
        if await pool.call(interface, nic.name) is not None:
            items.append(Item(name=name, status=Status.UNCHANGED))
            continue
        try:
            await runner.run(["ifup", "--force", nic.name], deadline_s=_DHCP_DEADLINE_S)
        except HostError as error:
            items.append(Item(name=name, status=Status.FAILED, reason=error.message))
        else:
            items.append(Item(name=name, status=Status.CHANGED))
    return tuple(items)


def tell_ifupdown(plan: MachinePlan, root: Path = Path("/")) -> tuple[Item, ...]:
    """Enter our interfaces in its list (blocking); nothing where there is no ifupdown."""
    path = root / _STATE
    if not (root / _PROGRAM).exists():
        return ()
    item = f"file /{_STATE}"
    try:
        lines = path.read_text().splitlines() if path.exists() else []
        ready = [nic.name for nic in plan.interfaces if nic.is_configured and not nic.dhcp]
        ours = [line for name in ready if (line := f"{name}={name}") not in lines]
        if not ours:
            return (Item(name=item, status=Status.UNCHANGED),)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, "".join(f"{line}\n" for line in (*lines, *ours)).encode())
    except OSError as error:
        return (Item(name=item, status=Status.FAILED, reason=error.strerror or str(error)),)
    return (Item(name=item, status=Status.CHANGED),)
