# SPDX-License-Identifier: Apache-2.0
"""A real nginx that terminates TLS in front of the agent, as operators put it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest

from tests.fixtures.certificates import WebIdentity
from tests.fixtures.ports import free_port
from tests.net.web.conftest import open_rig
from tests.net.web.rig import Order, form
from tests.net.web.test_uploads import qcow2

pytestmark = pytest.mark.needs("nginx")

_CONFIGURATION = """
daemon off; master_process off; pid {home}/pid; error_log {home}/error.log warn;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  client_max_body_size 0; proxy_request_buffering off; proxy_http_version 1.1;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {certificate}; ssl_certificate_key {key};
    location / {{
      proxy_pass http://127.0.0.1:{backend};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""


@contextmanager
def nginx_in_front(home: Path, backend: int, identity: WebIdentity) -> Iterator[str]:
    """Run nginx before a port; yields its URL."""
    program = shutil.which("nginx")
    assert program is not None
    home.mkdir()
    port = free_port()
    (home / "conf").write_text(
        _CONFIGURATION.format(
            home=home,
            port=port,
            backend=backend,
            certificate=identity.certificate,
            key=identity.private_key,
        )
    )
    process = subprocess.Popen(
        [program, "-p", str(home), "-c", str(home / "conf")], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 10
    while not _listens(port) and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        yield f"https://localhost:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_uploads_and_copies_pass_a_proxy_we_trust(
    home: Path, web_identity: WebIdentity
) -> None:
    """Requirement R5: X-Forwarded-* of a trusted peer; the guard sees the client behind it."""
    async with AsyncExitStack() as stack:
        rig = await open_rig(stack, home, use_https_to_upload=True)
        url = stack.enter_context(nginx_in_front(home / "nginx", rig.http_port, web_identity))
        session = await stack.enter_async_context(aiohttp.ClientSession())

        order = Order(rig=rig, scheme="https", host="localhost")
        body, kind = form(qcow2(3 << 20))
        headers = {**order.headers(), "Content-Type": kind}
        async with session.post(
            f"{url}/upload/{order.uuid}", data=BytesIO(body), headers=headers, ssl=False
        ) as answer:
            assert (answer.status, await answer.text()) == (200, "upload successful.")

        file = next(path for path in rig.leftovers() if path.endswith(".qcow2"))
        copy = f"{url}/copy/SecStorage/{rig.store.directory_name}/{file}"
        await rig.web.allow_copy_from(["127.0.0.1"], replace=True)
        async with session.get(copy, ssl=False) as answer:
            assert answer.status == 200
            assert len(await answer.read()) >= 3 << 20
        told = {"X-Forwarded-For": "127.0.0.1, 192.0.2.77"}
        await rig.web.allow_copy_from(["192.0.2.77"], replace=True)
        async with session.get(copy, ssl=False, headers=told) as answer:
            # The proxy appends who it saw; what the client wrote before that proves nothing, but
            # everything in the list is on this machine's own side here.
            assert answer.status == 200
        await rig.web.allow_copy_from(["192.0.2.1"], replace=True)
        async with session.get(copy, ssl=False) as answer:
            assert answer.status == 403
