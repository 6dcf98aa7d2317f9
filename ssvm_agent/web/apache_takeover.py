# SPDX-License-Identifier: Apache-2.0
"""Makes the machine's Apache ready for our site: its ports are ours, its modules are there.

Debian's own files listen on ports 80 and 443 of every address. Apache cannot listen there and on
the public address besides, and would not start; nor does it with words of a module that is not
enabled. It knows nothing of what we serve. Blocking.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Final

from ssvm_agent.host.files import atomic_write
from ssvm_agent.web.apache_files import MARK, ApacheLayout
from ssvm_agent.web.errors import PublishError

# What our files use, and what those modules need in turn.
_MODULES: Final = (
    "access_compat", "alias", "auth_basic", "authn_core", "authn_file", "authz_core", "authz_host",
    "authz_user", "headers", "mime", "proxy", "proxy_http", "rewrite", "setenvif", "socache_shmcb",
    "ssl",
)  # fmt: skip
_LISTENS: Final = re.compile(rb"^\s*Listen\b", re.IGNORECASE | re.MULTILINE)
_PORTS: Final = b"# Emptied by ssvm-agent: the ports are in sites-enabled.\n"


def take_over(layout: ApacheLayout, address: str) -> list[str]:
    """Disable every site but ours, and the ports that belong to them; nothing of others is lost.

    A link into ``sites-available`` is removed as ``a2dissite`` does it, and so is a site we wrote
    for another address; any other file moves to ``sites-available``. ``a2ensite`` brings both
    back.

    Compat: boot-and-system.md 2.6. ``ports.conf`` stays, without a word in it: the main file of
    Debian's Apache does not load when it is missing. What it said is kept beside it.

    Returns:
        What was done, for the log. If anything was, Apache must let go of sockets it holds.
    """
    ours = layout.site(address)
    done = [_disable(path, layout) for path in _entries(ours.parent) if path != ours]
    ports = layout.conf_dir / "ports.conf"
    with contextlib.suppress(FileNotFoundError):
        text = ports.read_bytes()
        if _LISTENS.search(text):
            kept = _free_name(ports.with_name("ports.conf.before-ssvm-agent"), text)
            atomic_write(kept, text, mode=0o644)
            atomic_write(ports, _PORTS, mode=0o644)
            done.append(f"emptied ports.conf, kept as {kept.name}")
    return done


def _disable(site: Path, layout: ApacheLayout) -> str:
    available = layout.conf_dir / "sites-available"
    if site.is_symlink() and site.resolve().parent == available.resolve():
        site.unlink()
        return f"disabled {site.name}"
    text = b""
    with contextlib.suppress(OSError):
        text = site.read_bytes()
    if text.startswith(MARK.encode()) and not site.is_symlink():
        site.unlink()
        return f"removed our own {site.name}"
    available.mkdir(exist_ok=True)
    kept = _free_name(available / site.name, text)
    if site.is_symlink() and not site.readlink().is_absolute():
        # It would lead elsewhere from another folder.
        kept.unlink(missing_ok=True)
        kept.symlink_to(site.parent / site.readlink())
        site.unlink()
    else:
        site.replace(kept)
    return f"moved {site.name} to {kept}"


def _free_name(wanted: Path, text: bytes) -> Path:
    """The name, or one with a number where it is taken by another text."""
    path, number = wanted, 1
    while os.path.lexists(path) and not (path.is_file() and path.read_bytes() == text):
        path = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
        number += 1
    return path


def enable_modules(layout: ApacheLayout) -> bool:
    """Enable the modules our files need, the way Debian does it: by links.

    An Apache that is not set up Debian's way is left to whoever set it up.

    Returns:
        Whether one was added.

    Raises:
        PublishError: One is not installed.
    """
    available, enabled = layout.conf_dir / "mods-available", layout.conf_dir / "mods-enabled"
    if not available.is_dir():
        return False
    enabled.mkdir(exist_ok=True)
    changed = False
    for module in _MODULES:
        if not (available / f"{module}.load").exists():
            raise PublishError(
                f"The web server has no module {module}: install the package apache2 anew, or set "
                "publish to builtin.",
                detail=str(available),
            )
        for name in (f"{module}.load", f"{module}.conf"):
            link = enabled / name
            if (available / name).exists() and not link.is_symlink() and not link.exists():
                link.symlink_to(Path("../mods-available") / name)
                changed = True
    return changed


def _entries(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if path.is_symlink() or path.is_file()]
    except FileNotFoundError:
        return []
