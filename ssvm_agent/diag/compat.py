# SPDX-License-Identifier: Apache-2.0
"""The output of the system VM's own check script: its blocks, words, order and exit codes.

People and scripts look for these lines (boot-and-system.md 5.1). What is said is found out by our
own probes, so it is true, comes in bounded time, and leaves nothing behind.

# Differs: boot-and-system.md 5.1. A name that does not exist or a server that fails counts as "not
resolving"; a name server that answers questions but no ping is good; every mounted store is tried,
of whatever kind, and only below the mount root; a dead store is reported instead of waited for; the
port of the boot text is used.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from ssvm_agent.diag.checks.dns import PROBE_NAME
from ssvm_agent.diag.checks.storage import look
from ssvm_agent.diag.dns import Outcome
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.ping import PingResult, ping
from ssvm_agent.diag.stores import kind_of, listed_servers, store_mounts
from ssvm_agent.host.errors import HostError
from ssvm_agent.link.errors import ConnectError
from ssvm_agent.link.reach import open_tcp
from ssvm_agent.storage.mounts import MountEntry

END: Final = 0
NO_DNS: Final = 2
NO_AGENT: Final = 3
NO_SERVER: Final = 4

_LINE: Final = "=" * 48
_RULE_DEADLINE_S: Final = 5.0
_CONNECT_DEADLINE_S: Final = 3.0
# What the C library asks at most.
_MAX_NAME_SERVERS: Final = 3

Print = Callable[[str], None]


async def run(facts: Facts, say: Print) -> int:
    """Go through the blocks, print each as it comes, and return the exit code."""
    servers = await facts.nameservers()
    say(_LINE)
    await _ping_name_server(facts, servers, say)
    say(_LINE)
    if not await _resolve(facts, servers, say):
        return NO_DNS
    say(_LINE)
    await _storage(facts, say)
    say(_LINE)
    if not await _management_servers(facts, say):
        return NO_SERVER
    say(_LINE)
    if not facts.agent.processes:
        say("ERROR: Java process not running.  Try restarting the SSVM.")
        return NO_AGENT
    # Compat: boot-and-system.md 5.1, these words are what scripts look for, whoever the agent is.
    say("Good: Java process is running")
    say(_LINE)
    say("Tests Complete. Look for ERROR or WARNING above.")
    return END


async def _ping_name_server(facts: Facts, servers: tuple[str, ...], say: Print) -> None:
    first = servers[0] if servers else ""
    say(f"First DNS server is  {first}")
    result = await ping(facts.runner, first) if first else PingResult(answered=False)
    _show(result.output, say)
    answers = result.answered or (
        first and (await facts.resolver.ask(first, PROBE_NAME)).outcome.is_answer
    )
    if answers:
        say("Good: Can ping DNS server" if result.answered else "Good: DNS server answers")
        return
    say("WARNING: cannot ping DNS server")
    say("route follows")
    await _routes(facts, say)


async def _resolve(facts: Facts, servers: tuple[str, ...], say: Print) -> bool:
    found = await facts.resolver.first(servers[:_MAX_NAME_SERVERS], PROBE_NAME)
    if found is not None and found.outcome is Outcome.FOUND:
        say(f"Good: DNS resolves {PROBE_NAME}")
        return True
    say(f"ERROR: DNS not resolving {PROBE_NAME}")
    say("resolv.conf follows")
    _show(await facts.text("etc/resolv.conf"), say)
    return False


async def _storage(facts: Facts, say: Print) -> None:
    mounts = store_mounts(await facts.mounts(), facts.settings.mount_root)
    kind = "cifs" if any(kind_of(mount) == "cifs" for mount in mounts) else "nfs"
    if not mounts:
        await _not_mounted(facts, kind, say)
        return
    say(f"{kind} is currently mounted")
    for mount in mounts:
        await _try(mount, say)


async def _try(mount: MountEntry, say: Print) -> None:
    say(f"Mount point is {mount.mount_point}")
    finding = await look(mount)
    trial = finding.trial
    if trial is not None and not trial.error_number:
        say("Good: Can write to mount point")
        return
    say("ERROR: Cannot write to mount point")
    if trial is None:
        say(finding.problem)
    elif trial.error_number in {errno.EACCES, errno.EPERM, errno.EROFS}:
        say("You need to export with norootsquash")
    else:
        say(f"{trial.step}: {os.strerror(trial.error_number)}")


async def _not_mounted(facts: Facts, kind: str, say: Print) -> None:
    say(f"ERROR: Storage {kind} is not currently mounted")
    say("Verifying if we can at least ping the storage")
    servers = listed_servers(facts.boot)
    for server in servers:
        say(f"Pinging storage address: {server}")
        await _ping_storage(facts, server, f"{kind} storage address", say)
    if not servers:
        gateway = facts.settings.networks.storage_gateway
        say(f"No storage address is known: pinging the storage network gateway ({gateway})")
        await _ping_storage(facts, gateway, f"{kind} storage network gateway", say)


async def _ping_storage(facts: Facts, address: str, what: str, say: Print) -> None:
    result = await ping(facts.runner, address) if address else PingResult(answered=False)
    _show(result.output, say)
    if result.answered:
        say(f"Good: Can ping {what}")
        return
    say(f"WARNING: Cannot ping {what}")
    say("routing table follows")
    await _routes(facts, say)


async def _management_servers(facts: Facts, say: Print) -> bool:
    servers, port = facts.settings.management_servers, facts.settings.port
    say(f"Management server is {','.join(servers)}.  Checking connectivity.")
    for server in servers:
        try:
            link = await open_tcp(server, port, deadline_s=_CONNECT_DEADLINE_S, pool=facts.local)
        except ConnectError as error:
            say(f"ERROR: Cannot connect to {server} port {port}")
            say(error.message)
            return False
        link.close()
        say(f"Good: Can connect to management server {server} port {port}")
    return True


async def _routes(facts: Facts, say: Print) -> None:
    try:
        result = await facts.runner.run(["ip", "route"], deadline_s=_RULE_DEADLINE_S)
    except HostError as error:
        say(error.message)
        return
    _show(result.text, say)


def _show(output: str, say: Print) -> None:
    for line in output.splitlines():
        say(line)
