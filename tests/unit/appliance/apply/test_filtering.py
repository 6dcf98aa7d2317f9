# SPDX-License-Identifier: Apache-2.0
"""What is missing of the base packet filter goes in as one transaction, and out again."""

from __future__ import annotations

from ssvm_agent.appliance.apply import filtering
from ssvm_agent.appliance.plan.filter import base_rules
from ssvm_agent.host.run import ProgramResult
from tests.fakes.machine import FakeRunner

RULES = base_rules(("eth0", "eth1"), "eth0")
EMPTY = ""
SAVED = ":INPUT ACCEPT [1:2]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:HTTP - [0:0]\n"


def runner(saved: str, *present: str) -> FakeRunner:
    """A machine whose filter has these chains and rules (parts of a rule's words)."""

    def react(call: list[str]) -> ProgramResult:
        if call[0].endswith("-save"):
            return ProgramResult(returncode=0, stdout=saved.encode(), stderr=b"")
        known = "-C" not in call or any(part in " ".join(call) for part in present)
        return ProgramResult(returncode=0 if known else 1, stdout=b"", stderr=b"")

    return FakeRunner(react=react)


async def test_an_empty_filter_gets_everything_at_once() -> None:
    machine = runner(EMPTY)
    change = await filtering.compare(RULES, 4, machine)
    assert change is not None
    assert change.forward == RULES
    await filtering.make(change, machine)
    assert machine.calls[-1] == ["iptables-restore", "-w", "10", "--noflush"]
    assert machine.inputs[-1] == "".join(f"{line}\n" for line in RULES).encode()


async def test_a_complete_filter_is_left_alone() -> None:
    assert await filtering.compare(RULES, 4, runner(SAVED.replace("ACCEPT", "DROP", 1), "")) is None


async def test_an_existing_chain_is_not_named_since_that_would_empty_it() -> None:
    change = await filtering.compare(RULES, 4, runner(SAVED, "-p icmp", "eth0"))
    assert change is not None
    assert change.forward == (
        "*filter",
        ":INPUT DROP [0:0]",
        "-A INPUT -i eth1 -m state --state RELATED,ESTABLISHED -j ACCEPT",
        "-A INPUT -i lo -j ACCEPT",
        "COMMIT",
    )
    assert change.text == "2 rules and 1 chains or policies were missing"


async def test_taking_back_restores_policies_and_removes_only_ours() -> None:
    machine = runner(SAVED, "icmp", "eth0", "lo")
    change = await filtering.compare(RULES, 4, machine)
    assert change is not None
    assert change.backward == (
        "*filter",
        ":INPUT ACCEPT [0:0]",
        "-D INPUT -i eth1 -m state --state RELATED,ESTABLISHED -j ACCEPT",
        "COMMIT",
    )
    await filtering.undo(change, machine)
    assert machine.inputs[-1] == "".join(f"{line}\n" for line in change.backward).encode()


async def test_a_chain_of_ours_goes_last() -> None:
    change = await filtering.compare(RULES, 6, runner(EMPTY))
    assert change is not None
    assert change.backward[-2:] == ("-X HTTP", "COMMIT")
    assert ":INPUT ACCEPT [0:0]" in change.backward
