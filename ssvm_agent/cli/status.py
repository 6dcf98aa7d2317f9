# SPDX-License-Identifier: Apache-2.0
"""``ssvm-agent status``: what the running agent is doing, asked at its status address."""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ssvm_agent.cli import sources
from ssvm_agent.errors import AgentError

if TYPE_CHECKING:
    from rich.console import RenderableType

_DESCRIPTION: Final = """\
Asks the agent on this machine and prints its link, stores, work and certificates; with --json
everything the status page shows. Exit code 0 when all is well, 1 when something is wrong or the
agent does not answer.
"""
_TIMEOUT_S: Final = 10.0
_PERIOD_S: Final = 2.0
_COLOURS: Final = {"good": "green", "warning": "yellow", "bad": "red"}
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


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
    if options.watch:
        return _watch(address)
    report = fetch(address)
    if options.json:
        print(json.dumps(report, indent=1))
    else:
        _print(report)
    return 1 if report["health"] == "bad" else 0


def fetch(address: str) -> dict[str, Any]:
    """The report of the agent listening there.

    Raises:
        NoAnswerError: There is none, or it is no agent.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise NoAnswerError(f"{address!r} is no address: write HOST:PORT")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_TIMEOUT_S)
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


def lines(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The report as lines of text, each with its health."""
    head = f"{report['host_name']}  ssvm-agent {report['version']}"
    yield report["health"], f"{head}  {_verdict(report)}"
    for problem in report["problems"]:
        yield "bad", f"  ! {problem}"
    link = report["link"]
    if link:
        yield link["health"], f"link         {link['state']}  {link['server']}"
    for store in report["stores"]:
        yield store["health"], f"store        {store['state']}  {store['url']}  {_space(store)}"
    for kind in ("downloads", "uploads", "transfers"):
        for row in report[kind]:
            yield row["health"], f"{kind[:-1]:12} {row['state']}  {row['what']}  {_done(row)}"
            if row["message"]:
                yield row["health"], f"             {row['message']}"
    for one in report["certificates"]:
        yield one["health"], f"certificate  {one['days_left']} days  {one['subject']}"
    if report["links"]:
        yield "good", f"links        {len(report['links'])} files published"


def _address(options: argparse.Namespace) -> str:
    from ssvm_agent.config.load import load

    listen = load(sources.sources(options)).status.listen
    if not listen:
        raise NoAnswerError("The status page is switched off: status.listen is empty.")
    return listen


def _verdict(report: Mapping[str, Any]) -> str:
    words = {"good": "all is well", "warning": "needs attention", "bad": "something is wrong"}
    return words[report["health"]]


def _space(store: Mapping[str, Any]) -> str:
    if store["total_bytes"] is None:
        return "size unknown"
    return f"{_size(store['used_bytes'])} of {_size(store['total_bytes'])} used"


def _done(row: Mapping[str, Any]) -> str:
    if row["total_bytes"] is None:
        return _size(row["done_bytes"])
    share = 100 * row["done_bytes"] // max(1, row["total_bytes"])
    return f"{_size(row['done_bytes'])} of {_size(row['total_bytes'])} ({share} %)"


def _size(count: float) -> str:
    for unit in _UNITS[:-1]:
        if count < 1024:
            return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1024
    return f"{count:.3g} {_UNITS[-1]}"


def _print(report: Mapping[str, Any]) -> None:
    for _, text in lines(report):
        print(text)


def _watch(address: str) -> int:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    health = "bad"
    try:
        with Live(console=console, auto_refresh=False, screen=sys.stdout.isatty()) as live:
            while True:
                report = fetch(address)
                health = report["health"]
                live.update(_picture(tuple(lines(report))), refresh=True)
                time.sleep(_PERIOD_S)
    except KeyboardInterrupt:
        return 1 if health == "bad" else 0


def _picture(rows: Sequence[tuple[str, str]]) -> RenderableType:
    from rich.text import Text

    return Text("\n").join(Text(text, style=_COLOURS[health]) for health, text in rows)
