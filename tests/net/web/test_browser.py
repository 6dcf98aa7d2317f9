# SPDX-License-Identifier: Apache-2.0
"""What a real browser makes of it: a cross-origin upload with its pre-flight, and a download."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ssvm_agent.simulator.form_page import open_form_site
from tests.fixtures.browser import open_browser
from tests.net.web.conftest import open_rig
from tests.net.web.rig import Order, Rig
from tests.net.web.test_uploads import qcow2

pytestmark = [pytest.mark.needs("chromedriver", "chromium"), pytest.mark.timeout(180)]


async def upload(order: Order, file: Path, base: str) -> dict[str, object]:
    """Fill in the form page of the order; what the page learns."""
    async with open_form_site() as site, open_browser() as browser:
        await browser.open(site.offer(order.ticket(at=base)))
        await browser.type_into("#file", str(file))
        await browser.click("#go")
        found: dict[str, object] = await browser.until("return window.outcome", wait_s=120)
        assert await browser.text("#state") == f"{found['status']} {found['text']}"
        return found


def image(tmp_path: Path, size: int) -> Path:
    file = tmp_path / "disk.qcow2"
    with file.open("wb") as out:
        out.write(qcow2())
        out.truncate(size)
    return file


async def test_a_form_of_another_origin_uploads_300_mib(rig: Rig, tmp_path: Path) -> None:
    """Requirement R5; storage-commands.md 5.1: pre-flight, headers, progress."""
    file = image(tmp_path, 300 << 20)
    order = Order(rig=rig)
    result = await upload(order, file, rig.http)
    assert result["status"] == 200
    assert result["text"] == "upload successful."
    assert int(str(result["steps"])) >= 2
    entry = rig.web.uploads.find(order.uuid)
    assert entry is not None
    assert entry.result is not None
    assert entry.result.physical_size_bytes == 300 << 20


async def test_a_page_reads_why_its_upload_was_refused(rig: Rig, tmp_path: Path) -> None:
    order = Order(rig=rig, key="wrong")
    result = await upload(order, image(tmp_path, 1 << 20), rig.http)
    assert result == {"status": 400, "text": "signature validation failed.", "steps": 1}


@pytest.fixture(params=["builtin", pytest.param("apache", marks=pytest.mark.needs("apache2"))])
async def signs_https(request: pytest.FixtureRequest, home: Path) -> AsyncIterator[Rig]:
    """Either way of publishing, for a server that signs https URLs."""
    async with AsyncExitStack() as stack:
        yield await open_rig(
            stack, home, apache=request.param == "apache", use_https_to_upload=True
        )


async def test_a_page_uploads_over_https(signs_https: Rig, tmp_path: Path) -> None:
    order = Order(rig=signs_https)
    result = await upload(order, image(tmp_path, 5 << 20), signs_https.https)
    assert (result["status"], result["text"]) == (200, "upload successful.")


async def test_a_browser_saves_a_published_file(rig: Rig) -> None:
    """storage-commands.md 3.7: saved under its name, not shown."""
    content = b"<html><script>alert(1)</script>" + bytes(1 << 20)
    path = await rig.publish(content, name="page.html")
    async with open_browser() as browser:
        await browser.open("about:blank")
        await browser.run("location.href = arguments[0]", rig.http + path)
        saved = browser.downloads / "page.html"
        await browser.until("return true")
        await until_file(saved, len(content))
        assert saved.read_bytes() == content


async def until_file(path: Path, size: int) -> None:
    async with asyncio.timeout(30):
        while not has_size(path, size):  # noqa: ASYNC110 - the browser announces nothing
            await asyncio.sleep(0.05)


def has_size(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size == size
