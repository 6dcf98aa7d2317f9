# SPDX-License-Identifier: Apache-2.0
"""The HTTP side of the agent on loopback, in both ways of publishing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path, PurePath
from typing import Any

import pytest

from ssvm_agent.config.settings import DownloadSettings, Settings
from ssvm_agent.host.clock import SystemClock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import SystemRunner
from ssvm_agent.ingest.assembly import open_ingest
from ssvm_agent.masking import Secret
from ssvm_agent.storage.layout import is_temporary
from ssvm_agent.storage.service import StoreService
from ssvm_agent.storage.stores import Store, StoreRef
from ssvm_agent.web.apache import ApachePublisher, ApacheSite
from ssvm_agent.web.apache_files import Patience
from ssvm_agent.web.entrance import Limits
from ssvm_agent.web.publisher import BuiltinPublisher, Publisher
from ssvm_agent.web.server import WebServices, WebSettings
from ssvm_agent.web.upload_install import PipelineInstaller
from tests.fixtures.apache import ApacheHome
from tests.fixtures.ports import free_port
from tests.net.web.rig import KEY, Rig

# The certificate the first rig makes; the others find it as after a restart.
_OWN_CERTIFICATES: list[bytes] = []


class NoUsage:
    """Accounts that use nothing, until a test says otherwise."""

    def __init__(self) -> None:
        self.bytes = 0

    async def used_bytes(self, store: Store, account_id: int) -> int:
        return self.bytes


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder Apache's own user can get into as well."""
    folder = Path(tempfile.mkdtemp(prefix="ssvm-web-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def builtin(home: Path) -> AsyncIterator[Rig]:
    """The agent serves the public ports itself."""
    async with AsyncExitStack() as stack:
        rig = await open_rig(stack, home)
        yield rig
    assert traces(rig) == []


@pytest.fixture(params=["builtin", pytest.param("apache", marks=pytest.mark.needs("apache2"))])
async def rig(request: pytest.FixtureRequest, home: Path) -> AsyncIterator[Rig]:
    """Either way of publishing: what is tested with this holds for both."""
    async with AsyncExitStack() as stack:
        rig = await open_rig(stack, home, apache=request.param == "apache")
        yield rig
    assert traces(rig) == []


def traces(rig: Rig) -> list[str]:
    """What unfinished work left in the store; nothing, whatever a test did."""
    uploads = tuple(rig.web.uploads)
    installed = {str(PurePath(one.result.install_path).parent) for one in uploads if one.result}
    failed = {one.description.rpartition(" in ")[2] for one in uploads} - installed
    unfinished = [
        path
        for path in rig.data.rglob("*")
        if is_temporary(path.name) or (path.suffix == ".properties" and not path.stat().st_size)
    ]
    return [str(path) for path in (*unfinished, *map(rig.data.joinpath, failed)) if path.exists()]


async def open_rig(
    stack: AsyncExitStack,
    home: Path,
    *,
    apache: bool = False,
    address: str = "127.0.0.1",
    apache_head_s: int = 20,
    **options: Any,
) -> Rig:
    """Start everything behind the HTTP side for real: store, pipeline, certificate."""
    data = home / "store"
    data.mkdir()
    clock, pool, runner = SystemClock(), WorkPool("local disk"), SystemRunner()
    stack.callback(pool.close)
    stores = StoreService(mount_root=home / "mnt", runner=runner, clock=clock)
    stack.push_async_callback(stores.close)
    store = await stores.open(StoreRef(url=f"file://{data}"))
    (home / "mnt").mkdir()
    (home / "mnt" / store.directory_name).symlink_to(data)
    ingest = await stack.enter_async_context(
        open_ingest(
            Settings(
                guid="g",
                zone="1",
                state_dir=home / "state",
                download=DownloadSettings(allow_loopback_sources=True),
            ),
            clock=clock,
            owner="s-1-VM",
        )
    )
    usage = NoUsage()
    installer = PipelineInstaller(stores=stores, tools=ingest.tools, usage=usage)
    options.setdefault("use_https_to_upload", False)
    options.setdefault("limits", Limits(linger_s=0.5))
    settings = WebSettings(
        state_dir=home / "state/web",
        listen_hosts=() if apache else (address,),
        public_hosts=("127.0.0.1", "127-0-0-1.example.com"),
        http_port=0,
        https_port=0,
        upload_port=free_port(),
        **options,
    )
    publisher: Publisher = BuiltinPublisher()
    http_port = https_port = 0
    server: ApacheHome | None = None
    if apache:
        server = ApacheHome(home / "apache", home / "mnt")
        stack.callback(server.stop)
        http_port, https_port = free_port(), free_port()
        publisher = ApachePublisher(
            layout=server.layout,
            site=ApacheSite(
                address=address,
                name="s-1-VM",
                http_port=http_port,
                https_port=https_port,
                upload_port=settings.upload_port,
                upload_https=settings.use_https_to_upload,
                patience=Patience(head_s=apache_head_s),
            ),
            control=server.control,
            runner=runner,
            pool=pool,
        )
    web = WebServices(
        settings=settings,
        stores=stores,
        installer=installer,
        publisher=publisher,
        runner=runner,
        pool=pool,
        clock=clock,
    )
    own_certificate = settings.state_dir / "tls/own.json"
    if _OWN_CERTIFICATES:
        own_certificate.parent.mkdir(parents=True)
        own_certificate.write_bytes(_OWN_CERTIFICATES[0])
    await web.start()
    if not _OWN_CERTIFICATES:
        _OWN_CERTIFICATES.append(own_certificate.read_bytes())
    stack.push_async_callback(web.stop, 1.0)
    await web.set_upload_key(Secret(KEY))
    return Rig(
        web=web,
        stores=stores,
        store=store,
        data=data,
        usage=usage,
        http_port=http_port or web.ports.http,
        https_port=https_port or web.ports.https,
        apache=server,
    )
