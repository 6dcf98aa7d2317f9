# SPDX-License-Identifier: Apache-2.0
"""Units that shall run and units that shall not, through ``systemctl``.

Nothing here waits for a unit: this runs inside units others wait for, so starting one and waiting
would be a deadlock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ssvm_agent.appliance.apply.report import Item, Status
from ssvm_agent.appliance.plan.model import Hypervisor
from ssvm_agent.host.errors import HostError
from ssvm_agent.host.run import Runner

_DEADLINE_S: Final = 60.0
_PROPERTIES: Final = "Id,LoadState,UnitFileState,ActiveState"
_RUNNING: Final = frozenset({"active", "activating", "reloading"})
_ENABLED: Final = frozenset({"enabled", "enabled-runtime", "static", "alias", "generated",
                             "indirect"})  # fmt: skip
# Debian calls these names by others too; the stock lists have the first.
_ALSO_KNOWN_AS: Final = {"portmap": "rpcbind", "nfs-common": "nfs-client.target"}

# boot-and-system.md 2.1 step 1: without these the text does not come, or the host knows no address.
_GUEST_TOOLS: Final[Mapping[Hypervisor, tuple[str, ...]]] = {
    Hypervisor.KVM: ("qemu-guest-agent",),
    Hypervisor.LXC: ("qemu-guest-agent",),
    Hypervisor.VMWARE: ("open-vm-tools",),
    Hypervisor.XEN_PV: ("xe-daemon",),
    Hypervisor.XEN_HVM: ("xe-daemon",),
    Hypervisor.HYPERV: (
        "hyperv-daemons.hv-kvp-daemon", "hyperv-daemons.hv-fcopy-daemon",
        "hyperv-daemons.hv-vss-daemon",
    ),
}  # fmt: skip
# The unit is bound to its device: started without one, it waits a minute and a half and fails.
_DEVICES: Final = {"qemu-guest-agent": Path("dev/virtio-ports/org.qemu.guest_agent.0")}


def guest_tools(hypervisor: Hypervisor, root: Path = Path("/")) -> tuple[str, ...]:
    """The units a platform needs, as far as the host offers their device (blocking)."""
    return tuple(
        name
        for name in _GUEST_TOOLS.get(hypervisor, ())
        if name not in _DEVICES or (root / _DEVICES[name]).exists()
    )


async def bring_up(names: Sequence[str], runner: Runner, *, dry_run: bool) -> tuple[Item, ...]:
    """Enable and start; a unit that is not installed is left out."""
    return tuple([await _one(name, runner, wanted=True, dry_run=dry_run) for name in names])


async def bring_down(names: Sequence[str], runner: Runner, *, dry_run: bool) -> tuple[Item, ...]:
    """Disable and stop; a unit that is not installed is left out."""
    return tuple([await _one(name, runner, wanted=False, dry_run=dry_run) for name in names])


async def restart(name: str, runner: Runner) -> Item:
    """Let a unit read its files anew, when it runs."""
    item = f"restart of {name}"
    try:
        await _systemctl(runner, "try-restart", "--no-block", _unit(name))
    except HostError as error:
        return Item(name=item, status=Status.FAILED, reason=error.message)
    return Item(name=item, status=Status.CHANGED)


async def _one(name: str, runner: Runner, *, wanted: bool, dry_run: bool) -> Item:
    item = f"service {name}"
    try:
        unit, facts = await _look_up(name, runner)
        if unit is None:
            reason = "it is masked" if facts.get("LoadState") == "masked" else "it is not installed"
            return Item(name=item, status=Status.SKIPPED, reason=reason)
        steps = _steps(facts, wanted=wanted)
        if not steps:
            return Item(name=item, status=Status.UNCHANGED)
        reason = ", ".join(steps)
        if dry_run:
            return Item(name=item, status=Status.WOULD_CHANGE, reason=reason)
        for step in steps:
            await _systemctl(runner, step, "--no-block", unit)
    except HostError as error:
        return Item(name=item, status=Status.FAILED, reason=error.message)
    return Item(name=item, status=Status.CHANGED, reason=reason)


def _steps(facts: Mapping[str, str], *, wanted: bool) -> tuple[str, ...]:
    enabled = facts.get("UnitFileState", "") in _ENABLED
    running = facts.get("ActiveState", "") in _RUNNING
    if wanted:
        return (*(() if enabled else ("enable",)), *(() if running else ("start",)))
    can_disable = enabled and facts.get("UnitFileState") in {"enabled", "enabled-runtime"}
    return (*(("disable",) if can_disable else ()), *(("stop",) if running else ()))


async def _look_up(name: str, runner: Runner) -> tuple[str | None, Mapping[str, str]]:
    """The unit to act on, or ``None``, and what systemd says of it."""
    facts: dict[str, str] = {}
    for unit in filter(None, (name, _ALSO_KNOWN_AS.get(name))):
        result = await runner.run(
            ["systemctl", "show", f"--property={_PROPERTIES}", _unit(unit)], deadline_s=_DEADLINE_S
        )
        facts = dict(line.split("=", 1) for line in result.text.splitlines() if "=" in line)
        if facts.get("LoadState") == "loaded":
            return facts.get("Id") or _unit(unit), facts
    return None, facts


async def _systemctl(runner: Runner, *words: str) -> None:
    await runner.run(["systemctl", *words], deadline_s=_DEADLINE_S)


def _unit(name: str) -> str:
    return name if name.endswith((".target", ".socket", ".service")) else f"{name}.service"
