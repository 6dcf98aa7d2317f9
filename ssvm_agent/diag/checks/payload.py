# SPDX-License-Identifier: Apache-2.0
"""Did the payload arrive, was it unpacked, did the boot come to its end (5.3.2)?"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent.diag.check import Check, Need
from ssvm_agent.diag.facts import Facts, read_text
from ssvm_agent.diag.verdict import Verdict, error, ok, warning

_CACHE: Final = "var/cache/cloud"
# After unpacking the archive lies in the second place (boot-and-system.md 2.1).
_ARCHIVES: Final = (f"{_CACHE}/cloud-scripts.tgz", "usr/share/cloud/cloud-scripts.tgz")
_PATCH_LOGS: Final = ("var/log/patchsystemvm.log", "var/log/livepatchsystemvm.log")
_TAIL_LINES: Final = 20
_FAILURE: Final = re.compile(r"\b(?:fail(?:ed|ure)?|error|cannot|No space left)\b", re.IGNORECASE)
# The boot takes its time; before this much of it has passed nothing is missing yet.
_BOOT_TIME_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadFacts:
    """What is judged.

    Attributes:
        has_agent_dir: Whether the directory of the agent's configuration is there.
        archive: SHA-512 of the scripts' archive, hexadecimal; empty when there is none.
        signature: What was noted as the archive's SHA-512 when it was unpacked.
        is_boot_done: Whether the last step of the boot left its mark.
        up_s: How long the machine has been up; ``None`` when unknown.
        patch_complaints: Lines at the end of patch logs that tell of a failure.
        release: The text of the image's release file.
    """

    has_agent_dir: bool = True
    archive: str = ""
    signature: str = ""
    is_boot_done: bool = True
    up_s: float | None = None
    patch_complaints: tuple[str, ...] = ()
    release: str = ""


class PayloadCheck(Check):
    """The agent's files and the marks the boot leaves."""

    slug = "payload"
    title = "the payload arrived and was unpacked"
    needs = (Need.SYSTEM_VM,)

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        return judge(await facts.local.call(_look, facts))


def judge(facts: PayloadFacts) -> list[Verdict]:
    """The verdicts."""
    found = []
    if not facts.has_agent_dir:
        found.append(
            error(
                "The agent's directory is empty: the payload never arrived.",
                "ls /usr/local/cloud/systemvm/conf",
                "See /var/log/cloud.log for what was waited for. The management server sends the"
                " payload over SSH (port 3922): check that path, then destroy the system VM.",
            )
        )
    if facts.archive and facts.signature and facts.archive != facts.signature:
        found.append(
            warning(
                "The noted signature is not that of the scripts that are here.",
                "sha512sum /usr/share/cloud/cloud-scripts.tgz;"
                " cat /var/cache/cloud/cloud-scripts-signature",
                "The management server may take this machine for a version it is not. Patch the"
                " system VM from CloudStack (patchSystemVm, forced) or destroy it.",
            )
        )
    if not facts.is_boot_done and (facts.up_s is None or facts.up_s > _BOOT_TIME_S):
        found.append(
            warning(
                "The boot has not come to its end: boot_up_done is missing.",
                "ls /var/cache/cloud/boot_up_done; systemctl status cloud-postinit",
                "See journalctl -u cloud-preinit -u cloud-early-config -u cloud-postinit for the"
                " step that hangs or failed.",
            )
        )
    if facts.patch_complaints:
        found.append(
            warning(
                f"The last patch reports: {facts.patch_complaints[-1]}",
                "tail /var/log/patchsystemvm.log /var/log/livepatchsystemvm.log",
                "Patch the system VM again from CloudStack, or destroy it: a new one comes by"
                " itself.",
            )
        )
    return found or [ok(facts.release or "All files are in place.", "ls /var/cache/cloud")]


def complaints(log: str) -> tuple[str, ...]:
    """Lines at the end of a patch log that tell of a failure."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return tuple(line[:200] for line in lines[-_TAIL_LINES:] if _FAILURE.search(line))


def _look(facts: Facts) -> PayloadFacts:
    cache = facts.path(_CACHE)
    now = facts.clock.now().timestamp()
    logs = (complaints(read_text(facts.path(log))) for log in _PATCH_LOGS)
    return PayloadFacts(
        has_agent_dir=_has_content(facts.path(facts.settings.conf_dir)),
        archive=next((found for path in _ARCHIVES if (found := _digest(facts.path(path)))), ""),
        signature=read_text(cache / "cloud-scripts-signature").strip(),
        is_boot_done=(cache / "boot_up_done").exists(),
        up_s=now - facts.booted if facts.booted is not None else None,
        patch_complaints=tuple(line for log in logs for line in log),
        release=read_text(facts.path("etc/cloudstack-release")).strip()[:100],
    )


def _has_content(directory: Path) -> bool:
    try:
        return any(directory.iterdir())
    except OSError:
        return False


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha512").hexdigest()
    except OSError:
        return ""
