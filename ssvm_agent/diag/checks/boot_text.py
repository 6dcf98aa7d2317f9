# SPDX-License-Identifier: Apache-2.0
"""Did the machine get a whole and fresh boot text (boot-and-system.md 1, 5.3.1)?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ssvm_agent.appliance.plan import keys
from ssvm_agent.appliance.plan.model import Hypervisor
from ssvm_agent.bootargs import BootArgs
from ssvm_agent.diag.check import Check
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.verdict import Verdict, error, ok, skipped, warning

# boot-and-system.md 1.4: what the channel of each platform carries, in characters.
_LIMITS: Final = {
    Hypervisor.XEN_PV: 1024,
    Hypervisor.OVM3: 1024,
    Hypervisor.XEN_HVM: 4096,
    Hypervisor.HYPERV: 1023,
}
# Without these the agent cannot register, or nobody can reach it.
_VITAL: Final = frozenset({"type", "host", "zone", "guid", "eth1ip", "eth1mask"})
# Clocks are often set right only after the file was written.
_CLOCK_SLACK_S: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BootTextFacts:
    """What is judged.

    Attributes:
        boot: The parsed text.
        path: Where it lies.
        length: In characters.
        written: When, seconds since the epoch; ``None`` when unknown.
        booted: When the machine started, likewise.
        hypervisor: Whose channel brought it.
        oddities: What could not be followed.
    """

    boot: BootArgs
    path: str
    length: int = 0
    written: float | None = None
    booted: float | None = None
    hypervisor: Hypervisor | None = None
    oddities: tuple[str, ...] = ()


class BootTextCheck(Check):
    """The boot text."""

    slug = "boot-text"
    title = "the boot text is whole and fresh"

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        if not facts.boot.values and not facts.settings_problem:
            return [skipped(f"There is no boot text in {facts.boot_path}, and none is needed.")]
        length = await facts.local.call(_length, facts)
        return judge(
            BootTextFacts(
                boot=facts.boot,
                path=str(facts.boot_path),
                length=length,
                written=facts.boot_written,
                booted=facts.booted,
                hypervisor=facts.hypervisor,
                oddities=facts.plan.oddities,
            )
        )


def judge(facts: BootTextFacts) -> list[Verdict]:
    """The verdicts."""
    if not facts.boot.values:
        return [
            error(
                f"There is no boot text in {facts.path}.",
                f"cat {facts.path}",
                "Run ssvm-agent boot show to see which channels were asked; check the guest agent"
                " or guest tools of this machine and the log of the hypervisor host, then stop"
                " and start the system VM.",
            )
        ]
    found = [*_keys(facts), *_age(facts), *_size(facts), *_oddities(facts)]
    return found or [
        ok(f"{len(facts.boot.values)} keys, {facts.length} characters.", f"cat {facts.path}")
    ]


def _keys(facts: BootTextFacts) -> list[Verdict]:
    found = []
    how = f"ssvm-agent boot show {facts.path}"
    for key, cost in keys.missing(facts.boot).items():
        make = error if key in _VITAL else warning
        found.append(
            make(
                f"The boot text has no {key}: {cost}.",
                how,
                "Look for what the value is made from in CloudStack (docs/troubleshooting.md,"
                " boot text), correct it there, then destroy the system VM: a new one comes by"
                " itself.",
            )
        )
    kind = facts.boot.get("type")
    if kind and kind != keys.SECONDARY_STORAGE:
        found.append(
            error(
                f"The boot text is for a system VM of type {kind}, not secstorage.",
                how,
                "This agent serves secondary storage VMs only; use the payload of that type.",
            )
        )
    return found


def _age(facts: BootTextFacts) -> list[Verdict]:
    if facts.written is None or facts.booted is None:
        return []
    if facts.written >= facts.booted - _CLOCK_SLACK_S:
        return []
    written = datetime.fromtimestamp(facts.written, UTC)
    return [
        warning(
            f"The boot text was written on {written:%Y-%m-%d %H:%M} UTC, before this boot: the"
            " host has sent no new one.",
            f"ls -l {facts.path}; uptime -s",
            "Values may be those of an earlier start (host, addresses). Stop and start the system"
            " VM from CloudStack rather than rebooting it inside.",
        )
    ]


def _size(facts: BootTextFacts) -> list[Verdict]:
    limit = _LIMITS.get(facts.hypervisor) if facts.hypervisor else None
    if limit is None or facts.length < limit:
        return []
    return [
        warning(
            f"The boot text has {facts.length} characters; {facts.hypervisor} carries {limit}, so"
            " its end may be missing.",
            f"wc -c {facts.path}",
            "Shorten what it is made of: an ECDSA instead of an RSA key pair (ssh.publickey),"
            " fewer NTP servers, no user data.",
        )
    ]


def _oddities(facts: BootTextFacts) -> list[Verdict]:
    return [
        warning(
            f"In the boot text {oddity}.",
            f"ssvm-agent boot plan {facts.path}",
            "The rest of the text is followed. Correct the value in CloudStack and destroy the"
            " system VM: a new one comes by itself.",
        )
        for oddity in facts.oddities
    ]


def _length(facts: Facts) -> int:
    try:
        return len(facts.boot_path.read_bytes().strip())
    except OSError:
        return 0
