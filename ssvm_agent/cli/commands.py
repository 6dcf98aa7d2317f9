# SPDX-License-Identifier: Apache-2.0
"""``ssvm-agent commands``: which commands of the management server this agent carries out."""

from __future__ import annotations

import argparse
import json


def add(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "commands",
        help="list the commands the agent handles",
        description="Lists every command class the agent handles, the class that answers it, its"
        " lane, and whether recorded messages of it are part of the tests.",
    )
    parser.add_argument("--json", action="store_true", help="as a JSON array, for programs")
    parser.set_defaults(handle=handle)


def handle(options: argparse.Namespace) -> int:
    """Load the handlers and print the registry."""
    from ssvm_agent.handlers.catalogue import load
    from ssvm_agent.messages.base import class_name_of
    from ssvm_agent.messages.catalogue import CATALOGUE

    recorded = {row.class_name for row in CATALOGUE if row.in_vectors}
    rows = [
        {
            "class": entry.class_name,
            "answer": class_name_of(entry.answer),
            "lane": entry.lane.value,
            "in_vectors": entry.class_name in recorded,
        }
        for entry in load().entries()
    ]
    if options.json:
        print(json.dumps(rows, indent=1))
        return 0
    for row in rows:
        mark = "recorded" if row["in_vectors"] else ""
        print(f"{row['class']}\n    {row['lane']:8} {row['answer']}  {mark}".rstrip())
    return 0
