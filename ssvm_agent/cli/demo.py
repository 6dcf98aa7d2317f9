# SPDX-License-Identifier: Apache-2.0
"""``ssvm-agent demo``: the agent, a simulated management server and real images, unattended."""

from __future__ import annotations

import argparse
from typing import Final

_HELP: Final = "see the agent at work against a simulated management server"


def add(subcommands: argparse._SubParsersAction[argparse.ArgumentParser], *, wanted: bool) -> None:
    """Add the subcommand; its options belong to the simulator, which is loaded only when wanted."""
    parser = subcommands.add_parser("demo", help=_HELP, description=_HELP)
    if wanted:
        from ssvm_agent.simulator import demo

        demo.add_arguments(parser)
        parser.set_defaults(handle=demo.run_from)
