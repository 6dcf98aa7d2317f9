# SPDX-License-Identifier: Apache-2.0
"""Real images from a real web server through the agent into a store: the main job, end to end."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.simulator import commands
from ssvm_agent.simulator.downloads import Download
from ssvm_agent.simulator.errors import DownloadFailedError
from ssvm_agent.simulator.model import Fields, HostStatus
from ssvm_agent.simulator.server import ManagementServer
from tests.fixtures.agents import LIVELY, RunAgent, StartServer
from tests.fixtures.certificates import WebIdentity
from tests.fixtures.images import DEBIAN_ISOS, MIB, Images, RealImage
from tests.fixtures.nginx import ServeDirectory, WebServer

pytestmark = [
    pytest.mark.needs("nginx", "qemu-img", "mkfs.ext4", "gzip", "bzip2", "xz", "zstd", "zip"),
    pytest.mark.timeout(180),
]

FORMATS = [
    "QCOW2",
    "QCOW2-compressed",
    "QCOW2-zstd",
    "QCOW2-v2",
    "VHD",
    "VHD-fixed",
    "VHDX",
    "VMDK",
    "VMDK-stream",
    "VDI",
]


@pytest.fixture
async def server(start_server: StartServer, store: Path, run_agent: RunAgent) -> ManagementServer:
    """A management server with an agent that is Up."""
    server = await start_server(stores=[f"file://{store}"], timing=LIVELY)
    await run_agent(server)
    await server.wait_for_status(HostStatus.UP)
    return server


async def bring_in(
    server: ManagementServer, site: WebServer, images: Iterable[RealImage], **more: Any
) -> dict[str, tuple[RealImage, Fields]]:
    """Register all at once, wait for all: name -> image and the fields of the last answer."""
    pairs: list[tuple[RealImage, Download]] = []
    for image in images:
        options = {"checksum": image.checksum(), **more}
        download = server.register(
            name=image.path.name, url=site.url(image.path), format=image.format, **options
        )
        pairs.append((image, download))
    return {
        image.path.name: (image, await download.result(deadline_s=120)) for image, download in pairs
    }


async def listed(server: ManagementServer) -> dict[str, Fields]:
    answer = await server.ask(commands.list_template(server.zone.stores[0]))
    assert answer.result, answer.details
    return dict(answer.fields["templateInfos"])


async def check_all(
    server: ManagementServer, store: Path, done: dict[str, tuple[RealImage, Fields]]
) -> None:
    """Every image is installed bit for bit, with true sizes, and listed so."""
    entries = await listed(server)
    for name, (image, fields) in done.items():
        installed = store / fields["installPath"]
        assert installed.read_bytes() == image.plain.read_bytes(), name
        assert fields["checkSum"] == image.checksum(), name
        assert fields["templateSize"] == image.virtual_size_bytes, name
        assert fields["templatePhySicalSize"] == image.plain.stat().st_size, name
        assert entries[name]["installPath"] == fields["installPath"], name
        assert entries[name]["size"] == image.virtual_size_bytes, name
        assert entries[name]["physicalSize"] == image.plain.stat().st_size, name
        assert sorted(path.name for path in installed.parent.iterdir()) == sorted(
            [installed.name, "template.properties"]
        ), name
    assert server.violations == []


def files_below(store: Path, pattern: str = "*") -> list[str]:
    """Files with something in them."""
    return [
        str(path.relative_to(store))
        for path in store.rglob(pattern)
        if path.is_file() and path.stat().st_size
    ]


async def test_disks_in_every_format(
    server: ManagementServer, store: Path, images: Images, serve_directory: ServeDirectory
) -> None:
    site = serve_directory(images.root)
    disks = [images.raw(), *(images.disk(kind) for kind in FORMATS)]
    await check_all(server, store, await bring_in(server, site, disks))


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst", "zip"])
async def test_disks_in_every_compression(
    server: ManagementServer,
    store: Path,
    images: Images,
    serve_directory: ServeDirectory,
    kind: str,
) -> None:
    site = serve_directory(images.root)
    disks = [images.raw(), images.disk("QCOW2"), images.disk("VHD")]
    done = await bring_in(server, site, [images.compressed(disk, kind) for disk in disks])
    await check_all(server, store, done)


@pytest.mark.parametrize("package", list(DEBIAN_ISOS))
async def test_isos_as_debian_ships_them(
    server: ManagementServer,
    store: Path,
    images: Images,
    serve_directory: ServeDirectory,
    package: str,
) -> None:
    site = serve_directory(images.root)
    await check_all(server, store, await bring_in(server, site, [images.iso(package)]))


async def test_volumes_are_listed_by_their_id(
    server: ManagementServer, store: Path, images: Images, serve_directory: ServeDirectory
) -> None:
    site = serve_directory(images.root)
    disk = images.disk("QCOW2")
    done = await bring_in(server, site, [disk], kind="VOLUME", image_id=77)
    fields = done[disk.path.name][1]
    assert fields["installPath"].startswith("volumes/2/77/")
    answer = await server.ask(commands.list_volume(server.zone.stores[0]))
    assert answer.fields["templateInfos"]["77"]["installPath"] == fields["installPath"]
    assert (store / fields["installPath"]).read_bytes() == disk.path.read_bytes()
    assert server.violations == []


async def test_passwords_and_certificates_of_the_source(
    start_server: StartServer,
    run_agent: RunAgent,
    store: Path,
    images: Images,
    serve_directory: ServeDirectory,
    web_identity: WebIdentity,
    tmp_path: Path,
) -> None:
    """R9: the operator's CA directory; storage-commands.md 4.1: basic auth."""
    server = await start_server(stores=[f"file://{store}"], timing=LIVELY)
    ca_dir = tmp_path / "ca.d"
    ca_dir.mkdir()
    await run_agent(server, download={"ca_dir": str(ca_dir), "retries": 0})
    await server.wait_for_status(HostStatus.UP)
    site = serve_directory(images.root, identity=web_identity, auth=("cloud", "secret"))
    disk = images.disk("QCOW2")
    auth = {"auth": {"userName": "cloud", "password": "secret"}}
    untrusted = server.register(name="untrusted", url=site.url(disk.path), extra=auth)
    with pytest.raises(DownloadFailedError, match=r"(?i)certificate"):
        await untrusted.result(30)
    (ca_dir / "site.crt").write_text(web_identity.ca.read_text())
    await check_all(server, store, await bring_in(server, site, [disk], extra=auth))
    nobody = server.register(name="nobody", url=site.url(disk.path))
    with pytest.raises(DownloadFailedError, match="401"):
        await nobody.result(30)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"url": "missing.qcow2"}, "404"),
        ({"checksum": "{SHA-256}" + "0" * 64}, "checksum"),
        ({"format": "VHD"}, "VHD"),
        ({"format": "RAW"}, "RAW"),
        ({"format": "ISO"}, "ISO"),
        ({"max_size_bytes": 1000}, "too large"),
    ],
)
async def test_what_is_wrong_is_said_and_leaves_nothing(
    server: ManagementServer,
    store: Path,
    images: Images,
    serve_directory: ServeDirectory,
    options: dict[str, Any],
    text: str,
) -> None:
    """R14, S1, R15."""
    site = serve_directory(images.root)
    disk = images.disk("QCOW2")
    options = {"url": disk.path.name, "format": "QCOW2", **options}
    options["url"] = site.url(options["url"])
    download = server.register(name="wrong", **options)
    with pytest.raises(DownloadFailedError, match=f"(?i){text}"):
        await download.result(60)
    assert await listed(server) == {}
    assert files_below(store) == []
    assert server.violations == []


