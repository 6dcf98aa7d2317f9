# SPDX-License-Identifier: Apache-2.0
"""``ssvm-agent diagnostics``: one archive with what support needs, without secrets."""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

from ssvm_agent.cli import sources
from ssvm_agent.errors import AgentError

_DESCRIPTION = """\
Collects the state of this machine and its agent into one archive: checks, status, settings with
their sources, logs, network, firewall, mounts, certificates, versions. Secrets are removed; keys
are never read. Works without a running agent. What could not be had is named in manifest.json.
"""


class NotWrittenError(AgentError):
    """The archive cannot be written."""

    code = "not-written"


def add(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "diagnostics", help="one archive for support, without secrets", description=_DESCRIPTION
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE",
        help="the archive (default: ssvm-diagnostics-NAME-TIME.tar.gz in this directory)",
    )  # fmt: skip
    sources.add_options(parser)
    parser.set_defaults(handle=handle)


def handle(options: argparse.Namespace) -> int:
    """Collect, write, and say what is missing."""
    return asyncio.run(_collect(options))


async def _collect(options: argparse.Namespace) -> int:
    from ssvm_agent.diag.bundle import make_bundle
    from ssvm_agent.diag.gather import Origin, gather

    facts = await gather(Origin(sources=sources.sources(options)))
    output = options.output or _default_output(facts.settings.name)
    try:
        collected = await make_bundle(facts, output)
    except OSError as error:
        raise NotWrittenError(f"{output} cannot be written: {error.strerror}") from error
    for item in collected:
        if item.problem:
            print(f"without {item.name}: {item.problem}", file=sys.stderr)
    print(output)
    return 0


def _default_output(name: str) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    safe = "".join(letter if letter.isalnum() or letter == "-" else "_" for letter in name)
    return Path(f"ssvm-diagnostics-{safe or socket.gethostname()}-{stamp}.tar.gz")
