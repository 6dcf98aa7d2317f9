# SPDX-License-Identifier: Apache-2.0
"""The command ``ssvm-sim``: parses and prints only."""

from __future__ import annotations

import argparse
import asyncio
import functools
import io
import logging
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TextIO

from ssvm_agent.host.pools import WorkPool

_DESCRIPTION = """\
A management server in small, for trying an agent without a cloud: it lets the agent in, sets it up,
gives it work, and tells what a real server would have objected to."""

_SERVE = """\
Listens for agents and takes orders as JSON lines on stdin; results and events are JSON lines on
stdout. It ends when stdin does.

  {"do": "wait"}                                   until an agent is Up
  {"do": "register", "name": "tiny", "url": "http://…", "format": "QCOW2", "wait": true}
  {"do": "list"}                                   templates and volumes of the first store
  {"do": "upload", "name": "tiny", "format": "QCOW2", "max_size_gib": 5}   signs it
  {"do": "upload-status", "uuid": "…", "wait": true}
  {"do": "link", "name": "tiny", "path": "template/tmpl/2/200/….qcow2"}   a URL to fetch it from
  {"do": "unlink", "url": "…"}
  {"do": "hosts"}  {"do": "violations"}  {"do": "disconnect"}  {"do": "certificate"}
  {"do": "faults", "ignore_pings": true}
  {"command": "CheckHealthCommand", "fields": {}}  any command, by simple or full class name

"id" in an order is repeated in its result, "host" names one of several agents; all further keys are
in docs/simulator.md.

With --script the orders come from a file, one after the other, and may build on each other; the
scenarios in docs/commands are such files. The exit code is 1 when an agent broke a rule or an
answer was not as the scenario expects.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=options.log, stream=sys.stderr, format="%(levelname)s %(message)s")
    try:
        return asyncio.run(_serve(options))
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"ssvm-sim: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ssvm-sim", description=_DESCRIPTION)
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = subcommands.add_parser(
        "serve",
        help="listen for agents, take orders on stdin",
        description=_SERVE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = serve.add_argument
    add(
        "--listen",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address agents connect to; default: %(default)s",
    )
    add(
        "--port",
        type=_port,
        default=8250,
        help="its port; 0 takes a free one; default: %(default)s",
    )
    add(
        "--store",
        action="append",
        default=[],
        metavar="URL",
        help="an image store (nfs://…, cifs://…, file:///… for development); may be repeated",
    )
    add("--zone", default="1", help="zone the agent must name; default: %(default)s")
    add(
        "--client-certificates",
        choices=["none", "wanted", "needed"],
        default="wanted",
        help="whether agents show one; default: %(default)s",
    )
    add(
        "--form",
        type=_endpoint,
        metavar="ADDRESS:PORT",
        help="serve a page with an upload form there for each upload ordered; port 0 takes a free"
        " one; default: none",
    )
    add("--http-uploads", action="store_true", help="sign uploads for http instead of https")
    add(
        "--domain",
        default="",
        help="URLs have names such as 203-0-113-21.DOMAIN instead of addresses",
    )
    add("--encrypt-copy", action="store_true", help="with --domain: links are https")
    add(
        "--ca-out",
        type=Path,
        metavar="FILE",
        help="write the CA certificate there, for cloud.ca.crt",
    )
    add(
        "--time",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="all intervals and time-outs of the server times this; default: %(default)s",
    )
    add("--script", type=Path, metavar="FILE", help="carry out the orders in a file instead")
    add(
        "--define",
        action="append",
        default=[],
        metavar="WORD=VALUE",
        type=_definition,
        help="for ${WORD} in a script; may be repeated",
    )
    add(
        "--log",
        default="WARNING",
        choices=["DEBUG", "INFO", "WARNING", "ERROR"],
        help="least level of what is written to stderr; default: %(default)s",
    )
    return parser


def _definition(text: str) -> tuple[str, str]:
    word, equals, value = text.partition("=")
    if not (word and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not WORD=VALUE")
    return word, value


def _endpoint(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    if not address:
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT")
    return address.strip("[]"), _port(port)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


async def _serve(options: argparse.Namespace) -> int:
    from ssvm_agent.simulator.console import Console
    from ssvm_agent.simulator.form_page import open_form_site
    from ssvm_agent.simulator.model import ImageStore
    from ssvm_agent.simulator.script import Script
    from ssvm_agent.simulator.server import ClientCertificates, ManagementServer
    from ssvm_agent.simulator.timing import Timing
    from ssvm_agent.simulator.zone import Zone

    pool = WorkPool("console", threads=1)
    zone = Zone(
        names=(options.zone,),
        stores=[ImageStore(url=url) for url in options.store],
        https_uploads=not options.http_uploads,
        encrypt_copy=options.encrypt_copy,
        certificate_domain=options.domain,
    )
    try:
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(
                ManagementServer(
                    zone=zone,
                    timing=Timing().scaled(options.time),
                    client_certificates=ClientCertificates(options.client_certificates),
                    host=options.listen,
                    port=options.port,
                )
            )
            if options.ca_out is not None:
                await pool.call(options.ca_out.write_text, server.authority.certificate)
            forms = None
            if options.form is not None:
                forms = await stack.enter_async_context(open_form_site(*options.form))

            orders: TextIO = sys.stdin
            if options.script is not None:
                text = await pool.call(options.script.read_text, encoding="utf-8")
                orders = io.StringIO(text)

            async def read_line() -> str:
                return await pool.call(orders.readline, deadline_s=None)

            script = Script(dict(options.define)) if options.script is not None else None
            write = functools.partial(print, flush=True)
            await Console(server, write, script, forms).serve(read_line)
            return 1 if server.violations or (script and script.surprises) else 0
    finally:
        pool.close()


if __name__ == "__main__":
    sys.exit(main())
