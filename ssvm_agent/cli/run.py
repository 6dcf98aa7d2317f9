# SPDX-License-Identifier: Apache-2.0
"""``ssvm-agent run``: be the agent."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Final

from ssvm_agent.cli import sources

_DESCRIPTION: Final = """\
Connects to the management server and serves it until SIGTERM, SIGINT or SIGHUP. A refusal by the
server or a lost connection does not end the agent; it tries again. A second signal skips waiting
for running work.
"""


def add(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser("run", help="be the agent", description=_DESCRIPTION)
    sources.add_options(parser)
    parser.set_defaults(handle=handle)


def handle(options: argparse.Namespace) -> int:
    """Load the settings, take the pid file, run."""
    from ssvm_agent import log
    from ssvm_agent.app.application import Application
    from ssvm_agent.app.exits import ExitCode
    from ssvm_agent.app.pidfile import AlreadyRunningError, pid_file
    from ssvm_agent.config.load import load
    from ssvm_agent.config.state import AgentState

    settings = load(sources.sources(options))
    sink = log.setup(
        settings.log.level,
        file=settings.log.file,
        journal=settings.log.journal,
        file_max_bytes=settings.log.file_max_bytes,
        file_backups=settings.log.file_backups,
    )
    try:
        with pid_file(settings.pid_file):
            state = AgentState(settings.agent_properties, settings.resource_class)
            return asyncio.run(Application(settings, state).run())
    except AlreadyRunningError as error:
        print(f"ssvm-agent: {error}", file=sys.stderr)
        return ExitCode.ALREADY_RUNNING
    finally:
        sink.close()
