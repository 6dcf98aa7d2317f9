# SPDX-License-Identifier: Apache-2.0
"""``get_diagnostics_files.py ITEM...``: a zip archive of files a management server wants.

An item is a path, or a word in brackets that stands for a program's output. The path of the archive
is printed; the server fetches it and has it removed (boot-and-system.md 5.2). Secrets that this
machine is known to hold are removed on the way, and what is named like one.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from ssvm_agent.config.load import Sources
from ssvm_agent.diag.bundle import known_secrets
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.gather import Origin, gather
from ssvm_agent.diag.scrub import Scrubber
from ssvm_agent.host.errors import HostError

# Compat: boot-and-system.md 5.2. The server looks for this name in this place.
_FOLDER: Final = Path("/root")
_NAME: Final = "diagnostics_files_{:%Y%m%d-%H%M%S}.zip"
_LIST: Final = "fileinfo.txt"
_PROGRAMS: Final = {
    "iptables": ("iptables-save",),
    "ipaddr": ("ip", "address", "show"),
    "iprule": ("ip", "rule", "show"),
    "iproute": ("ip", "route", "show", "table", "all"),
    "ifconfig": ("ip", "-statistics", "address", "show"),
    "route": ("ip", "route", "show"),
}
_PROGRAM_DEADLINE_S: Final = 10.0
# Cleaning takes some copies of a text in memory, and the agent's own log is rolled at 10 MB.
_LONGEST_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What became of an item.

    Attributes:
        item: As it was asked for.
        name: Its name in the archive.
        text: Its content, with secrets; None when there is none.
        problem: Why there is none, or not all of it.
    """

    item: str
    name: str = ""
    text: str | None = None
    problem: str = ""


async def make_archive(items: Iterable[str], facts: Facts, folder: Path = _FOLDER) -> Path:
    """Collect the items and write the archive, readable for its owner alone.

    Raises:
        OSError: The archive cannot be written; nothing is left of it.
    """
    found = [await _find(item, facts) for item in dict.fromkeys(items)]
    mounts = await facts.text("proc/self/mountinfo")
    secrets = await facts.local.call(known_secrets, facts, mounts)
    path = folder / _NAME.format(facts.clock.now())
    await facts.local.call(_write, path, found, Scrubber(secrets), facts.clock.now())
    return path


async def _find(item: str, facts: Facts) -> Found:
    if not item.startswith("["):
        return await facts.local.call(_read, item, facts.path(item))
    word = re.sub(r"\W", "", item).lower()
    if word not in _PROGRAMS:
        return Found(item=item, problem=f"known are {', '.join(_PROGRAMS)}")
    try:
        result = await facts.runner.run(
            _PROGRAMS[word],
            deadline_s=_PROGRAM_DEADLINE_S,
            check=False,
            max_output_bytes=_LONGEST_BYTES,
        )
    except HostError as error:
        return Found(item=item, problem=error.for_operators())
    text = _text(result.stderr if result.returncode else result.stdout)
    return Found(item=item, name=f"{word}.log", text=text)


def _read(item: str, path: Path) -> Found:
    if not path.is_file():
        # Nobody waits for a pipe to be written.
        return Found(item=item, problem="File Not Found!!")
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LONGEST_BYTES))
            text = _text(file.read(_LONGEST_BYTES))
    except OSError as error:
        return Found(item=item, problem=error.strerror or "cannot be read")
    if size <= _LONGEST_BYTES:
        return Found(item=item, name=path.name, text=text)
    # From the beginning of a line, so that no secret is cut where it would not be known.
    problem = f"the last {_LONGEST_BYTES >> 20} MiB of {size} bytes"
    return Found(item=item, name=path.name, text=text.partition("\n")[2], problem=problem)


def _write(path: Path, found: Sequence[Found], scrubber: Scrubber, now: datetime) -> None:
    used = {_LIST}
    lines = []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with (
            os.fdopen(descriptor, "wb") as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for one in found:
                name = _free_name(one.name, used)
                lines.append(f"{one.item}: {one.problem}" if one.problem else one.item)
                if one.text is not None:
                    _add(archive, name, scrubber.clean(one.text), now)
            _add(archive, _LIST, scrubber.clean("".join(f"{line}\n" for line in lines)), now)
    except BaseException:
        path.unlink()
        raise


def _add(archive: zipfile.ZipFile, name: str, text: str, now: datetime) -> None:
    entry = zipfile.ZipInfo(name, now.timetuple()[:6])
    entry.external_attr = 0o600 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, text.encode("utf-8", "surrogateescape"))


def _free_name(name: str, used: set[str]) -> str:
    """The name, numbered when another file of the same name is in the archive."""
    free, number = name, 1
    while free in used:
        number += 1
        free = f"{number}-{name}"
    used.add(free)
    return free


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


async def _run(items: Sequence[str]) -> Path:
    return await make_archive(items, await gather(Origin(sources=Sources())))


def main() -> int:
    """The script."""
    if len(sys.argv) == 1:
        sys.stderr.write("usage: get_diagnostics_files.py PATH-OR-[WORD]...\n")
        return 2
    try:
        path = asyncio.run(_run(sys.argv[1:]))
    except OSError as error:
        sys.stderr.write(f"get_diagnostics_files.py: no archive: {error}\n")
        return 1
    sys.stdout.write(f"{path}\n")
    return 0
