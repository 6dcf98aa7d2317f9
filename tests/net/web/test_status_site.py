# SPDX-License-Identifier: Apache-2.0
"""The status page and its siblings over real sockets, and in a real browser."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from ssvm_agent.host.pools import WorkPool
from ssvm_agent.web.assembly import open_status
from ssvm_agent.web.status_report import StatusReport
from tests.fixtures.browser import open_browser
from tests.unit.web.reports import MIB, full_report, troubled_report

# Where screenshots go that are kept; a folder of the test otherwise.
SHOTS = os.environ.get("SSVM_SCREENSHOTS", "")

# What a reader with a screen reader, or an operator without the internet, would stumble over.
COMPLAINTS = """
const bad = [], all = (what) => [...document.querySelectorAll(what)];
if (all("progress").some((e) => !e.getAttribute("aria-label"))) bad.push("progress");
if (all("section").some((e) => !e.getAttribute("aria-labelledby"))) bad.push("section");
if (all("h1").length !== 1) bad.push("h1");
if (!document.documentElement.lang) bad.push("lang");
const texts = all("body *").filter((e) => e.checkVisibility() &&
  [...e.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()));
const lost = texts.filter((e) => !e.closest("header, main, footer, .skip"));
bad.push(...lost.map((e) => "no landmark: " + e.textContent));
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = (colour) => numbers(colour).slice(0, 3).map((v) => v / 255)
  .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, place) => sum + v * [0.2126, 0.7152, 0.0722][place], 0);
const ground = (e) => {
  const colour = getComputedStyle(e).backgroundColor;
  return numbers(colour)[3] === 0 ? ground(e.parentElement) : colour;
};
for (const e of texts) {
  const [low, high] = [light(getComputedStyle(e).color), light(ground(e))].sort((a, b) => a - b);
  if ((high + 0.05) / (low + 0.05) < 4.5) bad.push("contrast: " + e.textContent);
}
const loaded = performance.getEntriesByType("resource").map((e) => e.name);
if (loaded.some((name) => !name.startsWith(location.origin))) bad.push("outside");
return bad;
"""


class Source:
    """Reports of a download at 24 MiB/s; the agent hangs while ``answers`` is clear."""

    def __init__(self) -> None:
        self.asked = 0
        self.troubled = False
        self.answers = asyncio.Event()
        self.answers.set()
        self._began = datetime.now(UTC)

    async def report(self) -> StatusReport:
        self.asked += 1
        await self.answers.wait()
        now = datetime.now(UTC)
        report = troubled_report(now) if self.troubled else full_report(now)
        (download,) = report.downloads
        received = int((now - self._began).total_seconds() * 24 * MIB)
        return replace(
            report, downloads=(replace(download, done_bytes=download.done_bytes + received),)
        )


@pytest.fixture
async def source() -> Source:
    return Source()


@pytest.fixture
def pool() -> Iterator[WorkPool]:
    made = WorkPool("disk")
    yield made
    made.close()


@pytest.fixture
async def base(source: Source, pool: WorkPool) -> AsyncIterator[str]:
    async with open_status("127.0.0.1:0", source, pool) as port:
        yield f"http://127.0.0.1:{port}"


async def get(url: str, **headers: str) -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, answer.headers["Content-Type"], await answer.text()


@pytest.mark.parametrize(
    ("path", "kind", "part"),
    [
        ("/", "text/html", "<main"),
        ("/status.css", "text/css", ":root"),
        ("/status.js", "text/javascript", "refresh"),
        ("/status.json", "application/json", '"host_name": "s-1-VM"'),
        ("/healthz", "text/plain", "ok"),
        ("/metrics", "text/plain; version=0.0.4", "ssvm_agent_health"),
    ],
)
async def test_the_pages(base: str, path: str, kind: str, part: str) -> None:
    status, found, text = await get(base + path)
    assert (status, found.startswith(kind)) == (200, True)
    assert part in text


async def test_health_is_503_and_says_why_when_something_is_wrong(
    base: str, source: Source
) -> None:
    source.troubled = True
    status, _, text = await get(base + "/healthz")
    assert status == 503
    assert "is not responding" in text


async def test_nothing_else_is_there_and_nothing_can_be_changed(base: str) -> None:
    assert (await get(base + "/etc/passwd"))[0] == 404
    async with aiohttp.ClientSession() as session, session.post(base + "/") as answer:
        assert answer.status == 405


async def test_a_page_of_another_site_cannot_read_it(base: str) -> None:
    status, _, text = await get(base + "/status.json", Host="evil.example.com")
    assert (status, "s-1-VM" in text) == (421, False)
    async with aiohttp.ClientSession() as session, session.get(base + "/status.json") as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_no_address_means_no_page(pool: WorkPool) -> None:
    async with open_status("", Source(), pool) as port:
        assert port == 0


@pytest.mark.needs("chromedriver", "chromium")
@pytest.mark.timeout(120)
async def test_the_page_lives_and_fits_a_phone(base: str, source: Source, tmp_path: Path) -> None:
    """Live without reloading, no scrolling sideways, no complaints in the console."""
    shots = Path(SHOTS) if SHOTS else tmp_path
    async with open_browser() as browser:
        await browser.open(base)
        await browser.until("return document.getElementById('health').classList.contains('good')")
        await browser.size(1200, 1000)
        assert await browser.text("h1") == "s-1-VM"
        await browser.until("return document.body.innerText.includes('MiB/s')")
        await browser.screenshot(shots / "status-desktop.png")
        asked = source.asked
        source.troubled = True
        await browser.until("return document.getElementById('health').classList.contains('bad')")
        assert source.asked > asked
        assert "does not trust" in await browser.text("#problems")
        for scheme in ("dark", "light"):
            await browser.prefer("prefers-color-scheme", scheme)
            assert await browser.run(COMPLAINTS) == [], scheme
        for width in (1200, 390, 320):
            await browser.size(width, 844)
            assert await browser.run(
                "return document.documentElement.scrollWidth <= window.innerWidth"
            ), width
        await browser.size(390, 844)
        await browser.screenshot(shots / "status-phone.png")


@pytest.mark.needs("chromedriver", "chromium")
@pytest.mark.timeout(120)
async def test_the_page_keeps_a_selection_and_tells_that_the_agent_hangs(
    base: str, source: Source
) -> None:
    """What is unchanged stays as it is, and a report that does not come is said not to."""
    async with open_browser() as browser:
        await browser.open(base)
        await browser.until("return document.body.innerText.includes('MiB/s')")
        await browser.run(
            "getSelection().selectAllChildren(document.querySelector('#stores .name'))"
        )
        shown = await browser.text("#downloads .detail")
        await browser.until(
            "return document.querySelector('#downloads .detail').innerText !== " + json.dumps(shown)
        )
        assert (
            await browser.run("return getSelection().toString()")
            == "nfs://10.1.1.5/export/secondary"
        )
        source.answers.clear()
        await browser.until("return document.body.classList.contains('stale')")
        assert await browser.text("#health") == "The agent does not answer"
        source.answers.set()
        await browser.until("return !document.body.classList.contains('stale')")
        assert await browser.text("#health") == "All is well"
