# SPDX-License-Identifier: Apache-2.0
"""Can a source be fetched, and which interface and which rule decide (5.3.10, ``--url``)?"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from ssvm_agent.diag.check import Check, Need
from ssvm_agent.diag.checks.routes import Way, find_way
from ssvm_agent.diag.egress_rules import Decision, allowed_sites, decide
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.http_probe import HttpReply, HttpTarget, ask
from ssvm_agent.diag.verdict import Verdict, error, ok, skipped, warning
from ssvm_agent.host.errors import HostError
from ssvm_agent.ingest.egress import EgressGuard
from ssvm_agent.ingest.errors import BadUrlError, BlockedAddressError
from ssvm_agent.ingest.proxy import bypasses_proxy
from ssvm_agent.ingest.urls import HTTP_SCHEMES, SourceUrl, parse_url
from ssvm_agent.link.errors import ConnectError
from ssvm_agent.link.reach import resolve

_ASK_DEADLINE_S: Final = 15.0
_PROGRAM_DEADLINE_S: Final = 10.0
_SITES: Final = (
    "Add its network to the global setting secstorage.allowed.internal.sites, then restart the"
    " agent or destroy the system VM."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlFacts:
    """What is judged.

    Attributes:
        url: The source, without secrets.
        scheme: Of it.
        problem: Why it was not tried: unreadable or unresolvable.
        addresses: Of its host.
        refusal: Why the agent does not fetch from these addresses; empty when it does.
        way: How the kernel sends there.
        decision: What the packet filter does with it; ``None`` when it cannot be read.
        proxy: Whether the agent would go through a proxy.
        reply: What the server said to a HEAD request; ``None`` when it was not asked.
    """

    url: str
    scheme: str = ""
    problem: str = ""
    addresses: tuple[str, ...] = ()
    refusal: str = ""
    way: Way | None = None
    decision: Decision | None = None
    proxy: bool = False
    reply: HttpReply | None = field(default=None)


class UrlCheck(Check):
    """The URL given with ``--url``."""

    slug = "url"
    title = "a source can be fetched"
    needs = (Need.URL,)
    deadline_s = 40.0

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        return judge(await _look(facts))


def judge(facts: UrlFacts) -> list[Verdict]:
    """The verdicts, in the order of the way."""
    how = f"ssvm-check url --url {facts.url}"
    if facts.problem:
        return [error(facts.problem, how, "Correct the URL, or see ssvm-check dns.")]
    shown = ", ".join(facts.addresses)
    if facts.refusal:
        return [
            error(
                f"The agent does not fetch from {shown}: {facts.refusal}.",
                how,
                f"If the server is meant to be used: {_SITES}",
            )
        ]
    if facts.proxy:
        return [skipped(f"{facts.url} is fetched through the proxy: see ssvm-check proxy.")]
    found = [*_path(facts, shown)]
    if facts.reply is not None:
        found.append(_reply(facts, facts.reply))
    return found


def _path(facts: UrlFacts, shown: str) -> list[Verdict]:
    way, decision = facts.way, facts.decision
    if way is None or not way.device:
        return [
            error(
                f"There is no route to {shown}.", f"ip route get {shown}", "See ssvm-check routes."
            )
        ]
    via = f" via {way.gateway}" if way.gateway else ""
    path = f"{shown} leaves by {way.device}{via}"
    how = f"ip route get {way.address}; iptables -S OUTPUT"
    if decision is None:
        return [ok(f"{path}; the packet filter was not looked at.", f"ip route get {way.address}")]
    if not decision.is_allowed:
        return [
            error(
                f"{path}, where the packet filter refuses it: {decision.rule}.",
                how,
                f"HTTP into the internal networks is closed but for allowed sites. {_SITES}",
            )
        ]
    return [ok(f"{path}; allowed by: {decision.rule}.", how)]


def _reply(facts: UrlFacts, reply: HttpReply) -> Verdict:
    how = f"curl -I {facts.url}"
    if not reply.status:
        return error(
            f"The server does not answer: {reply.problem}.",
            how,
            "Check that it runs and lets this machine's public address in. For a certificate of"
            " your own CA put that into /etc/ssvm-agent/ca.d.",
        )
    if reply.status in {401, 403}:
        return error(
            f"The server refuses the file: status {reply.status}.",
            how,
            "Check its access rules and whether it asks for a user and password.",
        )
    if reply.status == 404:
        return error("The server has no such file: status 404.", how, "Correct the URL.")
    if reply.status >= 400:
        return warning(
            f"The server answers HEAD with status {reply.status}.",
            how,
            "Some servers answer GET only; if downloads fail too, see the server's log.",
        )
    if 300 <= reply.status < 400:
        target = reply.headers.get("location", "nowhere")
        return warning(
            f"The server sends us on to {target}.",
            how,
            "Check that URL too; registrations that allow no redirects need it as their own.",
        )
    size = reply.headers.get("content-length", "")
    size = f", {int(size)} bytes" if size.isdigit() else ", of unknown size"
    return ok(f"The server has the file: status {reply.status}{size}.", how)


async def _look(facts: Facts) -> UrlFacts:
    try:
        url = parse_url(facts.url)
    except BadUrlError as problem:
        return UrlFacts(url="the URL given", problem=problem.message)
    base = UrlFacts(url=str(url), scheme=url.scheme)
    if url.scheme not in HTTP_SCHEMES | {"scp"}:
        return _but(base, problem=f"{url.scheme} URLs name no server.")
    settings = facts.settings.download
    if settings.proxy and not bypasses_proxy(url, settings.no_proxy):
        return _but(base, proxy=True)
    try:
        places = await resolve(url.host, url.port, pool=facts.local)
    except ConnectError as problem:
        return _but(base, problem=problem.message)
    addresses = tuple(place[0] for _, place in places)
    rules = await _output_rules(facts)
    guard = EgressGuard(
        allowed_cidrs=settings.allowed_internal_cidrs,
        allow_loopback=settings.allow_loopback_sources,
    )
    if rules is not None:
        guard.allow_internal_sites(allowed_sites(rules))
    try:
        guard.check(url.host, [ip_address(one) for one in addresses])
    except BlockedAddressError as problem:
        return _but(base, addresses=addresses, refusal=problem.for_operators().rstrip("."))
    way = await find_way(Way(what="source", address=addresses[0]), facts.runner)
    decision = decide(rules, way.device, addresses[0], url.port) if rules is not None else None
    reply = await _ask(facts, url, addresses[0]) if url.scheme in HTTP_SCHEMES else None
    return _but(base, addresses=addresses, way=way, decision=decision, reply=reply)


def _but(base: UrlFacts, **changes: object) -> UrlFacts:
    from dataclasses import replace

    return replace(base, **changes)  # type: ignore[arg-type]


async def _output_rules(facts: Facts) -> list[str] | None:
    try:
        result = await facts.runner.run(
            ["iptables", "-w", "5", "-S", "OUTPUT"], deadline_s=_PROGRAM_DEADLINE_S
        )
    except HostError:
        return None
    return result.text.splitlines()


async def _ask(facts: Facts, url: SourceUrl, address: str) -> HttpReply:
    tls = None
    if url.scheme == "https":
        tls = await facts.local.call(_context, facts)
    host = f"[{url.host}]" if ":" in url.host else url.host
    path = f"{url.path or '/'}{'?' + url.query if url.query else ''}"
    target = HttpTarget(address=address, port=url.port, host=host, tls=tls)
    return await ask(target, "HEAD", path, deadline_s=_ASK_DEADLINE_S)


def _context(facts: Facts) -> ssl.SSLContext:
    """Trusts what downloads trust: the system's CAs and the operator's (R9)."""
    context = ssl.create_default_context()
    directory = facts.path(facts.settings.download.ca_dir)
    for pattern in ("*.crt", "*.pem"):
        for path in sorted(directory.glob(pattern)):
            try:
                context.load_verify_locations(path)
            except (OSError, ssl.SSLError):
                continue  # a broken file there costs that CA only
    return context
