# SPDX-License-Identifier: Apache-2.0
"""The form site; what a browser makes of its pages is in tests/net/web/test_browser.py."""

from __future__ import annotations

import aiohttp

from ssvm_agent.simulator.form_page import open_form_site
from ssvm_agent.simulator.uploads import UploadTicket


def ticket(**more: str) -> UploadTicket:
    texts = {"post_url": "http://h/upload/u", "metadata": "m", "expires": "e", "signature": "s"}
    return UploadTicket(**{"uuid": "u", **texts, **more})


async def fetch(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def test_there_is_a_page_for_every_upload_and_no_other() -> None:
    async with open_form_site() as site:
        first, second = site.offer(ticket()), site.offer(ticket(uuid="v", signature="other"))
        assert first == f"{site.base}/u"
        for url, signature in ((first, "s"), (second, "other")):
            status, text = await fetch(url)
            assert status == 200
            assert f'"X-signature": "{signature}"' in text
        assert await fetch(f"{site.base}/w") == (404, "No such upload was ordered.")


async def test_no_text_ends_the_script_of_a_page_early() -> None:
    async with open_form_site() as site:
        _, text = await fetch(site.offer(ticket(metadata="</script><b>")))
        assert text.count("</script>") == 1
