# SPDX-License-Identifier: Apache-2.0
"""What goes into a diagnostics bundle: each item a name and a way to get its text.

Items may fail, hang or be too long; the bundle (:mod:`ssvm_agent.diag.bundle`) bounds them, removes
secrets and notes what could not be had.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from ssvm_agent import __version__, javaproperties
from ssvm_agent.diag import report
from ssvm_agent.diag.checks import certificates
from ssvm_agent.diag.facts import READ_LIMIT_BYTES, Facts
from ssvm_agent.diag.registry import CHECKS
from ssvm_agent.diag.runner import run_checks
from ssvm_agent.diag.scrub import masked_values
from ssvm_agent.errors import AgentError

_PROGRAM_DEADLINE_S: Final = 10.0
_CHECKS_DEADLINE_S: Final = 90.0
_JOURNAL_LINES: Final = 4000
_LOG_TAIL_BYTES: Final = 512 * 1024

_PROGRAMS: Final = {
    "network/addresses.txt": ("ip", "address", "show"),
    "network/links.txt": ("ip", "-statistics", "link", "show"),
    "network/routes.txt": ("ip", "route", "show", "table", "all"),
    "network/rules.txt": ("ip", "rule", "show"),
    "network/routes6.txt": ("ip", "-6", "route", "show"),
    "network/neighbours.txt": ("ip", "neighbour", "show"),
    "network/listening.txt": ("ss", "-ltnp"),
    "network/firewall.txt": ("iptables-save",),
    "network/firewall6.txt": ("ip6tables-save",),
    "system/unit.txt": ("systemctl", "show", "cloud.service"),
    "system/units.txt": ("systemctl", "list-units", "--all", "--no-pager", "--plain"),
    # Names only: arguments of foreign programs may hold secrets.
    "system/processes.txt": ("ps", "-eo", "pid,ppid,user,stat,etime,rss,nlwp,comm"),
    "system/disks.txt": ("df", "--local", "-h"),
    "logs/journal.txt": (
        "journalctl", "--unit", "cloud*", "--lines", str(_JOURNAL_LINES), "--no-pager",
    ),
    "logs/kernel.txt": ("dmesg", "--ctime"),
}  # fmt: skip
_FILES: Final = {
    "network/resolv.conf": "etc/resolv.conf",
    "network/hosts": "etc/hosts",
    "network/interfaces": "etc/network/interfaces",
    "system/mounts.txt": "proc/self/mountinfo",
    "system/memory.txt": "proc/meminfo",
    "system/os-release": "etc/os-release",
    "system/cloudstack-release": "etc/cloudstack-release",
}
_LOGS: Final = {
    "logs/cloud.log": "var/log/cloud.log",
    "logs/patchsystemvm.log": "var/log/patchsystemvm.log",
    "logs/livepatchsystemvm.log": "var/log/livepatchsystemvm.log",
    "logs/apache-error.log": "var/log/apache2/error.log",
}


class NothingThereError(AgentError):
    """An item does not exist on this machine."""

    code = "nothing-there"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file of the bundle.

    Attributes:
        name: Its path in the bundle.
        collect: Gets its text.
        deadline_s: For that.
    """

    name: str
    collect: Callable[[Facts], Awaitable[str]]
    deadline_s: float = _PROGRAM_DEADLINE_S + 5


def items() -> tuple[Item, ...]:
    """Everything a bundle holds."""
    own = (
        Item(name="checks.json", collect=_checks, deadline_s=_CHECKS_DEADLINE_S),
        Item(name="agent/status.json", collect=_report),
        Item(name="agent/status-file.json", collect=_status_file),
        Item(name="agent/settings.json", collect=_settings),
        Item(name="agent/boot-text.txt", collect=_boot_text),
        Item(name="agent/agent.properties", collect=_properties),
        Item(name="agent/certificates.json", collect=_certificates),
        Item(name="agent/versions.txt", collect=_versions),
    )
    return (
        *own,
        *(Item(name=name, collect=_program(argv)) for name, argv in _PROGRAMS.items()),
        *(Item(name=name, collect=_file(path)) for name, path in _FILES.items()),
        *(Item(name=name, collect=_tail(path)) for name, path in _LOGS.items()),
    )


