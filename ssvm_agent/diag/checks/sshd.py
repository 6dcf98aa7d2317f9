# SPDX-License-Identifier: Apache-2.0
"""Does sshd listen where the management server or the host comes in, and only there (5.3.11)?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ssvm_agent.appliance.plan.filter import SSH_PORT
from ssvm_agent.diag.check import Check, Need
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.listening import listeners
from ssvm_agent.diag.verdict import Verdict, error, ok, skipped, warning

_HOW: Final = f"ss -ltn sport = {SSH_PORT}"
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - what is looked for


class SshdCheck(Check):
    """Port 3922."""

    slug = "sshd"
    title = "SSH listens on the control address"
    needs = (Need.SYSTEM_VM,)

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        text = await facts.text("proc/net/tcp") + await facts.text("proc/net/tcp6")
        found = sorted(address for address, port in listeners(text) if port == SSH_PORT)
        return judge(facts.plan.sshd_listen, found)


def judge(wanted: str, found: Sequence[str]) -> list[Verdict]:
    """The verdicts.

    Args:
        wanted: The address sshd must listen on; empty when the boot text names none.
        found: Addresses somebody listens on at the port.
    """
    if not wanted:
        return [skipped("The boot text names no control address.")]
    if wanted in found:
        return [ok(f"{wanted} port {SSH_PORT}.", _HOW)]
    if set(found) & _EVERYWHERE:
        return [
            warning(
                f"sshd listens on all addresses, the public one included, not on {wanted} alone.",
                _HOW,
                "Run ssvm-agent boot apply; it sets ListenAddress in /etc/ssh/sshd_config.",
            )
        ]
    shown = f"only on {', '.join(found)}" if found else "nowhere"
    return [
        error(
            f"sshd listens {shown}; it must on {wanted} port {SSH_PORT}: the management server can"
            " neither patch this machine nor send certificates over SSH.",
            _HOW,
            "See systemctl status ssh and journalctl -u ssh; run ssvm-agent boot apply.",
        )
    ]
