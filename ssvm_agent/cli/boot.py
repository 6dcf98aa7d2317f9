# SPDX-License-Identifier: Apache-2.0
"""``ssvm-agent boot``: look at the boot text, the machine it declares, and make it so."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ssvm_agent.app.exits import ExitCode

if TYPE_CHECKING:
    from ssvm_agent.appliance.boot.obtain import Obtain, Obtained

_SHOW: Final = """\
Prints the settings of a boot text with secrets masked, what is missing and what is odd. Without
FILE the channels of this platform are asked; what was tried is said when nothing comes.
"""
_PLAN: Final = """\
Prints the machine a boot text declares: files, routes, packet filter, services. Changes nothing.
"""
_APPLY: Final = """\
Makes the machine what the boot text declares: compares, changes what differs, and reports each
item. Twice changes nothing. When the management servers could be reached before and cannot be any
more, the network is put back as it was. Without FILE the text of this boot is looked for, and
written to /var/cache/cloud/cmdline. Exit code 1 when the machine is not as declared.
"""
# The values of Hypervisor; that module is loaded only when a subcommand of this one runs.
HYPERVISORS: Final = (
    "kvm", "xen-pv", "xen-hvm", "vmware", "hyperv", "ovm3", "lxc", "virtualbox",
)  # fmt: skip
PHASES: Final = ("early", "config", "post", "all")


def add(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser("boot", help="the boot text and the machine it declares")
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    show = actions.add_parser("show", help="the settings of a boot text", description=_SHOW)
    plan = actions.add_parser("plan", help="the machine it declares", description=_PLAN)
    apply = actions.add_parser("apply", help="make it so", description=_APPLY)
    handlers: tuple[tuple[argparse.ArgumentParser, Callable[[argparse.Namespace], int]], ...] = (
        (show, show_text), (plan, show_plan), (apply, apply_plan),
    )  # fmt: skip
    for action, handle in handlers:
        action.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the boot text")
        action.add_argument("--json", action="store_true", help="as a JSON object, for programs")
        action.add_argument(
            "--hypervisor", choices=HYPERVISORS, metavar="H",
            help=f"instead of the one found: {', '.join(HYPERVISORS)}",
        )  # fmt: skip
        action.add_argument(
            "--wait", type=float, default=60.0, metavar="SECONDS",
            help="how long a text may take to come (default: %(default)g)",
        )  # fmt: skip
        action.set_defaults(handle=handle)
    apply.add_argument(
        "--root", type=_resolved, default=Path("/"), metavar="DIR",
        help="write the files below DIR; the running machine is left alone",
    )  # fmt: skip
    apply.add_argument(
        "--live", action="store_true",
        help="with --root: change the running network of this namespace all the same",
    )  # fmt: skip
    apply.add_argument(
        "--phase", choices=PHASES, default="all",
        help="one part of the boot only (default: %(default)s)",
    )  # fmt: skip
    apply.add_argument("--dry-run", action="store_true", help="compare only")


def _resolved(text: str) -> Path:
    return Path(text).resolve()


def show_text(options: argparse.Namespace) -> int:
    """``boot show``."""
    from ssvm_agent import bootargs
    from ssvm_agent.appliance.plan import keys
    from ssvm_agent.appliance.plan.build import build_plan

    obtained = asyncio.run(_obtain(options, keep=False))
    boot = bootargs.parse(obtained.found.text)
    plan = build_plan(boot, obtained.hypervisor)
    report: dict[str, Any] = {
        "source": {
            "channel": obtained.found.channel,
            "is_old": obtained.found.is_old,
            "tried": list(obtained.found.tried),
            "hypervisor": obtained.hypervisor.value,
            "hypervisor_reason": obtained.reason,
        },
        "settings": keys.shown(boot),
        "missing": keys.missing(boot),
        "odd": [*obtained.oddities, *plan.oddities],
        "unknown": list(keys.unknown(boot)),
    }
    if options.json:
        print(json.dumps(report, indent=1))
    else:
        _print_text(report)
    return ExitCode.DONE


def show_plan(options: argparse.Namespace) -> int:
    """``boot plan``."""
    from ssvm_agent import bootargs
    from ssvm_agent.appliance.plan.build import build_plan
    from ssvm_agent.appliance.plan.texts import listing

    obtained = asyncio.run(_obtain(options, keep=False))
    plan = build_plan(bootargs.parse(obtained.found.text), obtained.hypervisor)
    shown = listing(plan)
    if options.json:
        print(json.dumps(shown, indent=1))
    else:
        _print_plan(shown)
    return ExitCode.DONE


def apply_plan(options: argparse.Namespace) -> int:
    """``boot apply``."""
    report = asyncio.run(_apply(options))
    if options.json:
        print(json.dumps(report, indent=1))
    else:
        _print_report(report)
    return ExitCode.DONE if report["as_wanted"] else ExitCode.FAILED


async def _apply(options: argparse.Namespace) -> dict[str, Any]:
    from ssvm_agent import bootargs
    from ssvm_agent.appliance.apply.machine import Apply
    from ssvm_agent.appliance.apply.netlink import Netlink
    from ssvm_agent.appliance.apply.request import Phase, Request, Tools
    from ssvm_agent.appliance.boot.search import BootIdentity
    from ssvm_agent.appliance.plan.build import build_plan

    is_ours = options.root == Path("/")
    obtained = await _obtain(options, keep=is_ours and not options.dry_run)
    boot = bootargs.parse(obtained.found.text)
    request = Request(
        boot=boot,
        plan=build_plan(boot, obtained.hypervisor),
        phase=Phase(options.phase),
        dry_run=options.dry_run,
        oddities=obtained.oddities,
    )
    source = _source(options)
    tools = Tools(
        root=options.root,
        runner=source.runner,
        pool=source.pool,
        clock=source.clock,
        identity=await source.pool.call(BootIdentity.read),
        network=Netlink() if is_ours or options.live else None,
    )
    try:
        return (await Apply(request, tools).run()).listing()
    finally:
        source.pool.close()


async def _obtain(options: argparse.Namespace, *, keep: bool) -> Obtained:
    source = _source(options)
    try:
        if options.file is not None:
            return await source.from_file(options.file)
        if keep:
            await _start_guest_tools(source)
        return await source.from_channels(keep=keep)
    finally:
        source.pool.close()


async def _start_guest_tools(source: Obtain) -> None:
    """Some platforms bring no text without them; what fails shows as a text that never comes."""
    from ssvm_agent.appliance.apply.services import bring_up, guest_tools

    hypervisor, _ = await source.platform()
    if hypervisor is not None:
        names = await source.pool.call(guest_tools, hypervisor)
        await bring_up(names, source.runner, dry_run=False)


def _source(options: argparse.Namespace) -> Obtain:
    from ssvm_agent.appliance.boot.obtain import Obtain
    from ssvm_agent.appliance.plan.model import Hypervisor
    from ssvm_agent.host.clock import SystemClock
    from ssvm_agent.host.pools import WorkPool
    from ssvm_agent.host.run import SystemRunner

    return Obtain(
        root=Path("/"),
        runner=SystemRunner(),
        pool=WorkPool("machine", threads=2),
        clock=SystemClock(),
        hypervisor=Hypervisor(options.hypervisor) if options.hypervisor else None,
        wait_s=options.wait,
    )


def _print_text(report: Mapping[str, Any]) -> None:
    source = report["source"]
    print(f"# from {source['channel']}; {source['hypervisor']}: {source['hypervisor_reason']}")
    for line in source["tried"]:
        print(f"# asked before: {line}")
    width = max((len(key) for key in report["settings"]), default=0)
    for key, value in report["settings"].items():
        print(f"{key:{width}}  {value}".rstrip())
    for key, cost in report["missing"].items():
        print(f"missing: {key}: {cost}")
    for sentence in report["odd"]:
        print(f"odd: {sentence}")
    for key in report["unknown"]:
        print(f"unknown: {key}")


def _print_plan(shown: Mapping[str, Any]) -> None:
    for key, value in shown.items():
        print(f"[{key}]")
        for line in _lines(value):
            print(line)
        print()


def _lines(value: object) -> list[str]:
    if isinstance(value, str):
        return value.splitlines()
    if isinstance(value, Mapping):
        return [f"{key}: {' '.join(words)}" for key, words in value.items()]
    assert isinstance(value, list)
    return [
        f"{one['destination']} via {one['via']} dev {one['dev']}"
        if isinstance(one, Mapping) else str(one)
        for one in value
    ]  # fmt: skip


def _print_report(report: Mapping[str, Any]) -> None:
    for item in report["items"]:
        reason = f": {item['reason']}" if item["reason"] else ""
        print(f"{item['status']:12}  {item['name']}{reason}")
    for sentence in report["oddities"]:
        print(f"odd: {sentence}")
    if report["management"]:
        print(report["management"])
    if report["rolled_back"]:
        print(f"the network was put back as it was: {report['rolled_back']}")
    verb = "would change" if report["dry_run"] else "changed"
    print(f"{report['changed']} {verb}; phase {report['phase']}, plan {report['plan_sha256'][:12]}")
