# SPDX-License-Identifier: Apache-2.0
"""Is the agent running, connected, and content with its work (5.3.8)?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from ssvm_agent.diag.check import Check
from ssvm_agent.diag.facts import AgentWord, Facts
from ssvm_agent.diag.verdict import Verdict, error, ok, skipped, warning
from ssvm_agent.host.errors import HostError
from ssvm_agent.link.errors import Step

UNIT: Final = "cloud.service"
_UNIT_DEADLINE_S: Final = 5.0
_PROPERTIES: Final = "ActiveState,SubState,Result,NRestarts,ExecMainStatus"
# The unit may have been restarted on purpose; more than this is a loop.
_MANY_RESTARTS: Final = 3
_MAX_FAILED_SHOWN: Final = 3

_REMEDIES: Final = {
    Step.STARTUP: "The server refuses this agent. Check in CloudStack that the zone, pod and name"
    " of the system VM exist (ssvm-agent config show), and see management-server.log.",
    Step.READY: "The server accepted the agent and then dropped it. See management-server.log"
    " around that time; if the host row is in Alert, destroy the system VM.",
}
_WALK: Final = "Run ssvm-check management-servers certificates."


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFacts:
    """What is judged.

    Attributes:
        word: What the agent says.
        unit: Properties of its unit; empty when the service manager does not know it.
        listen: Where its status page is.
    """

    word: AgentWord
    unit: Mapping[str, str] = field(default_factory=dict)
    listen: str = ""


class AgentCheck(Check):
    """The agent itself."""

    slug = "agent"
    title = "the agent runs and is connected"

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        return judge(
            AgentFacts(
                word=facts.agent, unit=await unit_state(facts), listen=facts.settings.status.listen
            )
        )


def judge(facts: AgentFacts) -> list[Verdict]:
    """The verdicts."""
    if not facts.word.is_running:
        return [_not_running(facts)]
    found = [*_restarts(facts.unit), _link(facts)]
    if facts.word.report is None:
        found.append(_silent(facts))
    else:
        found += _work(facts.word.report)
    return found


def _not_running(facts: AgentFacts) -> Verdict:
    state = facts.unit.get("ActiveState", "")
    why = f" The unit is {state} ({facts.unit.get('Result', '')})." if state else ""
    last = str((facts.word.status or {}).get("last_error") or "")
    last = f" Its last word was: {last}" if last else ""
    return error(
        f"The agent is not running.{why}{last}",
        f"systemctl status {UNIT}",
        f"See journalctl -u {UNIT} for the reason, then systemctl reset-failed {UNIT} && systemctl"
        f" start {UNIT}.",
    )


def _restarts(unit: Mapping[str, str]) -> list[Verdict]:
    restarts = unit.get("NRestarts", "0")
    if not restarts.isdigit() or int(restarts) < _MANY_RESTARTS:
        return []
    return [
        warning(
            f"The agent was restarted {restarts} times since the machine started.",
            f"systemctl show {UNIT} -p NRestarts",
            f"See journalctl -u {UNIT} for why it ended.",
        )
    ]


def _link(facts: AgentFacts) -> Verdict:
    word = facts.word
    link = (word.report or {}).get("link") or word.status or {}
    server = link.get("server") or "no server"
    state, how = word.link_state, "ssvm-agent status"
    if not state:
        return skipped("The agent runs; where its link stands is not known.")
    if word.is_connected:
        host = f", host id {link['host_id']}" if link.get("host_id") else ""
        return ok(f"Connected to {server}{_since(link)}{host}.", how)
    step, reason = str(link.get("failing_step") or ""), str(link.get("last_error") or "")
    remedy = next((text for one, text in _REMEDIES.items() if one.value == step), _WALK)
    if not reason:
        return warning(f"The agent is not connected yet: {state} ({server}).", how, _WALK)
    where = f" at the step {step}" if step else ""
    return error(f"The agent is not connected; {server} fails{where}: {reason}", how, remedy)


def _since(link: Mapping[str, Any]) -> str:
    try:
        since = datetime.fromisoformat(str(link.get("since", "")))
    except ValueError:
        return ""
    return f" since {since:%Y-%m-%d %H:%M} UTC"


def _silent(facts: AgentFacts) -> Verdict:
    if not facts.listen:
        return skipped("The status page is switched off (status.listen), so its work is not seen.")
    if not any(process.is_ours for process in facts.word.processes):
        return skipped("An agent of another make runs; it has no status page.")
    return error(
        f"The agent runs, but does not answer on its status page: {facts.word.problem}.",
        f"curl http://{facts.listen}/healthz",
        f"If this lasts longer than its start, it hangs: systemctl restart {UNIT}, and keep"
        " ssvm-agent diagnostics from before.",
    )


def _work(report: Mapping[str, Any]) -> list[Verdict]:
    how = "ssvm-agent status"
    found = [
        warning(
            f"The agent finds the store {store.get('url')} {store.get('state')}.",
            how,
            "See ssvm-check storage storage-servers.",
        )
        for store in _rows(report, "stores")
        if store.get("health") == "bad"
    ]
    failed = [row for row in _rows(report, "downloads") if row.get("health") == "bad"]
    found += [
        warning(
            f"The download of {row.get('what')} failed: {row.get('message')}",
            how,
            "Check the source (ssvm-check url --url URL); register the template again or wait for"
            " the next try.",
        )
        for row in failed[:_MAX_FAILED_SHOWN]
    ]
    running = sum(
        bool(row.get("is_running"))
        for kind in ("downloads", "uploads", "transfers")
        for row in _rows(report, kind)
    )
    jobs = f"{running} jobs running" if running else "no jobs running"
    return found or [ok(f"Version {report.get('version')}, {jobs}.", how)]


def _rows(report: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    rows = report.get(name)
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


async def unit_state(facts: Facts) -> dict[str, str]:
    """Properties of the agent's unit; empty without a service manager."""
    try:
        result = await facts.runner.run(
            ["systemctl", "show", UNIT, f"--property={_PROPERTIES}"],
            deadline_s=_UNIT_DEADLINE_S,
            check=False,
        )
    except HostError:
        return {}
    pairs = (line.partition("=") for line in result.text.splitlines())
    return {name: value for name, _, value in pairs} if result.returncode == 0 else {}
