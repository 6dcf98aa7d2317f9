# SPDX-License-Identifier: Apache-2.0
"""``install``, ``status`` and ``undo``: from parsed options to the jobs, and to an exit code."""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

from ssvm_agent.delivery import payload_jobs
from ssvm_agent.delivery.bundle import read_bundle
from ssvm_agent.delivery.commands import door_of
from ssvm_agent.delivery.console import Console
from ssvm_agent.delivery.detached import Ended
from ssvm_agent.delivery.errors import UsageError
from ssvm_agent.delivery.fleet import Stop
from ssvm_agent.delivery.keyfile import load_private
from ssvm_agent.delivery.options import Exit
from ssvm_agent.delivery.payload_jobs import Place
from ssvm_agent.delivery.targets import parse_target
from ssvm_agent.host.clock import SystemClock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.masking import mask_text

_SAID: Final = {
    Exit.DONE: "done",
    Exit.FAILED: "failed; everything is as it was",
    Exit.ROLLED_BACK: "rolled back: the agent did not reach a management server in time",
}


async def install(options: argparse.Namespace, console: Console, stop: Stop) -> int:
    """``install``."""
    disk = WorkPool("local disk", threads=1)
    bundle = await disk.call(
        read_bundle, options.bundle, trusted_key=options.trusted_key, deadline_s=600.0
    )
    place = await disk.call(_place, options, console, stop)
    facts = {"version": bundle.version, "sha256": bundle.sha256, "dry_run": options.dry_run}
    if options.dry_run:
        return _planned(console, place, facts, await payload_jobs.plan(place, bundle))
    ended = await payload_jobs.install(
        place,
        bundle,
        confirm_within_s=options.confirm_within,
        keep_staging=options.keep_staging,
    )
    return _verdict(console, place, ended, facts)


async def undo(options: argparse.Namespace, console: Console, stop: Stop) -> int:
    """``undo``."""
    place = await WorkPool("local disk", threads=1).call(_place, options, console, stop)
    facts = {"dry_run": options.dry_run}
    if options.dry_run:
        report = await payload_jobs.status(place)
        now = report["installed"]
        message = f"would take {now} out of use" if now else "nothing of ours is installed"
        return _planned(console, place, facts, message)
    return _verdict(console, place, await payload_jobs.undo(place), facts)


async def status(options: argparse.Namespace, console: Console, stop: Stop) -> int:
    """``status``."""
    place = await WorkPool("local disk", threads=1).call(_place, options, console, stop)
    report = await payload_jobs.status(place)
    code = Exit.FAILED if "problem" in report else Exit.DONE
    if options.json:
        console.object({"target": place.target.name, **report, "exit_code": code})
        return code
    installed = report["installed"] or "nothing of ours: the stock agent"
    console.line(f"{place.target.name}: {installed}")
    if report["installing"]:
        console.line("an installation or undo is running")
    for name, value in (report["payload"] or {}).items():
        console.line(f"  {name}: {value if isinstance(value, str) else json.dumps(value)}")
    if "problem" in report:
        console.note(f"its payload does not answer: {report['problem']}")
    return code


def _place(options: argparse.Namespace, console: Console, stop: Stop) -> Place:
    if options.jump and not options.jump_key:
        raise UsageError("--jump needs --jump-key")
    return Place(
        target=parse_target(options.host, jump=options.jump, host_key=options.host_key),
        key=load_private(options.key),
        door=door_of(options),
        clock=SystemClock(),
        stop=stop,
        note=console.note,
        progress=console.progress,
    )


def _planned(console: Console, place: Place, facts: dict[str, Any], message: str) -> int:
    console.line(f"{place.target.name}: {message}")
    if console.as_json:
        done = {"target": place.target.name, **facts, "message": message, "exit_code": Exit.DONE}
        console.object(done)
    return Exit.DONE


def _verdict(console: Console, place: Place, ended: Ended, facts: dict[str, Any]) -> int:
    """Hand on what the program in the system VM said."""
    code = Exit(ended.code) if ended.code in _SAID else Exit.FAILED
    said = payload_jobs.as_object(ended.output)
    errors = mask_text(ended.errors.decode("utf-8", "replace").strip())
    for line in errors.splitlines()[-20:]:
        console.note(f"  {line}")
    message = _SAID[code] if ended.code in _SAID else f"failed with exit code {ended.code}"
    console.line(f"{place.target.name}: {message}")
    for name, value in (said or {}).items():
        console.line(f"  {name}: {value if isinstance(value, str) else json.dumps(value)}")
    if console.as_json:
        console.object(
            {
                "target": place.target.name,
                **facts,
                "message": message,
                "installer": said,
                "exit_code": code,
            }
        )
    return code
