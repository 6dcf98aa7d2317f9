# SPDX-License-Identifier: Apache-2.0
"""The status page and its siblings over real sockets, and in a real browser."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from ssvm_agent.host.pools import WorkPool
from ssvm_agent.web.assembly import open_status
from ssvm_agent.web.status_report import StatusReport
from tests.fixtures.browser import open_browser
from tests.unit.web.reports import full_report, troubled_report

# Where screenshots go that are kept; a folder of the test otherwise.
SHOTS = os.environ.get("SSVM_SCREENSHOTS", "")

# What a reader with a screen reader, or an operator without the internet, would stumble over.
COMPLAINTS = """
const bad = [], all = (what) => [...document.querySelectorAll(what)];
if (all("progress").some((e) => !e.getAttribute("aria-label"))) bad.push("progress");
if (all("section").some((e) => !e.getAttribute("aria-labelledby"))) bad.push("section");
if (all("h1").length !== 1) bad.push("h1");
if (!document.documentElement.lang) bad.push("lang");
const loaded = performance.getEntriesByType("resource").map((e) => e.name);
if (loaded.some((name) => !name.startsWith(location.origin))) bad.push("outside");
return bad;
"""


class Source:
    """Reports that change a little with each question."""

    def __init__(self) -> None:
        self.asked = 0
        self.troubled = False

    async def report(self) -> StatusReport:
        self.asked += 1
        now = datetime.now(UTC)
        return troubled_report(now) if self.troubled else full_report(now)


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
        await browser.until(
            "return document.body.innerText.includes('MiB/s') || performance.now() > 5000"
        )
        await browser.screenshot(shots / "status-desktop.png")
        asked = source.asked
        source.troubled = True
        await browser.until("return document.getElementById('health').classList.contains('bad')")
        assert source.asked > asked
        assert "does not trust" in await browser.text("#problems")
        for width in (1200, 390, 320):
            await browser.size(width, 844)
            assert await browser.run(
                "return document.documentElement.scrollWidth <= window.innerWidth"
            ), width
        await browser.size(390, 844)
        await browser.screenshot(shots / "status-phone.png")
        assert await browser.run(COMPLAINTS) == []