async def test_a_download_goes_on_over_a_lost_link(
    server: ManagementServer, store: Path, images: Images, serve_directory: ServeDirectory
) -> None:
    """agent-lifecycle.md 3.3: the new DownloadCommand joins the job that still runs."""
    site = serve_directory(images.root, bytes_per_second=4 * MIB)
    image = images.random(24 * MIB)
    download = server.register(
        name="long", url=site.url(image.path), format="RAW", checksum=image.checksum()
    )
    await server.wait_until(lambda: download.percent > 5)
    job = download.job_id
    server.session().link.abort()
    await server.wait_until(lambda: server.connections_accepted == 2)
    await server.wait_for_status(HostStatus.UP)
    fields = await download.result(60)
    assert download.job_id == job
    assert (store / fields["installPath"]).read_bytes() == image.path.read_bytes()
    assert len(await site.requests_once(1)) == 1
    assert server.violations == []


async def test_a_download_goes_on_after_its_source_was_away(
    start_server: StartServer,
    run_agent: RunAgent,
    store: Path,
    images: Images,
    serve_directory: ServeDirectory,
) -> None:
    """R7: resume with a range, nothing fetched twice."""
    server = await start_server(stores=[f"file://{store}"], timing=LIVELY)
    await run_agent(server, download={"retry_max_pause_s": 0.5})
    await server.wait_for_status(HostStatus.UP)
    site = serve_directory(images.root, bytes_per_second=4 * MIB)
    image = images.random(24 * MIB)
    download = server.register(
        name="broken", url=site.url(image.path), format="RAW", checksum=image.checksum()
    )
    await server.wait_until(lambda: download.percent > 20)
    port = int(site.base_url.rpartition(":")[2])
    site.stop()
    again = serve_directory(images.root, port=port)
    fields = await download.result(60)
    assert (store / fields["installPath"]).read_bytes() == image.path.read_bytes()
    assert " 206 " in (await again.requests_once(1))[-1]
    assert server.violations == []


