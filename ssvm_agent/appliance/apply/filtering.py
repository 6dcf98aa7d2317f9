# SPDX-License-Identifier: Apache-2.0
"""The base packet filter of a plan: what is missing goes in as one transaction, and out again.

Rules of others stay where they are, and a rule is never added twice (R27). The rules themselves are
texts of :mod:`ssvm_agent.appliance.plan.filter`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ssvm_agent.host.run import Runner

_LOCK_WAIT_S: Final = 10
_DEADLINE_S: Final = 20.0
_HEAD: Final = "*filter"
_END: Final = "COMMIT"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterChange:
    """A transaction and the one that takes it back, as lines for ``iptables-restore --noflush``."""

    version: int
    forward: tuple[str, ...]
    backward: tuple[str, ...]

    @property
    def text(self) -> str:
        """What an operator reads."""
        rules = sum(line.startswith("-A") for line in self.forward)
        others = len(self.forward) - rules - 2
        parts = [
            f"{rules} rules" if rules else "",
            f"{others} chains or policies" if others else "",
        ]
        return f"{' and '.join(part for part in parts if part)} were missing"


async def compare(wanted: Sequence[str], version: int, runner: Runner) -> FilterChange | None:
    """What is missing of a rule set.

    Args:
        wanted: The plan's lines: table, chains with policies, rules, ``COMMIT``.
        version: 4 or 6.
        runner: Starts the programs.

    Raises:
        HostError: A program is missing, failed or took too long.
    """
    result = await runner.run([f"{_program(version)}-save", "-t", "filter"], deadline_s=_DEADLINE_S)
    policies = {
        words[0].removeprefix(":"): words[1]
        for line in result.text.splitlines()
        if line.startswith(":") and len(words := line.split()) >= 2
    }
    forward: list[str] = []
    backward: list[str] = []
    for line in wanted:
        if line.startswith(":"):
            chain, policy = line.removeprefix(":").split()[:2]
            present = policies.get(chain)
            # Naming an existing chain of users would empty it.
            if present is None or policy not in {"-", present}:
                forward.append(line)
                backward += [f":{chain} {present} [0:0]"] if present else _removal(chain, policy)
        elif line.startswith("-A") and not await _is_present(line, version, runner):
            forward.append(line)
            backward.append(f"-D{line.removeprefix('-A')}")
    if not forward:
        return None
    # Chains are removed after the rules that stand in them.
    backward.sort(key=lambda line: line.startswith("-X"))
    return FilterChange(
        version=version, forward=(_HEAD, *forward, _END), backward=(_HEAD, *backward, _END)
    )


async def make(change: FilterChange, runner: Runner) -> None:
    """Put a transaction in; all of it or nothing.

    Raises:
        HostError: A program is missing, failed or took too long.
    """
    await _restore(change.forward, change.version, runner)


async def undo(change: FilterChange, runner: Runner) -> None:
    """Take a transaction back.

    Raises:
        HostError: A program is missing, failed or took too long.
    """
    await _restore(change.backward, change.version, runner)


async def _restore(lines: Sequence[str], version: int, runner: Runner) -> None:
    await runner.run(
        [f"{_program(version)}-restore", "-w", str(_LOCK_WAIT_S), "--noflush"],
        deadline_s=_DEADLINE_S,
        input="".join(f"{line}\n" for line in lines).encode("ascii"),
    )


async def _is_present(line: str, version: int, runner: Runner) -> bool:
    result = await runner.run(
        [_program(version), "-w", str(_LOCK_WAIT_S), "-C", *line.split()[1:]],
        deadline_s=_DEADLINE_S,
        check=False,
    )
    return result.returncode == 0


def _removal(chain: str, policy: str) -> list[str]:
    # A chain the kernel has by itself is there as soon as anybody looks; its policy was ACCEPT.
    return [f"-X {chain}"] if policy == "-" else [f":{chain} ACCEPT [0:0]"]


def _program(version: int) -> str:
    return "iptables" if version == 4 else "ip6tables"
