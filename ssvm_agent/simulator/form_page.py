# SPDX-License-Identifier: Apache-2.0
"""The upload form of the web interface, in small: one page for every upload that was ordered.

The page sends what the real one does, from another origin than the agent's: a form by script, with
three headers, so that a browser asks for permission first (storage-commands.md 5.1).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ssvm_agent.simulator.uploads import FIELD, UploadTicket

_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Upload</title>
<style>
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto }
  progress { width: 100% }
  code { overflow-wrap: anywhere }
</style>
<h1>Upload</h1>
<p>to <code id="target"></code>, until <span id="expires"></span></p>
<p><label>File <input type="file" id="file"></label> <button id="go">Upload</button></p>
<p><progress id="bar" max="1" value="0" aria-label="sent"></progress></p>
<p id="state" role="status"></p>
<script>
  const order = ORDER;
  const at = (id) => document.getElementById(id);
  let steps = 0;
  at("target").textContent = order.url;
  at("expires").textContent = order.headers["X-expires"];
  at("go").onclick = () => {
    const file = at("file").files[0];
    if (!file) {
      at("state").textContent = "Choose a file first.";
      return;
    }
    const form = new FormData();
    form.append(order.field, file);
    const request = new XMLHttpRequest();
    request.open("POST", order.url);
    for (const [name, value] of Object.entries(order.headers)) {
      request.setRequestHeader(name, value);
    }
    request.upload.onprogress = (event) => {
      steps += 1;
      at("bar").value = event.loaded / event.total;
    };
    request.onload = request.onerror = () => {
      const text = request.responseText;
      // A script (a test's) reads the outcome here, a person below.
      window.outcome = {status: request.status, text: text, steps: steps};
      at("state").textContent = request.status
        ? `${request.status} ${text}`
        : "No answer that this page may read: the address is wrong, its certificate is not"
          + " trusted, or the answer lacks the CORS headers.";
    };
    request.send(form);
  };
</script>
"""


class FormSite:
    """The pages of a site.

    Attributes:
        base: URL of the site without a path.
    """

    def __init__(self, base: str = "") -> None:
        self.base = base
        self._tickets: dict[str, UploadTicket] = {}

    def offer(self, ticket: UploadTicket) -> str:
        """Make a page for an upload, and return its URL."""
        self._tickets[ticket.uuid] = ticket
        return f"{self.base}/{ticket.uuid}"

    def page(self, uuid: str) -> str | None:
        """The page for an upload; None when nobody ordered it."""
        ticket = self._tickets.get(uuid)
        if ticket is None:
            return None
        order = {"url": ticket.post_url, "headers": ticket.headers(), "field": FIELD}
        # Inside a script element only "<" could end it early.
        return _PAGE.replace("ORDER", json.dumps(order).replace("<", "\\u003c"), 1)


@asynccontextmanager
async def open_form_site(address: str = "127.0.0.1", port: int = 0) -> AsyncIterator[FormSite]:
    """Serve the pages until the context ends; port 0 takes a free one.

    Raises:
        OSError: The address and port cannot be listened on.
    """
    from aiohttp import web

    site = FormSite()

    async def show(request: web.Request) -> web.Response:
        text = site.page(request.match_info["uuid"])
        if text is None:
            raise web.HTTPNotFound(text="No such upload was ordered.")
        return web.Response(text=text, content_type="text/html")

    app = web.Application()
    app.router.add_get("/{uuid}", show)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
        host = f"[{address}]" if ":" in address else address
        site.base = f"http://{host}:{runner.addresses[0][1]}"
        yield site
    finally:
        await runner.cleanup()