@pytest.mark.parametrize(
    ("how", "status"),
    [
        # Asked to stop, it writes down where to go on.
        (signal.SIGTERM, " 206 "),
        # Killed, it goes on from its last checkpoint, which an image this small never reaches.
        (signal.SIGKILL, " 200 "),
    ],
)
async def test_a_new_process_takes_the_download_up_again(
    start_server: StartServer,
    run_agent: RunAgent,
    store: Path,
    images: Images,
    serve_directory: ServeDirectory,
    how: signal.Signals,
    status: str,
) -> None:
    """R35: the job is known by its id, nothing is left lying about, the image is whole."""
    server = await start_server(stores=[f"file://{store}"], timing=LIVELY)
    agent = await run_agent(server)
    await server.wait_for_status(HostStatus.UP)
    site = serve_directory(images.root, bytes_per_second=4 * MIB)
    image = images.random(24 * MIB)
    download = server.register(
        name="interrupted", url=site.url(image.path), format="RAW", checksum=image.checksum()
    )
    await server.wait_until(lambda: download.percent > 30)
    job = download.job_id
    await agent.stop(how)
    await server.wait_until(lambda: server.host().status is not HostStatus.UP)
    again = await run_agent(server, agent.folder)
    await server.wait_for_status(HostStatus.UP)
    fields = await download.result(60)
    assert download.job_id == job
    assert (store / fields["installPath"]).read_bytes() == image.path.read_bytes()
    assert status in (await site.requests_once(2))[-1]
    assert files_below(store, "dnld*") == []
    await again.stop()
    assert server.violations == []


async def test_an_aborted_download_leaves_nothing(
    server: ManagementServer, store: Path, images: Images, serve_directory: ServeDirectory
) -> None:
    site = serve_directory(images.root, bytes_per_second=2 * MIB)
    image = images.random(24 * MIB)
    download = server.register(name="aborted", url=site.url(image.path), format="RAW")
    await server.wait_until(lambda: download.percent > 2)
    answer = await server.ask(commands.progress(download.command, "ABORT", download.job_id or ""))
    assert answer.fields["downloadStatus"] in ("NOT_DOWNLOADED", "DOWNLOAD_ERROR")
    assert files_below(store) == []
    assert await listed(server) == {}
    assert server.violations == []


async def test_many_at_once(
    server: ManagementServer, store: Path, images: Images, serve_directory: ServeDirectory
) -> None:
    """Twelve downloads side by side, and the link stays quick."""
    site = serve_directory(images.root)
    disk = images.disk("QCOW2-compressed")
    downloads = [
        server.register(name=f"copy-{number}", url=site.url(disk.path)) for number in range(12)
    ]
    assert (await server.ask(commands.check_health())).result
    for download in downloads:
        await download.result(120)
    assert len(await listed(server)) == 12
    assert server.violations == []


async def test_the_statistics_of_the_store_are_told(
    server: ManagementServer,
) -> None:
    """R22."""
    answer = await server.ask(commands.storage_stats(server.zone.stores[0]))
    assert answer.result, answer.details
    assert answer.fields["capacityBytes"] >= answer.fields["usedBytes"] > 0
    assert server.violations == []
