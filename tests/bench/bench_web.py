# SPDX-License-Identifier: Apache-2.0
"""The HTTP side beside nginx: one file out to 1 and 16 clients, one body in, and memory."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from ssvm_agent.masking import Secret
from ssvm_agent.simulator import commands
from ssvm_agent.simulator.demo_images import write_qcow2
from ssvm_agent.simulator.model import ImageStore
from ssvm_agent.simulator.uploads import UploadOrder
from tests.bench.rig import Measurement, Rig, running, website
from tests.fixtures.ports import free_port

MIB: Final = 1 << 20
GIB: Final = 1 << 30
_ROUNDS: Final = 3  # of which the quickest counts, on both sides
# The simulated server sends it with every connect.
_KEY: Final = "simulated-upload-key"

_NGINX = """
daemon off; master_process off; pid {home}/pid; error_log {home}/error.log warn;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; client_max_body_size 0; client_body_in_file_only on;
  client_body_temp_path {home}/body; proxy_temp_path {home}/p; fastcgi_temp_path {home}/f;
  uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  server {{ listen 127.0.0.1:{secure} ssl; root {root};
    ssl_certificate {home}/crt; ssl_certificate_key {home}/key; }}
  server {{ listen 127.0.0.1:{upload}; location / {{ proxy_pass http://127.0.0.1:{sink};
    proxy_set_body off; proxy_pass_request_body off; }} }}
  server {{ listen 127.0.0.1:{sink}; location / {{ return 200 ok; }} }}
}}
"""


@dataclass(slots=True)
class _Nginx:
    """nginx over TLS, and nginx that writes bodies to files."""

    home: Path
    secure: int
    upload: int


@contextmanager
def _nginx(home: Path, root: Path) -> Any:
    home.mkdir()
    secure, upload, sink = (free_port() for _ in range(3))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", home / "key", "-out", home / "crt", "-subj", "/CN=x", "-days", "2"],
        check=True, capture_output=True,
    )  # fmt: skip
    text = _NGINX.format(home=home, root=root, secure=secure, upload=upload, sink=sink)
    (home / "conf").write_text(text)
    process = subprocess.Popen(["nginx", "-p", home, "-c", home / "conf"])
    try:
        while not _listens(sink):
            time.sleep(0.02)
        yield _Nginx(home, secure, upload)
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(slots=True)
class _Web:
    """An agent with its public ports."""

    rig: Rig
    parent: str
    http: int
    https: int

    async def publish(self, path: str) -> str:
        """Publish a file of the store; the path of its URL."""
        folder, name = secrets.token_hex(8), "file.bin"
        answer = await self.rig.server.ask(
            commands.command(
                f"{commands.STORAGE_API}CreateEntityDownloadURLCommand",
                parent=self.parent,
                installPath=path,
                filepathInExtractURL=folder,
                filenameInExtractURL=name,
            )
        )
        assert answer.result, answer.details
        return f"/userdata/{folder}/{name}"

    def order(self, number: int) -> tuple[str, list[str]]:
        """URL and curl options of a new upload."""
        order = UploadOrder(
            entity_id=number, name=f"t{number}", store_url=f"file://{self.rig.store}"
        )
        until = datetime.now(UTC) + timedelta(hours=1)
        headers = order.ticket(Secret(_KEY), "https://127.0.0.1", until).headers()
        options = [item for name, value in headers.items() for item in ("-H", f"{name}: {value}")]
        return f"http://127.0.0.1:{self.http}/upload/{order.uuid}", ["-H", "Expect:", *options]


async def _curl(*arguments: str | Path) -> bytes:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-k", "-f", *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"curl failed: {out!r}")
    return out


async def _timed(work: Awaitable[object]) -> float:
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


async def _fetch(url: str, clients: int) -> float:
    return await _timed(asyncio.gather(*(_curl("-o", "/dev/null", url) for _ in range(clients))))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def web(folder: Path, scale: float) -> AsyncIterator[Measurement]:
    """1 GiB out over http and https, 1 GiB in, and memory under load."""
    http, https = free_port(), free_port()
    sections = {
        "publish": "builtin",
        "public": {"listen": ["127.0.0.1"], "http_port": http, "https_port": https},
        "upload": {"listen_port": 0},
    }
    with ExitStack() as stack:
        site = stack.enter_context(website(folder))
        async with running(folder, site, **sections) as rig:
            image_store = ImageStore(url=f"file://{rig.store}")
            answer = await rig.server.ask(commands.sec_storage_setup(image_store, _KEY))
            it = _Web(rig, str(answer.fields["_dir"]), http, https)
            nginx = stack.enter_context(_nginx(folder / "nginx-web", rig.store))
            size = int(GIB * scale)
            async for row in _out(it, nginx, site.root, size):
                yield row
            async for row in _in(it, nginx, folder, size):
                yield row
            yield await _memory(it, folder, size)


def _fill(file: Path, size: int) -> None:
    file.parent.mkdir(parents=True)
    with file.open("wb") as out:
        for _ in range(size // MIB):
            out.write(os.urandom(MIB))


async def _out(it: _Web, nginx: _Nginx, root: Path, size: int) -> AsyncIterator[Measurement]:
    file = it.rig.store / "volumes/2/1/file.bin"
    # In a thread: the simulated server, in this process, must go on answering pings.
    await asyncio.to_thread(_fill, file, size)
    os.link(file, root / "file.bin")
    path = await it.publish("volumes/2/1/file.bin")
    yard = f"{it.rig.site.base_url}/file.bin"
    for clients in (1, 16):
        ours, theirs, cpu = [], [], []
        for _ in range(_ROUNDS):
            theirs.append(await _fetch(yard, clients))
            before = _cpu_s(it.rig.agent.pid)
            ours.append(await _fetch(f"http://127.0.0.1:{it.http}{path}", clients))
            cpu.append((_cpu_s(it.rig.agent.pid) - before) / clients * GIB / size)
        yield Measurement(
            f"extract over http, {clients} clients: time", min(ours) / min(theirs), 1 / 0.9, "x",
            f"nginx with sendfile {min(theirs):.2f} s, ours {min(ours):.2f} s, "
            f"{min(cpu):.2f} s of CPU for each GiB",
        )  # fmt: skip
    theirs = [await _fetch(f"https://127.0.0.1:{nginx.secure}/volumes/2/1/file.bin", 1)
              for _ in range(_ROUNDS)]  # fmt: skip
    ours = [await _fetch(f"https://127.0.0.1:{it.https}{path}", 1) for _ in range(_ROUNDS)]
    yield Measurement(
        "extract over https, 1 client: time", min(ours) / min(theirs), 4.0, "x",
        f"nginx {min(theirs):.2f} s, ours {min(ours):.2f} s",
    )  # fmt: skip


async def _in(it: _Web, nginx: _Nginx, folder: Path, size: int) -> AsyncIterator[Measurement]:
    image = folder / "upload.qcow2"
    write_qcow2(image, virtual_size_bytes=size, data_bytes=size)
    ours, theirs = [], []
    for number in range(_ROUNDS):
        part = f"files[]=@{image};filename=disk.qcow2"
        theirs.append(
            await _timed(_curl("-H", "Expect:", "-F", part, f"http://127.0.0.1:{nginx.upload}/"))
        )
        shutil.rmtree(nginx.home / "body")
        (nginx.home / "body").mkdir()
        url, options = it.order(700 + number)
        ours.append(await _timed(_curl(*options, "-F", part, url)))
        it.rig.empty_store()
    yield Measurement(
        f"upload of {image.stat().st_size / GIB:.2g} GiB: time", min(ours) / min(theirs), 1.2, "x",
        f"nginx to a file {min(theirs):.2f} s, ours {min(ours):.2f} s",
    )  # fmt: skip


async def _memory(it: _Web, folder: Path, size: int) -> Measurement:
    """RSS under 10 uploads and 50 range readers (requirement R30)."""
    image = folder / "upload.qcow2"
    path = await it.publish("volumes/2/1/file.bin")
    peak = 0

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, it.rig.agent.memory_bytes())
            await asyncio.sleep(0.05)

    async def upload(number: int) -> None:
        url, options = it.order(800 + number)
        await _curl(*options, "--limit-rate", "40M", "-F", f"f=@{image};filename=d.qcow2", url)

    async def read(number: int) -> None:
        start = number * 10 * MIB % (size // 2)
        await _curl(
            "-o", "/dev/null", "--limit-rate", "8M", "-r", f"{start}-{start + 40 * MIB}",
            f"http://127.0.0.1:{it.http}{path}",
        )  # fmt: skip

    watcher = asyncio.create_task(watch())
    async with asyncio.timeout(600):
        await asyncio.gather(*(upload(n) for n in range(10)), *(read(n) for n in range(50)))
    watcher.cancel()
    return Measurement("RSS, 10 uploads and 50 range readers", peak / MIB, 128, "MiB")


WEB_CASES: Final = {"web": web}
