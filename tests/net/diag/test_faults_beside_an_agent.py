# SPDX-License-Identifier: Apache-2.0
"""``ssvm-check`` where something is broken beside a real agent: link, web ports, name server."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.diag.registry import CHECKS
from ssvm_agent.simulator.agent_process import write_agent_settings
from ssvm_agent.simulator.authority import CertificateAuthority
from ssvm_agent.simulator.model import HostStatus
from ssvm_agent.simulator.server import ManagementServer
from tests.fakes.machine import until
from tests.fixtures.agents import LIVELY, RunAgent, StartServer, agent_process
from tests.fixtures.certificates import write_agent_certificates
from tests.fixtures.ports import free_port
from tests.net.diag.test_beside_an_agent import check
from tests.net.web.conftest import home, open_rig  # noqa: F401 - a fixture
from tests.net.web.rig import Rig


async def test_a_link_that_was_cut_is_told_with_its_step(
    tmp_path: Path, cloud_authority: CertificateAuthority
) -> None:
    """The agent was Up; then the server went away."""
    (tmp_path / "store").mkdir()
    folder, listen = tmp_path / "agent", {"listen": f"127.0.0.1:{free_port()}"}
    (folder / "conf").mkdir(parents=True)
    write_agent_certificates(folder / "conf", cloud_authority)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            ManagementServer(
                stores=[f"file://{tmp_path / 'store'}"], timing=LIVELY, authority=cloud_authority
            )
        )
        away = stack.pop_all()
        async with agent_process(folder, server.port, status=listen):
            await server.wait_for_status(HostStatus.UP)
            assert (await check(folder, "agent")).code == 0
            await away.aclose()
            status = folder / "state/status.json"
            await until(lambda: json.loads(status.read_text())["failing_step"])
            ended = await check(folder, "agent", "management-servers")
    assert ended.code == 1
    assert "at the step tcp" in ended.checks["agent"]["what"]
    assert ended.checks["agent"]["remedy"]
    assert "refuses the connection" in ended.checks["management-servers"]["what"]


async def test_the_json_has_its_schema_whatever_is_found(
    start_server: StartServer, run_agent: RunAgent, tmp_path: Path
) -> None:
    """Every check of the list, on a machine that is no system VM (docs/ssvm-check.md)."""
    (tmp_path / "store").mkdir()
    server = await start_server(stores=[f"file://{tmp_path / 'store'}"], timing=LIVELY)
    agent = await run_agent(server)
    await server.wait_for_status(HostStatus.UP)
    ended = await check(agent.folder, "--timeout", "5")
    document = json.loads(ended.output)
    assert set(document) == {
        "schema", "version", "machine", "time", "status", "counts", "checks",
    }  # fmt: skip
    assert document["schema"] == 1
    assert [one["name"] for one in document["checks"]] == [one.slug for one in CHECKS]
    words = {"name", "title", "status", "what", "how", "remedy", "elapsed_s", "parts"}
    for one in document["checks"]:
        assert set(one) == words, one["name"]
        assert one["status"] in {"ok", "warning", "error", "skipped"}
        assert one["what"], one["name"]
        for part in one["parts"]:
            assert set(part) == {"status", "what", "how", "remedy"}
            assert part["remedy"] or part["status"] not in {"warning", "error"}, one["name"]
    assert sum(document["counts"].values()) == len(document["checks"])
    assert ended.code == int(document["counts"]["error"] > 0)


# --- the public ports -----------------------------------------------------------------------------


def settings_of(rig: Rig) -> Path:
    """The settings of a machine whose public ports are those of the rig; its folder."""
    folder = rig.data.parent / "checked"
    public = {"listen": ["127.0.0.1"], "http_port": rig.http_port, "https_port": rig.https_port}
    publish = "builtin" if rig.apache is None else "apache"
    write_agent_settings(folder, 1, more={"publish": publish, "public": public})
    return folder


@pytest.fixture(params=["builtin", pytest.param("apache", marks=pytest.mark.needs("apache2"))])
async def served(
    request: pytest.FixtureRequest, home: Path  # noqa: F811
) -> AsyncIterator[tuple[Rig, AsyncExitStack]]:  # fmt: skip
    """Public ports in either way of publishing, and what ends them."""
    async with AsyncExitStack() as stack:
        yield await open_rig(stack, home, apache=request.param == "apache"), stack


async def test_public_ports_that_answer_and_that_do_not(
    served: tuple[Rig, AsyncExitStack],
) -> None:
    rig, stack = served
    folder = await asyncio.to_thread(settings_of, rig)
    found = (await check(folder, "web")).checks["web"]
    whats = [part["what"] for part in found["parts"]]
    assert found["status"] == "warning", found
    assert any("is self-signed" in what for what in whats)
    assert not any("does not serve" in what for what in whats)

    await stack.aclose()
    ended = await check(folder, "web")
    assert ended.code == 1
    found = ended.checks["web"]
    errors = [part for part in found["parts"] if part["status"] == "error"]
    assert [part["what"].partition(" ")[0] for part in errors] == [
        f"127.0.0.1:{rig.http_port}", f"127.0.0.1:{rig.https_port}",
    ]  # fmt: skip
    unit = "cloud" if rig.apache is None else "apache2"
    assert all(f"systemctl status {unit}" in part["remedy"] for part in errors)


@pytest.mark.needs("apache2")
async def test_uploads_that_apache_cannot_hand_on_are_told(home: Path) -> None:  # noqa: F811
    async with AsyncExitStack() as stack:
        rig = await open_rig(stack, home, apache=True, use_https_to_upload=True)
        folder = await asyncio.to_thread(settings_of, rig)
        assert (await check(folder, "web")).checks["web"]["status"] == "warning"
        await rig.web.stop(0)
        ended = await check(folder, "web")
        await rig.web.start()
    assert ended.code == 1
    assert "Uploads are not taken" in ended.checks["web"]["what"]
    assert "journalctl -u cloud" in ended.checks["web"]["remedy"]


# --- name servers ---------------------------------------------------------------------------------


@pytest.fixture
def mute_name_server() -> Iterator[int]:
    """Takes questions and answers none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        yield int(listener.getsockname()[1])


async def test_a_name_server_that_never_answers_is_named_in_time(
    tmp_path: Path, mute_name_server: int
) -> None:
    folder, root = tmp_path / "agent", tmp_path / "root"
    named = {"management_servers": ["ms.example.com"]}
    await asyncio.to_thread(write_agent_settings, folder, 1, more=named)
    (root / "etc").mkdir(parents=True)
    (root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    ended = await check(folder, "--root", str(root), "--dns-port", str(mute_name_server), "dns")
    found: dict[str, Any] = ended.checks["dns"]
    assert ended.code == 1
    assert "127.0.0.1" in found["what"]
    assert "destroy the system VM, or repair the server" in found["remedy"]
    assert found["elapsed_s"] < 20
