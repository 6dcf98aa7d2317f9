# SPDX-License-Identifier: Apache-2.0
"""``ssvm-agent inspect``: would this image be accepted, and what is it?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssvm_agent.errors import AgentError

if TYPE_CHECKING:
    from ssvm_agent.images.report import ImageReport

_DESCRIPTION: Final = """\
Inspects an image file the way every image is inspected on its way into a store, without opening
anything the image names. Exit code 0: accepted, 1: refused, 2: the file cannot be read.
"""
_BLOCK_BYTES: Final = 1 << 20


class UnreadableFileError(AgentError):
    """The file cannot be read."""

    code = "unreadable-file"


def add(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser("inspect", help="check an image", description=_DESCRIPTION)
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument(
        "--format", metavar="FORMAT",
        help="the format it is registered with: QCOW2, RAW, VHD, VHDX, VMDK, VDI, OVA, ISO;"
        " without it any safe format is accepted",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="as a JSON object, for programs")
    parser.set_defaults(handle=handle)


def handle(options: argparse.Namespace) -> int:
    """Inspect and print."""
    from ssvm_agent.app.exits import ExitCode

    try:
        report = inspect_file(options.file, options.format)
    except UnreadableFileError as error:
        print(f"ssvm-agent: {error}", file=sys.stderr)
        return ExitCode.USAGE
    if options.json:
        print(json.dumps(as_object(report)))
    else:
        _print(report)
    return ExitCode.DONE if report.accepted else ExitCode.FAILED


def inspect_file(path: Path, declared: str | None) -> ImageReport:
    """The report of a file, read once from start to end (blocking).

    Raises:
        ImageError: There is no such format.
        UnreadableFileError: The file cannot be read.
    """
    from ssvm_agent.images.formats import ImageFormat
    from ssvm_agent.images.inspect_file import inspect_stream

    image_format = ImageFormat.from_name(declared) if declared else None
    try:
        with path.open("rb", buffering=0) as file:
            return inspect_stream(iter(lambda: file.read(_BLOCK_BYTES), b""), image_format)
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be read: {error.strerror}") from error


def as_object(report: ImageReport) -> dict[str, object]:
    """The report for programs."""
    return {
        "accepted": report.accepted,
        "detected": report.detected.value if report.detected else None,
        "virtual_size": report.virtual_size_bytes,
        "physical_size": report.physical_size_bytes,
        "reasons": list(report.reasons),
        "notes": list(report.notes),
    }


def _print(report: ImageReport) -> None:
    detected = report.detected.value if report.detected else "unknown"
    print(f"{'accepted' if report.accepted else 'refused'}: {detected}")
    print(f"virtual size   {report.virtual_size_bytes} bytes")
    print(f"physical size  {report.physical_size_bytes} bytes")
    for remark in (*report.reasons, *report.notes):
        print(f"- {remark}")
