# SPDX-License-Identifier: Apache-2.0
"""Images that users upload and fetch: in through a signed form, out through a link, end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ssvm_agent.sealed import SealVersion
from ssvm_agent.simulator import commands
from ssvm_agent.simulator.errors import UploadFailedError
from ssvm_agent.simulator.model import Fields
from ssvm_agent.simulator.public_side import PublicSide
from ssvm_agent.simulator.server import ManagementServer
from tests.fixtures.agents import LIVELY, RunAgent, StartServer
from tests.fixtures.ports import free_port
from tests.net.end_to_end.test_images import files_below
from tests.net.web.rig import post
from tests.net.web.test_uploads import qcow2

TIMING = replace(LIVELY, upload_poll_s=0.05, upload_timeout_s=60.0)


@pytest.fixture
def ports() -> dict[str, int]:
    return {"http": free_port(), "https": free_port()}


@pytest.fixture
async def server(
    start_server: StartServer, run_agent: RunAgent, store: Path, ports: dict[str, int]
) -> ManagementServer:
    """A management server with an agent that is Up and whose public ports are known."""
    server = await start_server(stores=[f"file://{store}"], timing=TIMING)
    await run_agent(server, public={f"{scheme}_port": port for scheme, port in ports.items()})
    await server.wait_for_status()
    return server


async def fetch(url: str) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.get(url, ssl=False) as answer:
        return answer.status, await answer.read()


async def listed(server: ManagementServer, kind: str) -> dict[str, Fields]:
    """What the agent lists of a kind."""
    build = {"TEMPLATE": commands.list_template, "VOLUME": commands.list_volume}[kind]
    answer = await server.ask(build(server.zone.stores[0]))
    assert answer.result, answer.details
    return dict(answer.fields["templateInfos"])


@pytest.mark.parametrize("encryption", SealVersion)
@pytest.mark.parametrize(
    ("kind", "scheme", "key", "directory"),
    [
        ("TEMPLATE", "https", "tiny", "template/tmpl/2/205"),
        ("VOLUME", "http", "205", "volumes/2/205"),
    ],
)
async def test_what_is_uploaded_can_be_fetched(
    server: ManagementServer,
    store: Path,
    ports: dict[str, int],
    encryption: SealVersion,
    kind: str,
    scheme: str,
    key: str,
    directory: str,
) -> None:
    """storage-commands.md 3.7, 3.8, 5: both encryptions of the metadata."""
    side, content = PublicSide(server), qcow2(3 << 20)
    place: dict[str, Any] = {
        "store": server.zone.stores[0],
        "at": f"{scheme}://127.0.0.1:{ports[scheme]}",
    }
    order, ticket = side.order_upload(
        name="tiny", kind=kind, image_id=205, encryption=encryption, **place
    )
    status = await side.upload_status(order.uuid)
    assert status.fields["status"] == "UNKNOWN"
    reply = await post(ticket.post_url, ticket, content)
    assert (reply.status, reply.text) == (200, "upload successful.")

    fields = await side.upload_result(order.uuid)
    assert (fields["physicalSize"], fields["virtualSize"]) == (len(content), 1 << 24)
    path = fields["installPath"]
    assert path.startswith(f"{directory}/")
    assert (store / path).read_bytes() == content
    assert (await listed(server, kind))[key]["installPath"] == path

    link = await side.create_link(name="tiny", path=path, kind=kind, **place)
    assert await fetch(link.url) == (200, content)
    await side.delete_link(link.url)
    assert (await fetch(link.url))[0] == 404
    # Of a volume it was the copy made for the link; a template is the image itself.
    assert (store / path).exists() is (kind == "TEMPLATE")
    assert server.violations == []


async def test_a_refused_image_fails_its_upload_and_leaves_nothing(
    server: ManagementServer, store: Path, ports: dict[str, int]
) -> None:
    """storage-commands.md 5.5, 5.6."""
    side = PublicSide(server)
    order, ticket = side.order_upload(
        name="tiny", store=server.zone.stores[0], at=f"http://127.0.0.1:{ports['http']}"
    )
    reply = await post(ticket.post_url, ticket, b"no image at all" * 1000)
    assert 400 <= reply.status < 600
    with pytest.raises(UploadFailedError) as failed:
        await side.upload_result(order.uuid)
    assert failed.value.message == reply.text
    assert files_below(store) == []
    assert server.violations == []


async def test_an_upload_signed_too_long_ago_is_refused(
    server: ManagementServer, ports: dict[str, int]
) -> None:
    """storage-commands.md 5.5.2."""
    side = PublicSide(server)
    order, ticket = side.order_upload(
        name="tiny",
        store=server.zone.stores[0],
        at=f"http://127.0.0.1:{ports['http']}",
        life_s=-0.001,
    )
    reply = await post(ticket.post_url, ticket, qcow2())
    assert (reply.status, reply.text) == (400, "request not valid anymore.")
    assert (await side.upload_status(order.uuid)).fields["status"] == "UNKNOWN"
