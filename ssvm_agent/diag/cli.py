# SPDX-License-Identifier: Apache-2.0
"""The command ``ssvm-check``: parses, runs the checks, prints."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ssvm_agent import __version__
from ssvm_agent.config.load import DEFAULT_BOOT_TEXT, DEFAULT_YAML, Sources
from ssvm_agent.diag import compat, report
from ssvm_agent.diag.dns import PORT, Resolver
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.gather import Origin, gather
from ssvm_agent.diag.registry import CHECKS, UnknownCheckError, select
from ssvm_agent.diag.runner import run_checks

_DESCRIPTION: Final = """\
Looks at everything a secondary storage VM needs, and says what is wrong, how that was found, and
what to do. Works without a running agent; with one it says more. Nothing is changed; on each store
a small file is written and removed.
"""
_EPILOG: Final = """\
exit codes:
  0  no check failed; there may be warnings
  1  a check failed
  2  wrong arguments
with --compat, as the system VM's own script:
  0  the end was reached    2  DNS does not resolve
  3  no agent is running    4  a management server cannot be reached
"""
_WRONG_ARGUMENTS: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    _set_up_log(debug=options.debug)
    try:
        return _carry_out(options)
    except UnknownCheckError as error:
        print(f"ssvm-check: {error.message}", file=sys.stderr)
        return _WRONG_ARGUMENTS
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing more can be said on it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _carry_out(options: argparse.Namespace) -> int:
    if options.list:
        width = max(len(check.slug) for check in CHECKS)
        for check in CHECKS:
            print(f"{check.slug:{width}}  {check.title}")
        return 0
    if options.compat:
        return asyncio.run(_compat(options))
    return asyncio.run(_check(options))


async def _compat(options: argparse.Namespace) -> int:
    facts = await gather(_origin(options))
    return await compat.run(facts, lambda line: print(line, flush=True))


async def _check(options: argparse.Namespace) -> int:
    names = [*options.checks]
    checks = select(names)
    facts = await gather(_origin(options))
    results = await run_checks(checks, facts, deadline_s=options.timeout)
    now, machine = facts.clock.now(), _machine(facts)
    if options.json:
        print(json.dumps(report.as_json(results, machine=machine, now=now), indent=1))
    else:
        print(report.as_text(results, machine=machine, now=now, colours=_wants_colours()), end="")
    return report.exit_code(results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ssvm-check",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ssvm-check {__version__}")
    parser.add_argument(
        "checks", nargs="*", metavar="CHECK", help="only these (see --list); default: all"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--list", action="store_true", help="print the names of the checks")
    form.add_argument("--json", action="store_true", help="the results as one JSON object")
    form.add_argument(
        "--compat", action="store_true",
        help="print and exit like the system VM's own ssvm-check.sh",
    )  # fmt: skip
    parser.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS",
        help="for each check, instead of what each asks for",
    )  # fmt: skip
    parser.add_argument(
        "--url", default="", help="a template's URL: can it be fetched, and what decides"
    )
    group = parser.add_argument_group("where to look")
    group.add_argument(
        "--config", type=Path, metavar="FILE",
        help=f"the operator's settings instead of {DEFAULT_YAML}",
    )  # fmt: skip
    group.add_argument(
        "--boot-text", type=Path, metavar="FILE", help=f"instead of {DEFAULT_BOOT_TEXT}"
    )
    group.add_argument(
        "--set", action="append", default=[], type=_pair, metavar="KEY=VALUE", dest="overrides",
        help="one setting by its dotted name; may be repeated",
    )  # fmt: skip
    group.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR",
        help="take the files of the machine from below this directory",
    )  # fmt: skip
    group.add_argument("--dns-port", type=int, default=PORT, help=argparse.SUPPRESS)
    parser.add_argument("--debug", action="store_true", help="say on standard error what is done")
    return parser


def _origin(options: argparse.Namespace) -> Origin:
    root: Path = options.root
    is_elsewhere = root != Path("/")
    boot_text = options.boot_text or root / str(DEFAULT_BOOT_TEXT).lstrip("/")
    properties = root / "usr/local/cloud/systemvm/conf/agent.properties" if is_elsewhere else None
    return Origin(
        sources=Sources(
            boot_text=boot_text,
            agent_properties=properties,
            yaml=options.config,
            overrides=dict(options.overrides),
            host_name=socket.gethostname(),
        ),
        root=root,
        url=options.url,
        resolver=Resolver(port=options.dns_port),
    )


def _machine(facts: Facts) -> str:
    return facts.settings.name or socket.gethostname()


def _wants_colours() -> bool:
    """As https://no-color.org asks for."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _set_up_log(*, debug: bool) -> None:
    """Keep what rooms log out of the report; it may be asked for."""
    logger = logging.getLogger()
    if debug:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(name)s: %(message)s")
    else:
        logger.addHandler(logging.NullHandler())


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 3600:
        raise argparse.ArgumentTypeError("write a number of seconds between 0 and 3600")
    return seconds


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("write KEY=VALUE")
    return key.strip(), value
