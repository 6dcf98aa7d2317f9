# SPDX-License-Identifier: Apache-2.0
"""The argument parser of ``ssvm-agent`` and what its subcommands have in common."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from ssvm_agent import __version__
from ssvm_agent.app.exits import ExitCode
from ssvm_agent.cli import (
    boot,
    commands,
    config,
    demo,
    diagnostics,
    frames,
    inspect,
    orphans,
    run,
    status,
)
from ssvm_agent.errors import AgentError, ConfigError

_DESCRIPTION: Final = "The agent inside the Secondary Storage VM of an Apache CloudStack cloud."
_EPILOG: Final = """\
exit codes:
  0    done
  1    the work was done and its result is bad (a bad frame, a refused image)
  2    wrong arguments
  70   an unforeseen failure; the log has the stack
  75   another agent is running (run)
  78   a setting is missing or wrong
  128+n  ended by signal n: 143 after SIGTERM (run)
"""

Handler = Callable[[argparse.Namespace], int]


class _Subcommand(Protocol):
    """A module of this package with one subcommand."""

    def add(self, subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        """Add its parser; the defaults' ``handle`` carries it out."""
        ...


def execute(arguments: Sequence[str] | None) -> int:
    """Parse, carry out, and turn errors into a message and an exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = build(demo_wanted=words[:1] == ["demo"]).parse_args(words)
    handle: Handler = options.handle
    try:
        return handle(options)
    except ConfigError as error:
        print(f"ssvm-agent: {error.for_operators()}", file=sys.stderr)
        return ExitCode.CONFIGURATION
    except AgentError as error:
        print(f"ssvm-agent: {error.for_operators()}", file=sys.stderr)
        return ExitCode.FAILED
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing more can be said on it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED


def build(*, demo_wanted: bool = False) -> argparse.ArgumentParser:
    """The parser; the demo's own options are loaded only when it is wanted."""
    parser = argparse.ArgumentParser(
        prog="ssvm-agent",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ssvm-agent {__version__}")
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    modules: tuple[_Subcommand, ...] = (
        run, status, config, boot, commands, frames, inspect, orphans, diagnostics,
    )  # fmt: skip
    for module in modules:
        module.add(subcommands)
    demo.add(subcommands, wanted=demo_wanted)
    return parser
