# SPDX-License-Identifier: Apache-2.0
"""Does the proxy for downloads take our connections, and does it get out (R34, 5.3.10)?"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from ssvm_agent.diag.check import Check, Need
from ssvm_agent.diag.checks.dns import PROBE_NAME
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.http_probe import HttpReply, HttpTarget, ask
from ssvm_agent.diag.verdict import Verdict, error, ok, warning
from ssvm_agent.ingest.errors import BadUrlError
from ssvm_agent.ingest.proxy import Proxy
from ssvm_agent.link.errors import ConnectError
from ssvm_agent.link.reach import resolve

_ASK_DEADLINE_S: Final = 10.0
_WHERE: Final = "The proxy is the setting download.proxy (and secstorage.proxy in CloudStack)."


class ProxyCheck(Check):
    """The proxy that is set."""

    slug = "proxy"
    title = "the proxy works"
    needs = (Need.PROXY,)

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        secret = facts.settings.download.proxy
        assert secret is not None
        try:
            proxy = Proxy.parse(secret.reveal())
        except BadUrlError as problem:
            return [error(problem.message, "ssvm-agent config show", _WHERE)]
        target = destination(facts.url)
        return judge(proxy.url, target, await through(facts, proxy, target))


def destination(url: str) -> str:
    """What to ask the proxy for: the host of the URL in question, or some host outside."""
    parts = urlsplit(url)
    default = 80 if parts.scheme == "http" else 443
    return f"{parts.hostname or PROBE_NAME}:{parts.port or default}"


def judge(proxy: str, target: str, reply: HttpReply) -> list[Verdict]:
    """The verdicts.

    Args:
        proxy: Its URL, without credentials.
        target: What it was asked to connect to.
        reply: What it said.
    """
    how = f"curl -x {proxy} --head https://{target}/"
    if reply.status == 200:
        return [ok(f"{proxy} connects to {target}.", how)]
    if reply.status in {401, 407}:
        return [error(f"{proxy} refuses our user name and password.", how, _WHERE)]
    if reply.status:
        return [
            warning(
                f"{proxy} does not connect to {target}: status {reply.status}.",
                how,
                f"See the proxy's rules and log. {_WHERE}",
            )
        ]
    return [
        error(
            f"The proxy {proxy} cannot be used: {reply.problem}.",
            how,
            f"Check that it runs and is reached from here (ssvm-check routes). {_WHERE}",
        )
    ]


async def through(facts: Facts, proxy: Proxy, target: str) -> HttpReply:
    """Ask the proxy for a connection."""
    try:
        places = await resolve(proxy.host, proxy.port, pool=facts.local)
    except ConnectError as problem:
        return HttpReply(problem=problem.message.rstrip("."))
    headers = {}
    if proxy.user:
        password = proxy.password.reveal() if proxy.password else ""
        words = base64.b64encode(f"{proxy.user}:{password}".encode()).decode()
        headers["Proxy-Authorization"] = f"Basic {words}"
    address = places[0][1][0]
    return await ask(
        HttpTarget(address=address, port=proxy.port, host=target),
        "CONNECT",
        target,
        deadline_s=_ASK_DEADLINE_S,
        headers=headers,
    )
