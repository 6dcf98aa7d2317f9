# SPDX-License-Identifier: Apache-2.0
"""The command line of ``ssvm-deliver``."""

from __future__ import annotations

import argparse
import os
from enum import IntEnum
from pathlib import Path
from typing import Final

from ssvm_agent.delivery.errors import UsageError
from ssvm_agent.delivery.keypair import KeyType
from ssvm_agent.delivery.targets import SSH_PORT, Address, parse_address, parse_fingerprint

_AT_A_TIME: Final = 8
_MOST_AT_A_TIME: Final = 64


class Exit(IntEnum):
    """Exit codes; the parser's help says what they mean."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    ROLLED_BACK = 3
    UNFINISHED = 4


def state_directory() -> Path:
    """Where host keys and states of runs are kept unless options say otherwise."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "ssvm-deliver"


def build_parser() -> argparse.ArgumentParser:
    """The parser; ``options.job`` says what is wanted."""
    parser = argparse.ArgumentParser(
        prog="ssvm-deliver",
        description="Keys and the agent, brought to running system VMs over SSH.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 rolled back, 4 unfinished.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    keys = commands.add_parser("keys", help="SSH keys of system VMs").add_subparsers(
        required=True, metavar="COMMAND"
    )
    _add_generate(keys.add_parser("generate", help="make a key pair and print its public key"))
    _add_rotate(keys.add_parser("rotate", help="exchange the key on running system VMs"))
    _add_inject(keys.add_parser("inject", help="allow one more key on running system VMs"))
    _add_install(commands.add_parser("install", help="install a bundle of the agent"))
    _add_one(commands.add_parser("status", help="what is installed"), "status")
    undo = commands.add_parser("undo", help="back to what ran before the last installation")
    _add_one(undo, "undo")
    undo.add_argument("--dry-run", action="store_true", help="only say what would happen")
    return parser


def _add_generate(make: argparse.ArgumentParser) -> None:
    make.set_defaults(job="generate")
    make.add_argument("file", type=Path, metavar="FILE", help="private key; FILE.pub is made too")
    kinds = [kind.value for kind in KeyType]
    make.add_argument("--type", choices=kinds, default="ecdsa", help="default: %(default)s")
    make.add_argument("--comment", default="cloud", help="default: %(default)s")


def _add_rotate(rotate: argparse.ArgumentParser) -> None:
    rotate.set_defaults(job="rotate")
    rotate.add_argument("--old-key", type=Path, required=True, metavar="FILE", help="key that goes")
    rotate.add_argument(
        "--new-key", type=Path, required=True, metavar="FILE", help="key that comes"
    )
    _add_targets(rotate)
    rotate.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="where to note what is done; default: named after the keys, in "
        "~/.local/state/ssvm-deliver",
    )
    rotate.add_argument(
        "--resume", type=Path, metavar="STATE", help="go on with an interrupted run"
    )


def _add_inject(inject: argparse.ArgumentParser) -> None:
    inject.set_defaults(job="inject")
    inject.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="key to log in with"
    )
    inject.add_argument(
        "--add-key",
        type=Path,
        required=True,
        metavar="FILE",
        help="key to add: FILE.pub, or a private key, which is then tried too",
    )
    _add_targets(inject)


def _add_install(install: argparse.ArgumentParser) -> None:
    _add_one(install, "install")
    install.add_argument("bundle", type=Path, metavar="BUNDLE", help="ssvm-agent-….tar.gz")
    install.add_argument(
        "--trusted-key",
        type=Path,
        metavar="FILE",
        help="public key (ed25519, PEM) that must have signed the bundle",
    )
    install.add_argument(
        "--confirm-within",
        type=_positive,
        default=180,
        metavar="SECONDS",
        help="roll back when the agent has not reached a management server; default: %(default)s",
    )
    install.add_argument(
        "--keep-staging", action="store_true", help="leave the unpacked bundle in the system VM"
    )
    install.add_argument("--dry-run", action="store_true", help="only say what would happen")


def _add_one(parser: argparse.ArgumentParser, job: str) -> None:
    """Options of commands for one system VM."""
    parser.set_defaults(job=job)
    parser.add_argument("--host", required=True, help="[user@]address[:port] of the system VM")
    parser.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="key to log in with"
    )
    _add_way(parser)


def _add_targets(parser: argparse.ArgumentParser) -> None:
    """Options of commands for many system VMs."""
    parser.add_argument(
        "hosts", nargs="*", metavar="HOST", help="[user@]address[:port]; port 3922 by default"
    )
    parser.add_argument(
        "--targets",
        type=Path,
        metavar="FILE",
        help="one HOST a line, with jump=USER@HOST[:PORT] and host-key=SHA256:… where needed",
    )
    parser.add_argument(
        "--parallel",
        type=_bounded,
        default=_AT_A_TIME,
        metavar="N",
        help=f"so many at a time, at most {_MOST_AT_A_TIME}; default: %(default)s",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would happen")
    _add_way(parser)


def _add_way(parser: argparse.ArgumentParser) -> None:
    """Options about the connection, and about the form of the answer."""
    parser.add_argument("--jump", type=_jump, metavar="USER@HOST[:PORT]", help="go through it")
    parser.add_argument("--jump-key", type=Path, metavar="FILE", help="key for jump hosts")
    for option, whose in (("--host-key", "the system VM"), ("--jump-host-key", "the jump host")):
        parser.add_argument(
            option,
            type=_fingerprint,
            metavar="SHA256:…",
            help=f"fingerprint {whose} must show; it is then recorded, also over another one",
        )
    parser.add_argument(
        "--trust-new-host-key",
        action="store_true",
        help="record what hosts show that are not known yet",
    )
    parser.add_argument(
        "--known-hosts",
        type=Path,
        metavar="FILE",
        help="record of host keys; default: known_hosts in ~/.local/state/ssvm-deliver",
    )
    parser.add_argument(
        "--connect-timeout",
        type=_positive,
        default=10,
        metavar="SECONDS",
        help="default: %(default)s",
    )
    parser.add_argument("--json", action="store_true", help="the result as JSON")


def _jump(text: str) -> Address:
    try:
        return parse_address(text, port=SSH_PORT)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _fingerprint(text: str) -> str:
    try:
        return parse_fingerprint(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return int(text)


def _bounded(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _MOST_AT_A_TIME:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number up to {_MOST_AT_A_TIME}")
    return int(text)
