# SPDX-License-Identifier: Apache-2.0
"""Commands to the real handlers over a directory store, and what must be true of every answer."""

from __future__ import annotations

import asyncio
import functools
import http.server
import itertools
import json
import os
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssvm_agent.config.settings import DownloadSettings
from ssvm_agent.handlers.catalogue import load
from ssvm_agent.messages.base import class_name_of
from ssvm_agent.messages.catalogue import CATALOGUE
from ssvm_agent.storage.layout import local_directory_name
from tests.fakes.services import Rig, handler_rig
from tests.property.handlers.orders import NAMES, QCOW2, Order, fill, order

load()
_ROWS = {row.class_name: row for row in CATALOGUE}
UNSUPPORTED = "com.cloud.agent.api.UnsupportedAnswer"
_NO_RETRIES = DownloadSettings(allow_loopback_sources=True, retries=0, connect_timeout_s=2.0)

Tree = dict[str, bytes | str]


def tree(root: Path) -> Tree:
    """Every file and link below; directories do not count."""
    found: Tree = {}
    for folder, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = Path(folder, name)
            if path.is_symlink():
                found[str(path.relative_to(root))] = f"-> {path.readlink()}"
            elif path.is_file():
                found[str(path.relative_to(root))] = path.read_bytes()
    return found


@dataclass(frozen=True, slots=True)
class Answered:
    """One command with its answer."""

    order: Order
    class_name: str
    fields: dict[str, Any]

    @property
    def failed(self) -> bool:
        """Downloads tell by their status, all others by their result."""
        if "downloadStatus" in self.fields:
            return bool(self.fields["downloadStatus"] == "DOWNLOAD_ERROR")
        return self.fields["result"] is False

    def check(self) -> None:
        """Its own class, and a reason somebody can read."""
        row = _ROWS[self.order[0]]
        classes = {class_name_of(one) for one in (row.answer, row.on_failure) if one}
        if self.order[0].endswith(".CopyCommand"):
            classes.add(UNSUPPORTED)
        assert self.class_name in classes, self
        if self.failed:
            text = self.fields["details"]
            assert text.strip(), self
            assert "Internal error" not in text, self
            assert "Traceback" not in text, self
            assert len(text) < 2000, self


class Workbench:
    """The rig, a site to download from, and a new store for every example."""

    def __init__(self, rig: Rig, folder: Path, site: str) -> None:
        self.rig = rig
        self.folder = folder
        self.site = site
        self.numbers = itertools.count()

    def new_store(self) -> Path:
        """A filled store; what lies beside it must stay as it is."""
        root = self.folder / f"example-{next(self.numbers)}" / "store"
        root.mkdir(parents=True)
        fill(root)
        return root

    def orders(self, root: Path) -> dict[str, Order]:
        """A good command of every kind for this store."""
        name = local_directory_name(str(root))
        return {one: order(one, root, self.site, name) for one in NAMES}

    async def send(self, wanted: Order) -> Answered:
        """Carry a command out, to the end of whatever it began."""
        content = json.dumps([{wanted[0]: wanted[1]}]).encode(errors="surrogatepass")
        answers = await self.rig.executor.execute(content, stop_on_error=True)
        assert answers is not None
        (element,) = json.loads(answers)
        ((class_name, fields),) = element.items()
        if fields.get("downloadStatus") == "DOWNLOAD_IN_PROGRESS":
            fields = await self._end_of(fields)
        return Answered(wanted, class_name, fields)

    async def _end_of(self, fields: dict[str, Any]) -> dict[str, Any]:
        job = self.rig.services.jobs.get(fields["jobId"])
        assert job is not None
        state = await job.settled(20)
        assert state.has_ended
        failed = state.installed is None
        return fields | {
            "downloadStatus": "DOWNLOAD_ERROR" if failed else "DOWNLOADED",
            "details": state.message or " ",
        }

    def drop(self, root: Path) -> None:
        """Make room."""
        shutil.rmtree(root.parent, ignore_errors=True)


@contextmanager
def _site(folder: Path) -> Iterator[str]:
    """A web server of one image, in a thread."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    folder.mkdir()
    (folder / "image.qcow2").write_bytes(QCOW2)
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@asynccontextmanager
async def _open(folder: Path, site: str) -> AsyncIterator[Workbench]:
    async with handler_rig(folder / "machine", download=_NO_RETRIES) as rig:
        yield Workbench(rig, folder, site)


@contextmanager
def workbench(folder: Path) -> Iterator[tuple[Workbench, asyncio.Runner]]:
    """A workbench and the loop it lives in."""
    with _site(folder / "site") as site, asyncio.Runner() as runner:
        context = _open(folder, site)
        bench = runner.run(context.__aenter__())
        try:
            yield bench, runner
        finally:
            runner.run(context.__aexit__(None, None, None))
