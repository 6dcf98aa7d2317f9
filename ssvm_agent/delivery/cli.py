# SPDX-License-Identifier: Apache-2.0
"""The command ``ssvm-deliver``: parses and prints only."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ssvm_agent.delivery.keypair import KeyType, generate
from ssvm_agent.errors import AgentError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        print(generate(options.file, KeyType(options.type), comment=options.comment))
    except AgentError as error:
        print(f"ssvm-deliver: {error.for_operators()}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ssvm-deliver", description="Keys of system VMs.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    keys = commands.add_parser("keys", help="SSH keys").add_subparsers(
        required=True, metavar="COMMAND"
    )
    make = keys.add_parser("generate", help="make a key pair and print its public key")
    make.add_argument("file", type=Path, metavar="FILE", help="private key; FILE.pub is made too")
    kinds = [kind.value for kind in KeyType]
    make.add_argument("--type", choices=kinds, default="ecdsa", help="default: %(default)s")
    make.add_argument("--comment", default="cloud", help="default: %(default)s")
    return parser
