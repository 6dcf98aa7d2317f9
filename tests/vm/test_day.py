# SPDX-License-Identifier: Apache-2.0
"""A day's work of a system VM: everything a cloud asks of it, on real NFS mounts, in a real guest.

The scenarios build on each other, in the order they stand here; at the end the stores hold exactly
what they must.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from ssvm_agent.payload import stock
from ssvm_agent.payload.build import build
from ssvm_agent.simulator import commands
from ssvm_agent.simulator.model import HostStatus
from ssvm_agent.simulator.public_side import PublicSide
from ssvm_agent.simulator.server import ManagementServer
from ssvm_agent.simulator.zone import Zone
from tests.fakes.stock_payload import stock_payload
from tests.fixtures.bundles import other_than
from tests.vm.lab.curl import curl
from tests.vm.lab.guest import Guest
from tests.vm.lab.marks import scenarios
from tests.vm.lab.network import GUESTS, add_address
from tests.vm.lab.objects import copy, delete, transfer_object
from tests.vm.lab.report import Scenario
from tests.vm.lab.steps import eventually
from tests.vm.lab.uploads import Upload
from tests.vm.lab.world import PORT, TIMING, World

pytestmark = scenarios(timeout_s=1200)

_REPOSITORY: Final = Path(__file__).parents[2]


async def test_the_guest_goes_up_with_both_stores(
    lab: World, guest: Guest, scenario: Scenario
) -> None:
    host = lab.server.host()
    assert host.name == "s-1-VM"
    assert host.startup["publicIpAddress"] == lab.networks.public.address(GUESTS[0])
    await lab.up()
    mounts = await lab.shell.must("grep SecStorage /proc/mounts")
    scenario.note(mounts)
    assert "vers=3," in mounts
    assert "vers=4.2," in mounts
    assert all(store.parent for store in lab.zone.stores)
    uptime = await lab.shell.must(
        "systemctl show -p ActiveEnterTimestampMonotonic --value cloud.service"
    )
    scenario.measured["kernel to ready s"] = round(int(uptime) / 1e6, 1)
    scenario.measured["RSS MiB"] = await resident_mib(lab)
    failed = await lab.shell.must("systemctl --failed --no-legend --plain")
    assert not re.findall(r"cloud[\w-]*\.service", failed), failed
    assert lab.server.violations == []


async def resident_mib(lab: World) -> float:
    text = await lab.shell.must(
        "grep VmRSS /proc/$(systemctl show -p MainPID --value cloud.service)/status"
    )
    return round(int(text.split()[1]) / 1024, 1)


async def test_images_of_every_kind_are_downloaded(
    lab: World, guest: Guest, scenario: Scenario
) -> None:
    catalogue = lab.images
    for name, image, more in (
        ("template", catalogue.template(), {"image_id": 201}),
        ("iso", catalogue.iso(), {"image_id": 202}),
        ("second", catalogue.qcow2(), {"image_id": 203, "store": 1}),
        ("volume", catalogue.raw(), {"image_id": 31, "kind": "VOLUME"}),
    ):
        fields = await lab.bring_in(name, image, **more)
        scenario.note(f"{name} at {fields['installPath']}")
    first, second = await lab.listed(0), await lab.listed(1)
    assert set(first) == {"template", "iso"}
    assert set(second) == {"second"}
    assert set(await lab.listed(0, "VOLUME")) == {"31"}
    assert lab.server.violations == []


async def test_an_appliance_is_downloaded(lab: World, guest: Guest, scenario: Scenario) -> None:
    image = lab.images.ova()
    fields = await lab.bring_in("appliance", image, image_id=204)
    place = lab.path(0, fields["installPath"]).parent
    for member in ("appliance.ovf", "appliance-disk1.vmdk"):
        if (place / member).exists():
            lab.expect(0, str((place / member).relative_to(lab.stores[0].directory)),
                       lab.images.root / member)  # fmt: skip
    scenario.note(", ".join(sorted(path.name for path in place.iterdir())))
    assert "appliance" in await lab.listed(0)


async def test_statistics_tell_the_size_of_the_store(
    lab: World, guest: Guest, scenario: Scenario
) -> None:
    answer = await lab.ask(commands.storage_stats(lab.store(0)))
    total = shutil.disk_usage(lab.stores[0].directory).total
    assert abs(answer.fields["capacity"] - total) < total * 0.02
    assert 0 < answer.fields["used"] <= total


async def test_a_browser_uploads_an_image(lab: World, guest: Guest, scenario: Scenario) -> None:
    """Through Apache's port 80 or 443, with the three headers a signed form carries."""
    content = lab.images.qcow2().path
    upload = Upload.of(lab, 220)
    assert await upload.send(content) == 0
    path = await upload.installed()
    assert path is not None
    lab.expect(0, path, content)


