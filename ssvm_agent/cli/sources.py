# SPDX-License-Identifier: Apache-2.0
"""The options that say where settings come from, shared by ``run`` and ``config show``."""

from __future__ import annotations

import argparse
import socket
from pathlib import Path

from ssvm_agent.config.load import DEFAULT_BOOT_TEXT, DEFAULT_YAML, Sources
from ssvm_agent.errors import ConfigError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    group = parser.add_argument_group("where settings come from")
    group.add_argument(
        "--config", type=Path, metavar="FILE",
        help=f"the operator's settings instead of {DEFAULT_YAML}",
    )  # fmt: skip
    group.add_argument(
        "--boot-text", type=Path, default=DEFAULT_BOOT_TEXT, metavar="FILE",
        help="the boot text (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--agent-properties", type=Path, metavar="FILE",
        help="default: agent.properties in conf_dir",
    )  # fmt: skip
    group.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="one setting by its dotted name, above all files; may be repeated",
    )  # fmt: skip
    group.add_argument(
        "words", nargs="*", metavar="WORD",
        help="more key=value words of the boot text, as the stock start script passes them",
    )  # fmt: skip


def sources(options: argparse.Namespace) -> Sources:
    """The sources these options name.

    Raises:
        ConfigError: A ``--set`` without ``=``.
    """
    overrides: dict[str, str] = {}
    for word in options.overrides:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"--set {word}: write KEY=VALUE")
        overrides[key.strip()] = value
    return Sources(
        boot_text=options.boot_text,
        boot_words=tuple(options.words),
        agent_properties=options.agent_properties,
        yaml=options.config,
        overrides=overrides,
        host_name=socket.gethostname(),
    )
