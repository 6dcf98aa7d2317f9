# SPDX-License-Identifier: Apache-2.0
"""Publishing through the Apache of the system VM: files where its scripts have always put them.

Everything is written only when it differs, and Apache is asked to reload only when something it
reads at start has changed, so a repeated command costs nothing and cuts nobody off
(storage-commands.md 11.12). Reloads are graceful: running transfers go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from ssvm_agent import log
from ssvm_agent.appliance import access
from ssvm_agent.host.errors import HostError
from ssvm_agent.host.files import atomic_write
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import Runner
from ssvm_agent.masking import Secret
from ssvm_agent.storage.stores import Store
from ssvm_agent.web import apache_files
from ssvm_agent.web.apache_files import ApacheLayout, Patience
from ssvm_agent.web.apache_takeover import enable_modules, take_over
from ssvm_agent.web.certificates import ServerCertificate
from ssvm_agent.web.copy_guard import CopyGuard
from ssvm_agent.web.errors import PublishError
from ssvm_agent.web.links import Link
from ssvm_agent.web.open_file import open_below, open_directory_below

_logger = logging.getLogger(__name__)

T = TypeVar("T")

_DEADLINE_S: Final = 60.0
_END: Final = "-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApacheControl:
    """How Apache is asked for things; argument vectors."""

    is_active: tuple[str, ...] = ("systemctl", "is-active", "--quiet", "apache2")
    start: tuple[str, ...] = ("systemctl", "start", "apache2")
    reload: tuple[str, ...] = ("systemctl", "reload", "apache2")
    restart: tuple[str, ...] = ("systemctl", "restart", "apache2")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApacheSite:
    """What the public virtual hosts say."""

    address: str
    name: str
    http_port: int = 80
    https_port: int = 443
    upload_port: int = 8210
    upload_https: bool = True
    patience: Patience = Patience()  # noqa: RUF009 - it is frozen


class ApachePublisher:
    """Publishes through files.

    Args:
        layout: Where the files are.
        site: The public address.
        control: How to start and reload Apache.
        runner: Starts programs.
        pool: Threads for the local disk.
    """

    def __init__(
        self,
        *,
        layout: ApacheLayout,
        site: ApacheSite,
        runner: Runner,
        pool: WorkPool,
        control: ApacheControl | None = None,
    ) -> None:
        self._layout = layout
        self._site = site
        self._control = control or ApacheControl()
        self._runner = runner
        self._pool = pool
        self._lock = asyncio.Lock()

    async def start(self, links: Iterable[Link]) -> None:
        """Make the document tree and the includes; remove links nobody knows any more."""
        keys = {link.key for link in links}
        async with self._lock:
            await self._blocking(_make_tree, self._layout)
            await self._blocking(_remove_strangers, self._layout.userdata, keys)
            await self._write_include()
            # The virtual hosts name the certificate: they follow with serve_certificate.

    async def publish(self, link: Link, store: Store) -> None:
        """Make the link, have the file readable for Apache, and Apache running."""
        target = store.root / link.path
        await store.run(_let_others_read, store.root, link.path)
        async with self._lock:
            await self._ensure_active()
            await self._blocking(_make_link, self._layout.userdata / link.key, target)

    async def withdraw(self, key: str) -> None:
        """Remove the link and its directory."""
        async with self._lock:
            await self._blocking(_remove_link, self._layout.userdata, key)

    async def guard(self, guard: CopyGuard) -> None:
        """Write the access files; Apache reads them with each request."""
        copy, passwords = self._layout.copy, self._layout.password_file
        text = access.allow_list("", guard.addresses, replace=True)
        if guard.require_user:
            text += access.copy_auth(passwords)
        async with self._lock:
            await self._write(copy / ".htaccess", text)
            if guard.credentials is not None:
                await self._blocking(_write_password, passwords, *guard.credentials)
                await self._write(copy / "template" / ".htaccess", access.copy_auth(passwords))

    async def serve_certificate(self, certificate: ServerCertificate) -> None:
        """Write key, certificate and chain, then the virtual hosts, and reload if they differ."""
        leaf, chain = _split(certificate.chain_pem)
        layout, site = self._layout, self._site
        hosts = apache_files.virtual_hosts(
            layout,
            address=site.address,
            name=site.name,
            http_port=site.http_port,
            https_port=site.https_port,
            upload_https=site.upload_https,
            has_chain=bool(chain),
            patience=site.patience,
        )
        async with self._lock:
            key = certificate.key_pem.reveal().encode()
            changed = await self._blocking(_write_secret, layout.key, key)
            changed |= await self._write(layout.certificate, leaf)
            if chain:
                changed |= await self._write(layout.chain, chain)
            changed |= await self._write(layout.site(site.address), hosts)
            modules = await self._blocking(enable_modules, layout)
            taken = await self._blocking(take_over, layout, site.address)
            for what in taken:
                log.event(_logger, logging.INFO, "apache taken over", done=what)
            if taken or modules:
                # A graceful reload would keep the old sockets while it opens the new ones.
                await self._run(self._control.restart)
                _logger.info("apache restarted, ready for our site")
            elif not await self._ensure_active() and changed:
                await self._run(self._control.reload)
                _logger.info("apache reloaded")

    async def _write_include(self) -> None:
        site = self._site
        mine = self._layout.upload_include(https=site.upload_https)
        await self._write(
            mine, apache_files.upload_proxy(site.upload_port, https=site.upload_https)
        )
        # Compat: boot-and-system.md 2.6: only one of the two exists.
        other = self._layout.upload_include(https=not site.upload_https)
        await self._blocking(_unlink, other)

    async def _ensure_active(self) -> bool:
        """Start Apache when it is not running; returns whether it had to be started."""
        try:
            result = await self._runner.run(
                self._control.is_active, deadline_s=_DEADLINE_S, check=False
            )
        except HostError as error:
            raise PublishError(
                "Error in starting Apache server ", detail=error.for_operators()
            ) from error
        if result.returncode == 0:
            return False
        try:
            await self._run(self._control.start)
        except PublishError as error:
            # Compat: storage-commands.md 3.7
            raise PublishError("Error in starting Apache server ", detail=error.detail) from error
        _logger.info("apache started")
        return True

    async def _run(self, argv: tuple[str, ...]) -> None:
        try:
            await self._runner.run(argv, deadline_s=_DEADLINE_S)
        except HostError as error:
            raise PublishError(
                f"The web server could not be changed: {argv[0]} failed.",
                detail=error.for_operators(),
            ) from error

    async def _write(self, path: Path, text: str) -> bool:
        return await self._blocking(_write_if_different, path, text.encode(), 0o644)

    async def _blocking(self, fn: Callable[..., T], *args: object) -> T:
        try:
            return await self._pool.call(fn, *args, deadline_s=_DEADLINE_S)
        except OSError as error:
            raise PublishError(
                f"The files of the web server cannot be written: {error.strerror}.",
                detail=str(error.filename),
            ) from error


def _make_tree(layout: ApacheLayout) -> None:
    for directory in (layout.userdata, layout.copy / "template"):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    layout.site("x").parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    texts = {
        layout.document_root: apache_files.no_listing(),
        layout.userdata: apache_files.userdata_access(),
    }
    for directory, text in texts.items():
        _write_if_different(directory / ".htaccess", text.encode(), 0o644)
    if not (layout.copy / ".htaccess").exists():
        # Nobody may copy before the server has said who.
        text = access.allow_list("", (), replace=True)
        _write_if_different(layout.copy / ".htaccess", text.encode(), 0o644)
    _make_link(layout.copy / "SecStorage", layout.mount_root)


def _make_link(path: Path, target: Path) -> None:
    """A symbolic link in one step, replacing what had its name."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        if path.readlink() == target:
            return
    if path.is_dir() and not path.is_symlink():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)