async def test_a_download_is_as_fast_as_wget(lab: World, guest: Guest, scenario: Scenario) -> None:
    """Both write the same file from the same site to the same mount; ours is checked besides."""
    image, size_mib = lab.images.large(64), 64
    began = time.monotonic()
    fields = await lab.bring_in("fast", image, image_id=230, deadline_s=300)
    ours = time.monotonic() - began
    target = f"/mnt/SecStorage/{lab.store(0).parent}/wget.tmp"
    began = time.monotonic()
    await lab.shell.must(f"wget -q -O {target} {lab.site.url(image.path)} && sync {target}", 300)
    theirs = time.monotonic() - began
    await lab.shell.must(f"rm {target}")
    scenario.measured["agent MiB/s"] = round(size_mib / ours, 1)
    scenario.measured["wget MiB/s"] = round(size_mib / theirs, 1)
    path = fields["installPath"]
    await lab.ask(delete(transfer_object(lab, "Template", 0, path, id=230, name="fast")))
    lab.gone(0, path)
    del lab.zone.downloads[230]


async def test_a_link_is_fetched_from_the_public_side(
    lab: World, guest: Guest, scenario: Scenario
) -> None:
    path = next(path for path in lab.expected[0] if path.endswith(".qcow2"))
    side = PublicSide(lab.server)
    url = (await side.create_link(name="mine", path=path, store=lab.store(0))).url
    assert await curl(url) == lab.images.qcow2().path.read_bytes()
    assert len(await curl("-r", "1000-1999", url)) == 1000
    await side.delete_link(url)
    with pytest.raises(AssertionError):
        await curl(url)


async def test_a_snapshot_becomes_a_template(lab: World, guest: Guest, scenario: Scenario) -> None:
    path = "snapshots/2/44/snap-44"
    place = lab.path(0, path)
    place.parent.mkdir(parents=True)
    place.write_bytes(lab.images.qcow2().path.read_bytes())
    lab.expect(0, path, lab.images.qcow2().path)
    answer = await lab.ask(
        copy(
            transfer_object(lab, "Snapshot", 0, path, id=44, hypervisorType="KVM",
                            volume={"id": 44, "format": "QCOW2"}),
            transfer_object(lab, "Template", 0, "template/tmpl/2/210", id=210, name="210-2-snap"),
        )
    )  # fmt: skip
    (data,) = answer.fields["newData"].values()
    lab.expect(0, data["path"], lab.images.qcow2().path)
    await lab.ask(delete(transfer_object(lab, "Snapshot", 0, path, id=44)))
    lab.gone(0, path)


async def test_a_template_moves_to_the_other_store(
    lab: World, guest: Guest, scenario: Scenario
) -> None:
    path = next(path for path in lab.expected[0] if "/210/" in path)
    answer = await lab.ask(
        copy(
            transfer_object(lab, "Template", 0, path, id=210, name="210-2-snap"),
            transfer_object(lab, "Template", 1, "template/tmpl/2/210", id=210, name="210-2-snap"),
        )
    )
    (data,) = answer.fields["newData"].values()
    lab.expect(1, data["path"], lab.images.qcow2().path)
    await lab.ask(delete(transfer_object(lab, "Template", 0, path, id=210, name="210-2-snap")))
    lab.gone(0, path)


async def test_what_is_deleted_is_gone(lab: World, guest: Guest, scenario: Scenario) -> None:
    path = next(path for path in lab.expected[0] if path.endswith(".iso"))
    await lab.ask(delete(transfer_object(lab, "Template", 0, path, id=202, name="iso")))
    lab.gone(0, path)
    volume = next(path for path in lab.expected[0] if path.startswith("volumes/"))
    await lab.ask(delete(transfer_object(lab, "Volume", 0, volume, id=31, name="volume")))
    lab.gone(0, volume)
    del lab.zone.downloads[202], lab.zone.downloads[31]


async def test_a_certificate_comes_over_ssh(lab: World, guest: Guest, scenario: Scenario) -> None:
    """The first one; the script stops and starts ``cloud`` in the middle."""
    addresses = [one.address(GUESTS[0]) for one in (lab.networks.management, lab.networks.public)]
    issued = lab.authority.issue("s-1-VM", addresses)
    conf = "/usr/local/cloud/systemvm/conf"

    def flat(text: str) -> str:
        return shlex.quote(text.replace("\n", "^").replace(" ", "~"))

    connections = lab.server.connections_accepted
    await lab.shell.must(
        f"/opt/cloud/bin/keystore-cert-import {conf}/agent.properties passphrase {conf}/cloud.jks "
        f"ssh {conf}/cloud.crt {flat(issued.certificate)} {conf}/cloud.ca.crt "
        f"{flat(lab.authority.certificate)} {conf}/cloud.key {flat(issued.private_key)}",
        240,
    )
    with scenario.healing("the link with the first certificate"):
        await lab.server.wait_until(lambda: lab.server.connections_accepted > connections, 120)
        await lab.up()
    names = lab.server.session().link.peer_names
    assert names is not None
    assert addresses[0] in names


