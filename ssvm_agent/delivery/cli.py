# SPDX-License-Identifier: Apache-2.0
"""The command ``ssvm-deliver``: reads the command line, runs, ends with a code (docs/delivery.md).

The first signal lets running work end and begins nothing new; a second one breaks it off.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from typing import Final

from ssvm_agent.delivery.console import Console
from ssvm_agent.delivery.errors import UnfinishedError, UsageError
from ssvm_agent.delivery.fleet import Stop
from ssvm_agent.delivery.keypair import KeyType, generate
from ssvm_agent.delivery.options import Exit, build_parser
from ssvm_agent.errors import AgentError

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = build_parser().parse_args(arguments)
    # The SSH library logs what its callers report anyway.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    if options.job == "generate":
        return _generate(options)
    console = Console(as_json=options.json)
    try:
        return asyncio.run(_run(options, console))
    except AgentError as error:
        code = _code_of(error)
        console.failure(error.code, error.message, error.detail, exit_code=code)
        return code


def _code_of(error: AgentError) -> int:
    if isinstance(error, UsageError):
        return Exit.USAGE
    return Exit.UNFINISHED if isinstance(error, UnfinishedError) else Exit.FAILED


async def _run(options: argparse.Namespace, console: Console) -> int:
    from ssvm_agent.delivery import commands, payload_commands

    jobs = {
        "rotate": commands.rotate,
        "inject": commands.inject,
        "install": payload_commands.install,
        "status": payload_commands.status,
        "undo": payload_commands.undo,
    }
    task = asyncio.current_task()
    assert task is not None
    stop, received = Stop(), list[int]()

    def on_signal(number: int) -> None:
        received.append(number)
        if stop.wanted:
            task.cancel()
        else:
            stop.wanted = True
            console.note("interrupted: what has begun is finished; once more to break it off")

    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    try:
        return int(await jobs[options.job](options, console, stop))
    except asyncio.CancelledError:
        if not received:
            raise
        console.note("broken off")
        return 128 + received[-1]


def _generate(options: argparse.Namespace) -> int:
    try:
        print(generate(options.file, KeyType(options.type), comment=options.comment))
    except AgentError as error:
        print(f"ssvm-deliver: {error.for_operators()}", file=sys.stderr)
        return Exit.FAILED
    return 0
