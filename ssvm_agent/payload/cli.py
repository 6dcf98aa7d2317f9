# SPDX-License-Identifier: Apache-2.0
"""The command ``ssvm-payload``: parses, prints, ends with a code (docs/payload.md)."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ssvm_agent.errors import AgentError
from ssvm_agent.host.clock import SystemClock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import SystemRunner
from ssvm_agent.payload import journal, signature
from ssvm_agent.payload.installer import Installer, Outcome, Verdict
from ssvm_agent.payload.manifest import read_and_verify
from ssvm_agent.payload.places import Places
from ssvm_agent.payload.services import Services

_SCHEMA: Final = 1
_FAILED: Final = 1
_ROLLED_BACK: Final = 3
# Links, enablements and copies must be readable by others, however strict the machine is set up.
_UMASK: Final = 0o022
_SENTENCES: Final = {
    Outcome.INSTALLED: "installed {release}",
    Outcome.UNCHANGED: "{release} is installed already",
    Outcome.ROLLED_BACK: "rolled back: {reason}",
    Outcome.UNDONE: "back to {release}",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    os.umask(_UMASK)
    work: Callable[[argparse.Namespace], int] = options.work
    try:
        return work(options)
    except (AgentError, OSError) as error:
        text = error.for_operators() if isinstance(error, AgentError) else str(error)
        if getattr(options, "json", False):
            _print_object({"result": "failed", "reason": text})
        else:
            print(f"ssvm-payload: {text}", file=sys.stderr)
        return _FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ssvm-payload",
        description="Makes the agent's bundle and installs it in a system VM.",
        epilog="Exit status: 0 done or nothing to do, 1 failed and everything is as before, "
        "2 wrong use, 3 rolled back because no management server was reached in time.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    install = commands.add_parser("install", help="install an unpacked bundle in this machine")
    install.set_defaults(work=_install)
    install.add_argument("bundle", type=Path, metavar="DIRECTORY", help="the unpacked bundle")
    install.add_argument(
        "--trusted-key", type=Path, metavar="FILE",
        help="public Ed25519 key (PEM) the bundle must be signed with",
    )  # fmt: skip
    install.add_argument(
        "--offline", action="store_true",
        help="the machine is not running: start nothing, wait for nothing",
    )  # fmt: skip

    undo = commands.add_parser("undo", help="go back to what ran before")
    undo.set_defaults(work=_undo)
    undo.add_argument("--offline", action="store_true", help="the machine is not running")

    status = commands.add_parser("status", help="what is installed, and how that went")
    status.set_defaults(work=_status)

    mend = commands.add_parser("mend", help="end what a loss of power cut off; runs at each boot")
    mend.set_defaults(work=_mend, offline=False)

    place = commands.add_parser("place", help="put units and scripts back where they belong")
    place.set_defaults(work=_place)

    verify = commands.add_parser("verify", help="compare an unpacked bundle with its manifest")
    verify.set_defaults(work=_verify)
    verify.add_argument("bundle", type=Path, metavar="DIRECTORY")
    verify.add_argument("--trusted-key", type=Path, metavar="FILE", help="public key (PEM)")

    for command in (install, mend):
        command.add_argument(
            "--confirm-within", type=_seconds, default=180.0, metavar="SECONDS",
            help="time for the new agent to reach a management server; default: 180",
        )  # fmt: skip
    for command in (install, undo, mend, status, place):
        command.add_argument(
            "--root", type=Path, default=Path("/"), metavar="DIRECTORY",
            help="the machine's root directory; default: /",
        )  # fmt: skip
    for command in (install, undo, mend, status):
        command.add_argument("--json", action="store_true", help="the result for programs")

    build = commands.add_parser("build", help="make bundles from a checkout of the project")
    build.set_defaults(work=_build)
    build.add_argument(
        "--arch", action="append", choices=["x86_64", "aarch64"], metavar="ARCH",
        help="x86_64 or aarch64; may be given twice; default: both",
    )  # fmt: skip
    build.add_argument(
        "--output", type=Path, default=Path("dist"), metavar="DIRECTORY", help="default: dist"
    )
    build.add_argument(
        "--source", type=Path, default=Path(__file__).parents[2], metavar="DIRECTORY",
        help="the checkout; default: the one this program runs from",
    )  # fmt: skip
    build.add_argument("--sign-with", type=Path, metavar="FILE", help="private Ed25519 key (PEM)")
    build.add_argument(
        "--stock", type=Path, metavar="DIRECTORY",
        help="of the cloud's own agent.zip, cloud-scripts.tgz and patch-sysvms.sh: also writes "
        "these with the bundles in them, their signature, and systemvm.iso",
    )  # fmt: skip
    return parser


def _install(options: argparse.Namespace) -> int:
    async def work(installer: Installer) -> Verdict:
        return await installer.install(
            options.bundle.absolute(),
            confirm_within_s=options.confirm_within,
            trusted_key=options.trusted_key,
        )

    return _report(_run(options, work), options)


def _undo(options: argparse.Namespace) -> int:
    return _report(_run(options, lambda installer: installer.undo()), options)


def _mend(options: argparse.Namespace) -> int:
    async def work(installer: Installer) -> Verdict | None:
        return await installer.mend(confirm_within_s=options.confirm_within)

    verdict: Verdict | None = _run(options, work)
    if verdict is not None:
        return _report(verdict, options)
    if options.json:
        _print_object({"result": "nothing"})
    else:
        print("nothing was cut off")
    return 0


def _place(options: argparse.Namespace) -> int:
    options.offline = True
    for path in _run(options, lambda installer: installer.place()):
        print(f"put back /{path}")
    return 0


def _run(options: argparse.Namespace, work: Callable[[Installer], Any]) -> Any:
    places = Places(options.root.absolute())

    def say(text: str) -> None:
        print(f"ssvm-payload: {text}", file=sys.stderr, flush=True)

    async def run() -> Any:
        pool = WorkPool("local disk", threads=1)
        try:
            services = Services(places, SystemRunner(), is_running=not options.offline)
            return await work(Installer(places, services, pool=pool, clock=SystemClock(), say=say))
        finally:
            pool.close()

    return asyncio.run(run())


def _report(verdict: Verdict, options: argparse.Namespace) -> int:
    if options.json:
        _print_object({"result": verdict.outcome, **_fields(verdict)})
    else:
        own = "the machine's own service"
        sentence = _SENTENCES[verdict.outcome]
        print(sentence.format(release=verdict.release or own, reason=verdict.reason))
    return _ROLLED_BACK if verdict.outcome is Outcome.ROLLED_BACK else 0


def _fields(verdict: Verdict) -> dict[str, Any]:
    fields = asdict(verdict)
    del fields["outcome"]
    return fields


def _status(options: argparse.Namespace) -> int:
    places = Places(options.root.absolute())
    record = journal.read(places.journal)
    current, previous = places.release("current"), places.release("previous")
    if options.json:
        last = asdict(record) if record else None
        _print_object({"current": current, "previous": previous, "last": last})
        return 0
    print(f"current   {current or 'none of ours'}")
    print(f"previous  {previous or 'none of ours'}")
    if record is not None:
        why = f": {record.reason}" if record.reason else ""
        print(f"last      {record.release} {record.stage} at {record.changed}{why}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    if options.trusted_key is not None:
        signature.verify(options.bundle, options.trusted_key)
    manifest = read_and_verify(options.bundle)
    print(
        f"{manifest.release_name} for {manifest.architecture}, Python {manifest.python}: complete"
    )
    return 0


def _build(options: argparse.Namespace) -> int:
    from ssvm_agent.payload import stock
    from ssvm_agent.payload.build import build

    if options.stock is not None:
        stock.check(options.stock, options.output)
    bundles = []
    for architecture in options.arch or ["x86_64", "aarch64"]:
        bundle = build(options.source, options.output, architecture, sign_with=options.sign_with)
        print(bundle)
        bundles.append(bundle)
    if options.stock is not None:
        for path in stock.add(options.stock, bundles, options.source, options.output):
            print(path)
    return 0


def _print_object(fields: dict[str, Any]) -> None:
    print(json.dumps({"schema": _SCHEMA, **fields}))


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 86400:
        raise argparse.ArgumentTypeError("write a number of seconds between 0 and 86400")
    return value
