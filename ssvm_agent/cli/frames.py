# SPDX-License-Identifier: Apache-2.0
"""``ssvm-agent frames``: frames of the protocol between hex and JSON, line by line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

from ssvm_agent.errors import AgentError

_DECODE: Final = """\
Reads one frame a line in hex (header and body, without the chunk framing) from standard input and
writes one JSON object a line: the header fields and the parsed content. What cannot be read gives
an object with "error"; the exit code is 1 at the end then.
"""
_ENCODE: Final = """\
The inverse of decode: reads JSON objects, one a line, writes frames in hex. The flags are given as
"flags" or by name in "flag_names"; the content is compressed when it is long, as on the wire.
"""
# JSON name -> attribute of the header; the order is that of the output.
_FIELDS: Final = {
    "version": "version",
    "reserved": "reserved",
    "sequence": "sequence",
    "content_length": "content_length",
    "mgmt_id": "management_server_id",
    "agent_id": "agent_id",
    "via": "via",
}
_SHORT_VERSION_HEAD: Final = 32


class FrameTextError(AgentError):
    """A line cannot be turned into a frame, or a frame into a line."""

    code = "frame-text"


def add(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser("frames", help="translate protocol frames")
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    decode = actions.add_parser("decode", help="hex to JSON", description=_DECODE)
    decode.set_defaults(handle=lambda _options: _translate(sys.stdin, decode_line))
    encode = actions.add_parser("encode", help="JSON to hex", description=_ENCODE)
    encode.set_defaults(handle=lambda _options: _translate(sys.stdin, encode_line))


def _translate(lines: Iterable[str], translate: Callable[[str], str]) -> int:
    failed = False
    for line in lines:
        try:
            print(translate(line.strip()))
        except AgentError as error:
            failed = True
            print(json.dumps({"error": error.for_operators()}))
    return int(failed)


def decode_line(line: str) -> str:
    """One hex frame as a JSON object.

    Raises:
        AgentError: It is no hex, no frame, or its content is not a list of named objects.
    """
    from ssvm_agent.wire.frame import decode_frame

    try:
        data = bytes.fromhex(line)
    except ValueError:
        raise FrameTextError("The line is not hex.") from None
    frame = decode_frame(data)
    values: dict[str, Any] = {
        name: getattr(frame.header, attribute) for name, attribute in _FIELDS.items()
    }
    values["flags"] = frame.header.flags
    values["flag_names"] = frame.header.flag_names()
    values["content"] = _content(frame.content)
    return json.dumps(values)


def encode_line(line: str) -> str:
    """One JSON object as a hex frame.

    Raises:
        AgentError: It is no JSON object, or a field is missing or out of range.
    """
    import struct

    from ssvm_agent.messages.writing import json_text
    from ssvm_agent.wire.frame import Frame, encode_frame
    from ssvm_agent.wire.header import SHORT_VERSION, Header

    values = _object(line)
    try:
        header = Header(
            flags=_flags(values),
            sequence=_integer(values, "sequence"),
            management_server_id=_integer(values, "mgmt_id", -1),
            agent_id=_integer(values, "agent_id", -1),
            via=_integer(values, "via", -1),
        )
        content = json_text(_checked(values.get("content")))
        data = encode_frame(Frame(header=header, content=content))
        start = struct.pack(">Bb", _integer(values, "version", 0), _integer(values, "reserved", 0))
    except (struct.error, OverflowError) as error:
        raise FrameTextError("A number does not fit its field.", detail=str(error)) from None
    if start[0] == SHORT_VERSION:
        return (start + data[2:_SHORT_VERSION_HEAD] + data[40:]).hex()
    return (start + data[2:]).hex()


def _content(content: bytes) -> Any:
    try:
        return _checked(json.loads(content.decode("utf-8")))
    except (ValueError, RecursionError):
        raise FrameTextError("The content is not JSON.") from None


def _checked(content: Any) -> Any:
    """The content, when it is a list of objects that name their class (wire-protocol.md 3)."""
    if not isinstance(content, list) or not all(isinstance(one, dict) and one for one in content):
        raise FrameTextError("The content is not a list of objects with a class name.")
    return content


def _object(line: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise FrameTextError("The line is not a JSON object.")
    return values


def _integer(values: dict[str, Any], name: str, default: int | None = None) -> int:
    value = values.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise FrameTextError(f"The field {name} must be a whole number.")
    return value


def _flags(values: dict[str, Any]) -> int:
    from ssvm_agent.wire.header import Flag

    if "flags" in values:
        return _integer(values, "flags")
    known = {str(flag.name).lower(): flag for flag in Flag}
    names = values.get("flag_names")
    if not isinstance(names, list) or not all(name in known for name in names):
        raise FrameTextError("Give flags as a number, or flag_names from " + ", ".join(known))
    return int(sum(known[name] for name in set(names)))