def _remove_link(area: Path, key: str) -> None:
    path = area / key
    if path.is_symlink():
        path.unlink()
    if path.parent != area:
        with contextlib.suppress(FileNotFoundError, OSError):
            path.parent.rmdir()


def _remove_strangers(area: Path, keys: set[str]) -> None:
    """Remove links left by earlier agents that nobody can withdraw any more."""
    for entry in list(area.iterdir()):
        if entry.is_symlink():
            if entry.name not in keys:
                entry.unlink()
        elif entry.is_dir():
            for link in list(entry.iterdir()):
                if link.is_symlink() and f"{entry.name}/{link.name}" not in keys:
                    link.unlink()
            with contextlib.suppress(OSError):
                entry.rmdir()


def _let_others_read(root: Path, path: str) -> None:
    """Add the bits Apache's user needs to reach a file below a store; none is taken away.

    Through descriptors: what a name means may change between two looks at it.
    """
    *places, name = path.split("/")
    with open_below(root, [*places, name]) as file:
        _add_bits(file.fileno(), 0o444)
    if places:
        with open_directory_below(root, places) as directory:
            _add_bits(directory, 0o555)


def _add_bits(descriptor: int, bits: int) -> None:
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    if mode & bits != bits:
        os.fchmod(descriptor, mode | bits)


def _write_if_different(path: Path, data: bytes, mode: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == data and stat.S_IMODE(path.stat().st_mode) == mode:
            return False
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    atomic_write(path, data, mode=mode)
    return True


def _write_secret(path: Path, data: bytes) -> bool:
    return _write_if_different(path, data, 0o640)


def _write_password(path: Path, user: str, password: Secret) -> None:
    present = ""
    with contextlib.suppress(FileNotFoundError):
        present = path.read_text("utf-8", "replace")
    line = access.password_line(access.check_user(user), password, present)
    _write_if_different(path, line.encode(), 0o644)


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


def _split(chain_pem: str) -> tuple[str, str]:
    """The certificate itself and what follows it."""
    end = chain_pem.index(_END) + len(_END)
    return chain_pem[:end] + "\n", chain_pem[end:].lstrip()
