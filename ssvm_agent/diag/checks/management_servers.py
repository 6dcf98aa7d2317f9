# SPDX-License-Identifier: Apache-2.0
"""The connection doctor: DNS, route, TCP and TLS to every management server (R1, 5.3.7).

It walks the way the agent itself walks, with the agent's own code and certificates, up to the point
where the server is believed; nothing of the protocol is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from ssvm_agent.config.settings import LinkSettings
from ssvm_agent.diag.check import Check
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.verdict import Verdict, error, ok, warning
from ssvm_agent.link.certificates import Trust
from ssvm_agent.link.errors import LinkError, Step
from ssvm_agent.link.opening import Opener
from ssvm_agent.wire.connection import Connection, Role

# Patience is for the agent; a person waits for this.
_CONNECT_DEADLINE_S: Final = 5.0
_HANDSHAKE_DEADLINE_S: Final = 8.0

_WALK: Final = (Step.DNS, Step.ROUTE, Step.TCP, Step.TLS)
_REMEDIES: Final = {
    Step.DNS: "Check the name servers (ssvm-check dns), or put addresses instead of names into the"
    " global setting host.",
    Step.ROUTE: "Check the routes (ssvm-check routes): management servers are reached through the"
    " pod's gateway (localgw).",
    Step.TCP: "Check that the management server runs and listens on that port, that the global"
    " setting host names it, and that no firewall stands between the pod's network and it.",
    Step.TLS: "Check ssvm-check certificates and clock. A certificate is provisioned anew from"
    " CloudStack (provisionCertificate for the system VM); if the cloud's CA has changed, destroy"
    " the system VM.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What came of walking to one server.

    Attributes:
        server: Name or address.
        port: TCP port.
        trust: Why it was believed; ``None`` when it was not reached or not believed.
        step: The first step that failed; ``None`` when none did.
        problem: What went wrong there.
    """

    server: str
    port: int
    trust: Trust | None = None
    step: Step | None = None
    problem: str = ""


class ManagementServersCheck(Check):
    """Every management server the agent knows."""

    slug = "management-servers"
    title = "management servers can be reached and are believed"
    deadline_s = 40.0

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        settings = facts.settings
        servers = known_servers(facts)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(walk(facts, one, settings.port)) for one in servers]
        return judge([task.result() for task in tasks], is_connected=facts.agent.is_connected)


def known_servers(facts: Facts) -> tuple[str, ...]:
    """Those of the settings and those the servers told the agent about."""
    told = (facts.settings.persisted.server_list or "").partition("@")[0].split(",")
    words = (*facts.settings.management_servers, *(word.strip() for word in told))
    return tuple(dict.fromkeys(word for word in words if word))


def judge(walks: Sequence[Walk], *, is_connected: bool) -> list[Verdict]:
    """The verdicts; one dead server of several is no error while another is in charge."""
    others = is_connected or any(one.step is None for one in walks)
    return [_of_one(one, others=others) for one in walks]


def _of_one(one: Walk, *, others: bool) -> Verdict:
    place = f"{one.server} port {one.port}"
    how = f"{' → '.join(_WALK)} to {place}"
    if one.step is None:
        if one.trust is Trust.BOOTSTRAP:
            return warning(
                f"{place} was reached, but there is no CA certificate to know it by.",
                how,
                "The certificate is provisioned when the agent connects first; if this lasts,"
                " provision it from CloudStack (provisionCertificate).",
            )
        return ok(f"{place} was reached and is believed: {one.trust}.", how)
    make = warning if others else error
    return make(
        f"{place} fails at the step {one.step}: {one.problem}",
        how,
        _REMEDIES.get(one.step, _REMEDIES[Step.TLS]),
    )


async def walk(facts: Facts, server: str, port: int) -> Walk:
    """Walk to one server, as the agent would."""
    settings = replace(
        facts.settings.link,
        connect_timeout_s=min(facts.settings.link.connect_timeout_s, _CONNECT_DEADLINE_S),
        handshake_timeout_s=min(facts.settings.link.handshake_timeout_s, _HANDSHAKE_DEADLINE_S),
    )
    found = Walk(server=server, port=port)
    try:
        trust = await _open(facts, settings, server, port)
    except LinkError as problem:
        return replace(found, step=problem.step, problem=problem.message)
    return replace(found, trust=trust)


async def _open(facts: Facts, settings: LinkSettings, server: str, port: int) -> Trust:
    opener = Opener(
        facts.path(facts.settings.conf_dir), settings, pool=facts.local, clock=facts.clock
    )
    transport, trust = await opener.open(
        server,
        port,
        Connection(Role.AGENT),
        on_event=lambda _: None,
        on_handshake=lambda: None,
    )
    transport.abort()
    return trust
