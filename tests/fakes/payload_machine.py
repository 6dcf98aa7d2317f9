# SPDX-License-Identifier: Apache-2.0
"""A system VM's root directory, and small bundles to be installed in it."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from ssvm_agent.host.clock import SystemClock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.payload.installer import Installer
from ssvm_agent.payload.manifest import MANIFEST, scan
from ssvm_agent.payload.places import Places
from ssvm_agent.payload.services import Services
from tests.fakes.machine import FakeRunner

PYTHON = ".".join(platform.python_version_tuple()[:2])
STOCK = {
    "etc/systemd/system/cloud.service": "[Service]\nExecStart=/usr/local/cloud/systemvm/_run.sh\n",
    "opt/cloud/bin/patched.sh": "ls -lrt $1\n",
    "usr/local/cloud/systemvm/conf/agent.properties": "host=10.1.32.5\n",
}
# Where the installation keeps its own things.
_OWN = ("opt/ssvm-agent/", "var/lib/ssvm-agent/")


def stock_machine(root: Path) -> Path:
    """A machine as the cloud makes it."""
    for path, text in STOCK.items():
        _write(root / path, text)
    return root


def bundle(folder: Path, version: str) -> Path:
    """An unpacked bundle with a bit of everything."""
    tree = folder / f"bundle-{version}"
    unit = "[Unit]\nDescription={0} {1}\n[Service]\nExecStart=/bin/true\n[Install]\n"
    for path, text in {
        "bin/ssvm-agent": "#!/bin/sh\n",
        f"lib/python{PYTHON}/site-packages/ssvm_agent/__init__.py": f"__version__ = '{version}'\n",
        "share/systemd/cloud.service": unit.format("agent", version),
        "share/systemd/cloud-preinit.service": unit.format("boot", version),
        "share/systemd/ssvm-payload-mend.service": unit.format("mend", version),
        "share/systemd/tmpfiles.d/ssvm-agent.conf": f"# {version}\n",
        "share/system-vm/opt/cloud/bin/patched.sh": f"#!/bin/sh\n# {version}\n",
        f"share/system-vm/opt/cloud/bin/only-in-{version}": "#!/bin/sh\n",
    }.items():
        _write(tree / path, text)
    manifest = scan(tree, version=version, architecture=platform.machine(), python=PYTHON)
    (tree / MANIFEST).write_bytes(manifest.render())
    return tree


def installer(root: Path, pool: WorkPool) -> Installer:
    """The installer of a machine that is not running."""
    places = Places(root)
    services = Services(places, FakeRunner(), is_running=False)
    return Installer(places, services, pool=pool, clock=SystemClock(), say=lambda _: None)


def visible(root: Path) -> dict[str, str]:
    """Every file and link outside of the installation's own directories, with its content."""
    found = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if name.startswith(_OWN) or (path.is_dir() and not path.is_symlink()):
            continue
        content = f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
        found[name] = f"{path.lstat().st_mode:o} {content}"
    return found


def copy_of(root: Path, to: Path) -> Path:
    """The machine once more."""
    shutil.copytree(root, to, symlinks=True)
    return to


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755 if path.parent.name == "bin" else 0o644)
