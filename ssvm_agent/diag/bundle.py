# SPDX-License-Identifier: Apache-2.0
"""One archive with what support needs, without secrets (``ssvm-agent diagnostics``).

Every item is bounded in time and size and cleaned of secrets before it is kept; what could not be
had is named in the manifest with the reason. The archive is readable for its owner alone.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ssvm_agent import __version__, javaproperties
from ssvm_agent.config.declare import leaves, value_at
from ssvm_agent.config.settings import Settings
from ssvm_agent.diag.bundle_items import Item, items
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.scrub import Scrubber, secrets_of, user_info
from ssvm_agent.errors import AgentError
from ssvm_agent.host.files import atomic_write
from ssvm_agent.masking import Secret, is_secret_name

MAX_ITEM_BYTES: Final = 1 << 20
_SIDE_BY_SIDE: Final = 4
_WRITE_DEADLINE_S: Final = 60.0
_MODE: Final = 0o600
# Files that hold nothing but a secret (boot-and-system.md 2.9).
_SECRET_FILES: Final = ("etc/cloudstack/agent/ms-psk",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """An item as it goes into the archive.

    Attributes:
        name: Its path there.
        data: Its content, clean; empty when there is none.
        is_cut: Whether it was longer.
        problem: Why there is none; empty when there is.
    """

    name: str
    data: bytes = b""
    is_cut: bool = False
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """The item's line in the manifest."""
        return {
            "name": self.name,
            "size_bytes": len(self.data),
            "cut": self.is_cut,
            "problem": self.problem,
        }


async def make_bundle(
    facts: Facts, output: Path, *, wanted: Sequence[Item] | None = None
) -> tuple[Collected, ...]:
    """Collect everything and write the archive.

    Args:
        facts: What all checks start from.
        output: The archive; replaced when it exists.
        wanted: Instead of all items.

    Returns:
        The items, in the order of the archive.

    Raises:
        OSError: The archive cannot be written.
    """
    scrubber = Scrubber(await _known_secrets(facts))
    gate = asyncio.Semaphore(_SIDE_BY_SIDE)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_collect(item, facts, scrubber, gate))
            for item in (items() if wanted is None else wanted)
        ]
    collected = tuple(task.result() for task in tasks)
    await facts.local.call(_write, output, collected, facts, deadline_s=_WRITE_DEADLINE_S)
    return collected


async def _known_secrets(facts: Facts) -> list[str]:
    mounts = await facts.text("proc/self/mountinfo")
    return await facts.local.call(known_secrets, facts, mounts)


def known_secrets(facts: Facts, mounts: str) -> list[str]:
    """Every secret this machine is known to hold (blocking: reads some files)."""
    properties = facts.path(facts.settings.agent_properties)
    return [
        *secrets_of(facts.boot.values),
        *secrets_of(_read_properties(properties)),
        *_of_settings(facts.settings),
        *_of_mounts(mounts),
        *(text for path in _SECRET_FILES if (text := _read(facts.path(path)).strip())),
    ]


async def _collect(
    item: Item, facts: Facts, scrubber: Scrubber, gate: asyncio.Semaphore
) -> Collected:
    async with gate:
        try:
            async with asyncio.timeout(item.deadline_s):
                text = await item.collect(facts)
        except TimeoutError:
            return Collected(name=item.name, problem=f"not had within {item.deadline_s:g} s")
        except (AgentError, OSError, ValueError) as error:
            reason = error.for_operators() if isinstance(error, AgentError) else str(error)
            return Collected(name=item.name, problem=scrubber.clean(reason))
        # Before cutting: a secret that straddles the end is removed as well.
        data = (await facts.local.call(scrubber.clean, text)).encode("utf-8", "replace")
    return Collected(name=item.name, data=data[:MAX_ITEM_BYTES], is_cut=len(data) > MAX_ITEM_BYTES)


def _write(output: Path, collected: Sequence[Collected], facts: Facts) -> None:
    folder = output.name.partition(".")[0] or "diagnostics"
    now_s = int(facts.clock.now().timestamp())
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        manifest = json.dumps(_manifest(collected, facts), indent=1).encode() + b"\n"
        files = {"manifest.json": manifest}
        files |= {one.name: one.data for one in collected if not one.problem}
        for name, data in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size, member.mtime, member.mode = len(data), now_s, _MODE
            tar.addfile(member, io.BytesIO(data))
    output.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(output, archive.getvalue(), mode=_MODE)


def _manifest(collected: Sequence[Collected], facts: Facts) -> dict[str, Any]:
    return {
        "schema": 1,
        "version": __version__,
        "machine": facts.settings.name,
        "time": facts.clock.now().isoformat(),
        "is_root": os.geteuid() == 0,
        "items": [one.to_json() for one in collected],
    }


def _of_settings(settings: Settings) -> Iterator[str]:
    for leaf in leaves(Settings):
        value = value_at(settings, leaf.path)
        if isinstance(value, Secret):
            yield value.reveal()
            yield from user_info(value.reveal())


def _of_mounts(mounts: str) -> Iterator[str]:
    """Passwords among mount options; ours use a credentials file, other mounts may not."""
    for option in mounts.replace("\n", ",").replace(" ", ",").split(","):
        name, equals, value = option.partition("=")
        if equals and is_secret_name(name):
            yield value


def _read_properties(path: Path) -> dict[str, str]:
    return javaproperties.parse(_read(path, "latin-1"))


def _read(path: Path, encoding: str = "utf-8") -> str:
    try:
        return path.read_text(encoding, "replace")
    except OSError:
        return ""
