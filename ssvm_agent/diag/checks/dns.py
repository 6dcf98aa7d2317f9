# SPDX-License-Identifier: Apache-2.0
"""Does every name server answer, and does every name that is needed exist (5.3.5)?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from ssvm_agent.diag.check import Check
from ssvm_agent.diag.dns import Kind, Lookup, Outcome
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.stores import store_servers
from ssvm_agent.diag.verdict import Verdict, error, ok, warning

# Asked only to see whether servers answer at all; that it exists everywhere is not assumed.
PROBE_NAME: Final = "cloudstack.apache.org"
# The C library looks at no more (boot-and-system.md 2.3).
_MAX_SERVERS: Final = 3
_WHERE: Final = (
    "Name servers come from the zone's DNS settings (internaldns1/2, dns1/2): correct them in"
    " CloudStack and destroy the system VM, or repair the server."
)


class DnsCheck(Check):
    """Each name server by itself."""

    slug = "dns"
    title = "name servers answer and know the names needed"
    deadline_s = 20.0

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        servers = await facts.nameservers()
        names = await needed_names(facts)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(facts.resolver.ask(server, name, kind))
                for server in servers
                for name in (*names, PROBE_NAME)
                for kind in Kind
            ]
        return judge(servers, names, [task.result() for task in tasks])


async def needed_names(facts: Facts) -> dict[str, str]:
    """The names this machine depends on, each with what it is."""
    found = dict.fromkeys(facts.settings.management_servers, "management server")
    found |= dict.fromkeys((one.host for one in await store_servers(facts)), "storage server")
    host = urlsplit(facts.url).hostname if facts.url else None
    if host:
        found[host] = "source"
    return {name: what for name, what in found.items() if name != "localhost" and _is_name(name)}


def judge(
    servers: Sequence[str], names: Mapping[str, str], lookups: Sequence[Lookup]
) -> list[Verdict]:
    """The verdicts.

    Args:
        servers: In the order of the resolver's configuration.
        names: What is needed, with what it is.
        lookups: Every name at every server, IPv4 and IPv6.
    """
    if not servers:
        return [error("No name server is set.", "cat /etc/resolv.conf", _WHERE)]
    by_server = {server: [one for one in lookups if one.server == server] for server in servers}
    found = [*_too_many(servers), *_servers(by_server)]
    for name, what in names.items():
        found += _name(name, what, [one for one in lookups if one.name == name])
    if found:
        return found
    shown = ", ".join(f"{server} ({_took_ms(own)} ms)" for server, own in by_server.items())
    return [ok(f"{shown}; {len(names)} names needed.", "a question to each server")]


def _too_many(servers: Sequence[str]) -> list[Verdict]:
    if len(servers) <= _MAX_SERVERS:
        return []
    return [
        warning(
            f"Of {len(servers)} name servers only the first three are ever asked;"
            f" {', '.join(servers[_MAX_SERVERS:])} is not.",
            "cat /etc/resolv.conf",
            "Name no more than three in the zone's DNS settings, internal ones first.",
        )
    ]


def _servers(by_server: Mapping[str, Sequence[Lookup]]) -> list[Verdict]:
    """Servers that give no answer to anything; an error only when there is no other."""
    dead = {
        server: own[0].outcome
        for server, own in by_server.items()
        if own and not any(one.outcome.is_answer for one in own)
    }
    make = error if len(dead) == len(by_server) else warning
    return [
        make(
            f"The name server {server} {outcome.value}.",
            f"nslookup {PROBE_NAME} {server}",
            f"Check that {server} is up and that UDP port 53 gets there (ssvm-check routes)."
            f" {_WHERE}",
        )
        for server, outcome in dead.items()
    ]


def _name(name: str, what: str, lookups: Sequence[Lookup]) -> list[Verdict]:
    """What the resolver makes of the servers' answers: the first real answer is the last word."""
    answers = [one for one in lookups if one.outcome.is_answer]
    if not answers:
        return []  # no server answers at all, which is said already
    first = [one for one in answers if one.server == answers[0].server]
    if any(one.outcome is Outcome.FOUND for one in first):
        failing = {one.server for one in lookups if one.outcome is Outcome.FAILED}
        return [
            warning(
                f"The name server {server} fails (SERVFAIL) for the {what} {name}.",
                f"nslookup {name} {server}",
                f"Others answer for now. {_WHERE}",
            )
            for server in sorted(failing)
        ]
    outcome = first[0].outcome
    return [
        error(
            f"The name {name} of the {what} does not resolve: {first[0].server} {outcome.value}.",
            f"nslookup {name} {first[0].server}",
            f"Add the name to that server, or use the address instead of the name. {_WHERE}",
        )
    ]


def _took_ms(lookups: Sequence[Lookup]) -> int:
    return round(1000 * min((one.elapsed_s for one in lookups), default=0))


def _is_name(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return True
    return False