def _program(argv: Sequence[str]) -> Callable[[Facts], Awaitable[str]]:
    async def collect(facts: Facts) -> str:
        result = await facts.runner.run(
            argv, deadline_s=_PROGRAM_DEADLINE_S, check=False, max_output_bytes=READ_LIMIT_BYTES
        )
        said = result.stderr.decode("utf-8", "replace")
        return f"$ {' '.join(argv)}\n{result.text}{said}"

    return collect


def _file(path: str) -> Callable[[Facts], Awaitable[str]]:
    async def collect(facts: Facts) -> str:
        text = await facts.text(path)
        if not text:
            raise NothingThereError(f"/{path} is not there, or empty")
        return text

    return collect


def _tail(path: str) -> Callable[[Facts], Awaitable[str]]:
    async def collect(facts: Facts) -> str:
        text = await facts.local.call(read_tail, facts.path(path), _LOG_TAIL_BYTES)
        if not text:
            raise NothingThereError(f"/{path} is not there, or empty")
        return text

    return collect


def read_tail(path: Path, limit: int) -> str:
    """The end of a file, from the beginning of a line; empty when it cannot be read (blocking)."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - limit))
            data = file.read(limit)
    except OSError:
        return ""
    if size > limit:
        data = data.partition(b"\n")[2]
    return data.decode("utf-8", "replace")


async def _checks(facts: Facts) -> str:
    results = await run_checks(CHECKS, facts)
    document = report.as_json(results, machine=facts.settings.name, now=facts.clock.now())
    return _json(document)


async def _report(facts: Facts) -> str:
    if facts.agent.report is None:
        raise NothingThereError(f"The agent gives no report: {facts.agent.problem}")
    return _json(facts.agent.report)


async def _status_file(facts: Facts) -> str:
    if facts.agent.status is None:
        raise NothingThereError("The agent has left no status file")
    return _json(facts.agent.status)


async def _settings(facts: Facts) -> str:
    rows = [
        {"key": row.key, "value": row.value, "source": row.source}
        for row in facts.settings.explain()
    ]
    return _json(
        {
            "problem": facts.settings_problem,
            "oddities": list(facts.settings.oddities),
            "settings": rows,
        }
    )


async def _boot_text(facts: Facts) -> str:
    if not facts.boot.values:
        raise NothingThereError(f"There is no boot text in {facts.boot_path}")
    return masked_values(facts.boot.values)


async def _properties(facts: Facts) -> str:
    text = await facts.text(facts.settings.agent_properties)
    if not text:
        raise NothingThereError(f"{facts.settings.agent_properties} is not there, or empty")
    return masked_values(javaproperties.parse(text))


async def _certificates(facts: Facts) -> str:
    found = await facts.local.call(certificates.look, facts)
    shown = [found.own, *found.authorities]
    return _json(
        {
            "problem": found.problem,
            "is_signed": found.is_signed,
            "certificates": [
                {
                    "subject": one.subject,
                    "names": sorted(one.names),
                    "not_before": one.not_before.isoformat(),
                    "not_after": one.not_after.isoformat(),
                }
                for one in shown
                if one is not None
            ],
        }
    )


async def _versions(facts: Facts) -> str:
    return await facts.local.call(_read_versions)


def _read_versions() -> str:
    uname = platform.uname()
    lines = [
        f"ssvm-agent {__version__}",
        f"python {sys.version.split()[0]}",
        f"{uname.system} {uname.release} {uname.machine}",
        *sorted(f"{one.name} {one.version}" for one in metadata.distributions()),
    ]
    return "\n".join(lines) + "\n"


def _json(document: object) -> str:
    return json.dumps(document, indent=1) + "\n"
