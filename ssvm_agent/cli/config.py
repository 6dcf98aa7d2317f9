# SPDX-License-Identifier: Apache-2.0
"""``ssvm-agent config show``: every setting with its value and where the value came from."""

from __future__ import annotations

import argparse
import json
from typing import Final

from ssvm_agent.cli import sources

_SHOW: Final = """\
Prints every setting with its value and its source: default, boot text, agent.properties, the
operator's agent.yaml, or the command line. Secrets are masked. Exit code 78 when the settings
cannot be used; the message says why.
"""


def add(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser("config", help="look at the settings")
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    show = actions.add_parser("show", help="every value with its source", description=_SHOW)
    show.add_argument("--json", action="store_true", help="as a JSON object, for programs")
    sources.add_options(show)
    show.set_defaults(handle=handle)


def handle(options: argparse.Namespace) -> int:
    """Load and print."""
    from ssvm_agent.config.load import load

    settings = load(sources.sources(options))
    rows = settings.explain()
    if options.json:
        values = [
            {"key": row.key, "value": row.value, "source": row.source, "secret": row.secret}
            for row in rows
        ]
        print(json.dumps({"settings": values, "oddities": list(settings.oddities)}, indent=1))
        return 0
    key_width = max(len(row.key) for row in rows)
    value_width = min(48, max(len(row.value) for row in rows))
    for row in rows:
        print(f"{row.key:{key_width}}  {row.value:{value_width}}  {row.source}".rstrip())
    for oddity in settings.oddities:
        print(f"# {oddity}")
    return 0
