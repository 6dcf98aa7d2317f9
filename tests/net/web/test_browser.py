# SPDX-License-Identifier: Apache-2.0
"""What a real browser makes of it: a cross-origin upload with its pre-flight, and a download."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from tests.fixtures.browser import open_browser
from tests.net.web.rig import Order, Rig
from tests.net.web.test_uploads import qcow2

pytestmark = [pytest.mark.needs("chromedriver", "chromium"), pytest.mark.timeout(180)]

# As the web interface of CloudStack does it: a form sent by script, three headers, progress.
PAGE = """<!DOCTYPE html><title>upload</title><input type="file" id="file"><button id="go">Go</button>
<progress id="bar" max="1" value="0"></progress><p id="state"></p><script>
const order = %s, seen = [];
document.getElementById("go").onclick = () => {
  const form = new FormData();
  form.append("files[]", document.getElementById("file").files[0]);
  const request = new XMLHttpRequest();
  request.open("POST", order.url);
  for (const [name, value] of Object.entries(order.headers)) request.setRequestHeader(name, value);
  request.upload.onprogress = (e) => { seen.push(e.loaded); document.getElementById("bar").value = e.loaded / e.total; };
  const done = () => { document.getElementById("state").textContent =
    JSON.stringify({status: request.status, text: request.responseText, steps: seen.length}); };
  request.onload = done; request.onerror = done;
  request.send(form);
};
</script>"""  # noqa: E501 - a page, not code


async def serve_page(text: str) -> tuple[web.AppRunner, str]:
    """A web interface on an origin of its own."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type="text/html")

    application = web.Application()
    application.router.add_get("/", page)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://localhost:{runner.addresses[0][1]}/"


async def upload(rig: Rig, order: Order, file: Path, base: str) -> dict[str, object]:
    data = {"url": f"{base}/upload/{order.uuid}", "headers": order.headers()}
    runner, url = await serve_page(PAGE % json.dumps(data))
    try:
        async with open_browser() as browser:
            await browser.open(url)
            await browser.type_into("#file", str(file))
            await browser.click("#go")
            await browser.until("return document.getElementById('state').textContent", wait_s=120)
            found: dict[str, object] = json.loads(await browser.text("#state"))
            return found
    finally:
        await runner.cleanup()


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
    result = await upload(rig, order, file, rig.http)
    assert result["status"] == 200
    assert result["text"] == "upload successful."
    assert int(str(result["steps"])) >= 2
    entry = rig.web.uploads.find(order.uuid)
    assert entry is not None
    assert entry.result is not None
    assert entry.result.physical_size_bytes == 300 << 20


async def test_a_page_reads_why_its_upload_was_refused(builtin: Rig, tmp_path: Path) -> None:
    order = Order(rig=builtin, key="wrong")
    result = await upload(builtin, order, image(tmp_path, 1 << 20), builtin.http)
    assert result == {"status": 400, "text": "signature validation failed.", "steps": 1}


async def test_a_page_uploads_over_https(builtin: Rig, tmp_path: Path) -> None:
    order = Order(rig=builtin, scheme="https")
    result = await upload(builtin, order, image(tmp_path, 5 << 20), builtin.https)
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
