# SPDX-License-Identifier: Apache-2.0
"""The copy area: who may fetch from it, in both ways of publishing (storage-commands.md 3.3)."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ssvm_agent.masking import Secret
from tests.net.web.conftest import open_rig, traces
from tests.net.web.rig import Rig

StartRig = Callable[..., Awaitable[Rig]]


@pytest.fixture(params=["builtin", pytest.param("apache", marks=pytest.mark.needs("apache2"))])
async def start_rig(request: pytest.FixtureRequest, home: Path) -> AsyncIterator[StartRig]:
    """Start a rig with settings of its own, in either way of publishing."""
    rigs: list[Rig] = []
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> Rig:
            rigs.append(await open_rig(stack, home, apache=request.param == "apache", **options))
            return rigs[-1]

        yield start
    assert [trace for rig in rigs for trace in traces(rig)] == []


async def copy(rig: Rig, host: str = "127.0.0.1", authorization: str = "") -> int:
    """Fetch a template as the storage VM of another zone does; the status."""
    file = rig.data / "template/tmpl/1/5/x.qcow2"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"content")
    place = file.relative_to(rig.data)
    url = f"http://{host}:{rig.http_port}/copy/SecStorage/{rig.store.directory_name}/{place}"
    headers = {"Authorization": authorization} if authorization else {}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        assert (await answer.read() == b"content") == (answer.status == 200)
        return answer.status


def basic(user: str, password: str) -> str:
    """The header of these credentials (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def test_the_copy_user_is_asked_for_besides_the_address(start_rig: StartRig) -> None:
    """storage-commands.md 3.2; public.require_copy_user."""
    rig = await start_rig(require_copy_user=True)
    right = basic("cloud", "pässwörd")
    await rig.web.configure_copy_auth("cloud", Secret("pässwörd"))
    assert await copy(rig, authorization=right) == 403
    await rig.web.allow_copy_from(["127.0.0.1"], replace=True)
    assert await copy(rig) == 401
    assert await copy(rig, authorization=basic("cloud", "wrong")) == 401
    assert await copy(rig, authorization=basic("root", "pässwörd")) == 401
    assert await copy(rig, authorization=right) == 200
    await rig.web.configure_copy_auth("cloud", Secret("new"))
    assert await copy(rig, authorization=right) == 401
    assert await copy(rig, authorization=basic("cloud", "new")) == 200
    await rig.web.allow_copy_from(["192.0.2.1"], replace=True)
    assert await copy(rig, authorization=basic("cloud", "new")) == 403


async def test_the_address_alone_is_enough_where_no_user_is_wanted(start_rig: StartRig) -> None:
    rig = await start_rig()
    await rig.web.configure_copy_auth("cloud", Secret("password"))
    await rig.web.allow_copy_from(["127.0.0.1"], replace=True)
    assert await copy(rig) == 200


async def test_zones_copy_over_ipv6(start_rig: StartRig) -> None:
    rig = await start_rig(address="::1")
    await rig.web.allow_copy_from(["2001:db8::/32", "127.0.0.1"], replace=True)
    assert await copy(rig, "[::1]") == 403
    await rig.web.allow_copy_from(["::1"], replace=False)
    assert await copy(rig, "[::1]") == 200
    await rig.web.allow_copy_from(["2001:db8::1"], replace=True)
    assert await copy(rig, "[::1]") == 403


async def test_networks_are_taken_as_well_as_hosts(start_rig: StartRig) -> None:
    rig = await start_rig()
    await rig.web.allow_copy_from(["127.0.0.0/8"], replace=True)
    assert await copy(rig) == 200
