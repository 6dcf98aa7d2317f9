# SPDX-License-Identifier: Apache-2.0
"""The declared packet filter rules (boot-and-system.md 2.5, requirements R27)."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from ssvm_agent.appliance import firewall
from ssvm_agent.host.errors import ProgramFailedError
from ssvm_agent.host.run import ProgramResult
from tests.fakes.machine import FakeRunner

RULES = firewall.machine_rules(public_device="eth2", private_device="eth1")


def _filter(present: set[tuple[str, ...]]) -> FakeRunner:
    """A filter that knows some rules and takes whatever is restored."""

    def react(call: list[str]) -> ProgramResult:
        known = "-C" not in call or tuple(call[call.index("-C") + 1 :]) in present
        return ProgramResult(returncode=0 if known else 1, stdout=b"", stderr=b"")

    return FakeRunner(react)


def test_the_machine_opens_ssh_inside_and_http_outside_and_closes_http_inside() -> None:
    assert firewall.transaction(RULES) == (
        "*filter\n"
        "-I INPUT 1 -i eth1 -p tcp -m state --state NEW -m tcp --dport 3922 -j ACCEPT\n"
        "-I INPUT 1 -i eth2 -p tcp -m state --state NEW -m tcp --dport 80 -j ACCEPT\n"
        "-I INPUT 1 -i eth2 -p tcp -m state --state NEW -m tcp --dport 443 -j ACCEPT\n"
        "-A OUTPUT -o eth1 -p tcp -m state --state NEW -m tcp --dport 80 -j REJECT\n"
        "-A OUTPUT -o eth1 -p tcp -m state --state NEW -m tcp --dport 443 -j REJECT\n"
        "COMMIT\n"
    )


def test_an_internal_site_goes_above_the_rejects() -> None:
    rule = firewall.internal_site(ip_network("10.0.0.0/8"), private_device="eth1")
    assert (rule.chain, rule.top, rule.version) == ("OUTPUT", True, 4)
    assert rule.match[:4] == ("-d", "10.0.0.0/8", "-o", "eth1")


async def test_missing_rules_are_added_in_one_transaction() -> None:
    present = {(rule.chain, *rule.match) for rule in RULES[1:]}
    runner = _filter(present)
    assert await firewall.apply(RULES, runner) == RULES[:1]
    assert runner.calls[-1] == ["iptables-restore", "-w", "10", "--noflush"]
    assert runner.inputs[-1] == firewall.transaction(RULES[:1]).encode()
    assert sum("-C" in call for call in runner.calls) == len(RULES)


async def test_nothing_missing_changes_nothing() -> None:
    runner = _filter({(rule.chain, *rule.match) for rule in RULES})
    assert await firewall.apply(RULES, runner) == ()
    assert all("-C" in call for call in runner.calls)


async def test_ipv6_rules_go_through_their_own_program() -> None:
    runner = _filter(set())
    rule = firewall.internal_site(ip_network("2001:db8::/32"), private_device="eth1")
    await firewall.apply([rule, RULES[0]], runner)
    programs = [call[0] for call in runner.calls]
    assert programs == ["ip6tables", "iptables", "iptables-restore", "ip6tables-restore"]


async def test_a_refused_transaction_is_an_error() -> None:
    runner = FakeRunner(lambda _: ProgramResult(returncode=2, stdout=b"", stderr=b"bad rule"))
    with pytest.raises(ProgramFailedError, match="bad rule"):
        await firewall.apply(RULES, runner)
