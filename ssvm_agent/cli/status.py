# SPDX-License-Identifier: Apache-2.0
"""``ssvm-agent status``: what the running agent is doing, asked at its status address."""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import sys
import time
from typing import Any, Final

from ssvm_agent.cli import sources
from ssvm_agent.cli.status_text import Rates, Report, is_working, lines, wrapped
from ssvm_agent.cli.status_watch import open_screen, watch
from ssvm_agent.errors import AgentError

_DESCRIPTION: Final = """\
Asks the agent on this machine and prints what the status page shows: link and management servers,
stores, commands, downloads, uploads, certificates, links, recent warnings; with --json all of it as
data. Exit code 0 when all is well, 1 when something is wrong or the agent does not answer; with
--watch, which waits for an agent that does not answer, 0 after Ctrl-C.
"""
_TIMEOUT_S: Final = 10.0
# Rates are measured over this time; asked only while something is under way.
_MEASURED_S: Final = 1.0
_LAST_PORT: Final = 65535


class NoAnswerError(AgentError):
    """The status address does not answer."""

    code = "no-answer"


def add(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "status", help="what the running agent is doing", description=_DESCRIPTION
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the whole report, for programs")
    form.add_argument("--watch", action="store_true", help="show it live until Ctrl-C")
    parser.add_argument(
        "--address", metavar="HOST:PORT", help="instead of the setting status.listen"
    )
    sources.add_options(parser)
    parser.set_defaults(handle=handle)


def handle(options: argparse.Namespace) -> int:
    """Ask and print."""
    address = options.address or _address(options)
    host, port = _split(address)
    if options.watch:
        with open_screen() as screen:
            watch(lambda: fetch(host, port), screen)
        return 0
    report = fetch(host, port)
    if options.json:
        print(json.dumps(report, indent=1))
        return 1 if report["health"] == "bad" else 0
    rates = Rates()
    if is_working(report):
        rates.take(report)
        time.sleep(_MEASURED_S)
        report = fetch(host, port)
        rates.take(report)
    _print(report, rates)
    return 1 if report["health"] == "bad" else 0


def fetch(host: str, port: int) -> dict[str, Any]:
    """The report of the agent listening there.

    Raises:
        NoAnswerError: There is none, or it is no agent.
    """
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/status.json")
        answer = connection.getresponse()
        report = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswerError(
            f"No agent answers at {address}: is it running?", detail=str(error)
        ) from error
    finally:
        connection.close()
    if not isinstance(report, dict) or "health" not in report:
        raise NoAnswerError(f"What answers at {address} is no agent.")
    return report


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > _LAST_PORT:
        raise NoAnswerError(f"{address!r} is no address: write HOST:PORT")
    return host.strip("[]"), int(port)


def _address(options: argparse.Namespace) -> str:
    from ssvm_agent.config.load import load

    listen = load(sources.sources(options)).status.listen
    if not listen:
        raise NoAnswerError("The status page is switched off: status.listen is empty.")
    return listen


def _print(report: Report, rates: Rates) -> None:
    rows = lines(report, rates)
    if sys.stdout.isatty():
        rows = wrapped(rows, shutil.get_terminal_size().columns)
    for row in rows:
        print(row.text)