async def test_a_certificate_is_renewed_on_the_link(
    lab: World, guest: Guest, scenario: Scenario
) -> None:
    answer = await lab.server.provision_certificate(reconnect=True)
    assert answer.result, answer.details
    with scenario.healing("the link with the new certificate"):
        connections = lab.server.connections_accepted
        await lab.server.wait_until(lambda: lab.server.connections_accepted > connections, 60)
        await lab.up()
    names = lab.server.session().link.peer_names
    assert names is not None
    assert lab.networks.management.address(GUESTS[0]) in names


async def test_the_service_is_stopped_and_started(
    lab: World, guest: Guest, scenario: Scenario
) -> None:
    """As provisioning certificates over SSH does."""
    await lab.shell.must("systemctl stop cloud.service", 120)
    await lab.server.wait_until(lambda: lab.server.host().status is not HostStatus.UP, 60)
    with scenario.healing("Up after systemctl start"):
        await lab.shell.must("systemctl start cloud.service", 200)
        await lab.up()


async def test_it_moves_to_another_management_server(
    lab: World, guest: Guest, scenario: Scenario
) -> None:
    first = lab.networks.management.host
    second = add_address(lab.networks.management, 4)
    zone = Zone(stores=list(lab.zone.stores), servers=(second, first))
    async with ManagementServer(
        zone=zone, timing=TIMING, authority=lab.authority, host=second, port=PORT
    ) as other:
        await lab.ask(commands.setup_server_list([second, first], [], "static", 0, check_now=False))
        await lab.ask(commands.migrate([second, first], [first]))
        with scenario.healing("Up at the other server"):
            await other.wait_for_status(HostStatus.UP, deadline_s=120)
        before = lab.server.connections_accepted
        answer = await other.ask(commands.migrate([first], [second]))
        assert answer.result, answer.details
        with scenario.healing("Up at the first again"):
            await lab.server.wait_until(lambda: lab.server.connections_accepted > before, 90)
            await lab.up()
    assert lab.server.violations == other.violations == []


async def test_the_check_finds_nothing_wrong(lab: World, guest: Guest, scenario: Scenario) -> None:
    said = await lab.shell.run("ssvm-check --json", 300)
    report = json.loads(said.output)
    scenario.note(said.output[:4000])
    status = {check["name"]: check["status"] for check in report["checks"]}
    # Of the others some rightly find something: the lab has no name server, for one.
    for name in ("settings", "management-servers", "agent", "storage", "memory"):
        assert status[name] != "error", report
    text = await lab.shell.run("ssvm-check", 300)
    scenario.note(text.output)
    assert said.code == text.code
    scenario.measured["words"] = len(text.output.split())


async def test_a_live_patch_brings_another_agent(
    lab: World, guest: Guest, scenario: Scenario
) -> None:
    """boot-and-system.md 4.5: the cloud's own files, with our bundle in them, over SSH."""
    before = await lab.shell.must("readlink /opt/ssvm-agent/current")
    files, signature = await asyncio.to_thread(_payload_of_the_cloud, lab.folder / "payload")
    await lab.shell.put(files, "/var/cache/cloud")
    scenario.note("delivered")
    said = await lab.shell.must("/var/cache/cloud/patch-sysvms.sh", 300)
    assert said == f"version:{signature} \n"
    with scenario.healing("Up with the other agent"):
        await eventually(
            partial(
                succeeds, lab, f"[ $(readlink /opt/ssvm-agent/current) != {before.strip()} ] && "
                "grep -q confirmed /var/lib/ssvm-agent/payload.json",
            ),
            600,
        )  # fmt: skip
        await lab.up()
    assert await lab.shell.must("cat /opt/ssvm-agent/current/share/doc/new.md") == "new\n"
    assert set(await lab.listed(1)) >= {"second"}


async def succeeds(lab: World, command: str) -> bool:
    return (await lab.shell.run(command)).code == 0


def _payload_of_the_cloud(folder: Path) -> tuple[list[Path], str]:
    """Its three files with a bundle in them that the guest does not have, and their signature."""
    output = folder / "dist"
    output.mkdir(parents=True)
    bundle = other_than(build(_REPOSITORY, folder, "x86_64"), folder / "other")
    stock.add(stock_payload(folder / "stock"), [bundle], _REPOSITORY, output)
    files = [output / name for name in (stock.AGENT, stock.SCRIPTS, stock.PATCH)]
    for file in files:
        file.chmod(0o755)
    return files, (output / stock.SIGNATURE).read_text().strip()


async def test_the_stores_hold_exactly_what_they_must(
    lab: World, guest: Guest, scenario: Scenario
) -> None:
    lab.check_trees()
    assert lab.server.violations == []


async def test_it_ends_cleanly(lab: World, guest: Guest, scenario: Scenario) -> None:
    await lab.shell.must("journalctl -u cloud --no-pager -o cat | tail -n 5")
    await guest.stop()
    await lab.server.wait_until(lambda: lab.server.host().status is not HostStatus.UP, 60)
    lab.check_trees()
