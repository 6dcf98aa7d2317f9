# SPDX-License-Identifier: Apache-2.0
"""Small bundles in the shape of real ones: their installer is a shell script that keeps a log."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import platform
import sys
import tarfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

INSTALL = """#!/bin/sh
# Waits for /opt/go when /opt/wait exists, ends with the code in /opt/code.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
echo "$@" >>/opt/installs
release=VERSION-0123456789ab
mkdir -p /opt/ssvm-agent/releases /var/lib/ssvm-agent
tell() {
    printf '{"format": 1, "stage": "%s", "release": "%s", "reason": ""}' "$1" "$release" \\
        >/var/lib/ssvm-agent/payload.json
}
tell staged
while [ -e /opt/wait ] && [ ! -e /opt/go ]; do sleep 0.1; done
code=$(cat /opt/code 2>/dev/null || echo 0)
if [ "$code" = 3 ]; then
    echo 'password=s3cret the agent did not connect' >&2
    tell rolled-back
    echo '{"schema": 1, "result": "rolled-back", "reason": "no management server"}'
    exit 3
fi
rm -rf "/opt/ssvm-agent/releases/$release"
cp -a "$here" "/opt/ssvm-agent/releases/$release"
ln -sfn "releases/$release" /opt/ssvm-agent/current
tell confirmed
echo "{\\"schema\\": 1, \\"result\\": \\"installed\\", \\"release\\": \\"$release\\"}"
exit "$code"
"""
PAYLOAD = """#!/bin/sh
case $1 in
    status) echo "{\\"schema\\": 1, \\"current\\": \\"$(readlink /opt/ssvm-agent/current)\\"}" ;;
    undo) rm /opt/ssvm-agent/current; echo '{"schema": 1, "result": "undone"}' ;;
esac
"""


def make_bundle(
    folder: Path,
    *,
    version: str = "1.2.3",
    architecture: str = platform.machine(),
    python: str | None = None,
    ballast_bytes: int = 0,
    key: Ed25519PrivateKey | None = None,
) -> Path:
    """A bundle with its checksum beside it, signed when there is a key."""
    files = {
        "install": INSTALL.replace("VERSION", version).encode(),
        "bin/ssvm-payload": PAYLOAD.encode(),
        "lib/ballast": os.urandom(ballast_bytes),
    }
    manifest = {
        "format": 1,
        "version": version,
        "architecture": architecture,
        "python": python or system_python(),
        "files": [
            {"path": name, "mode": "755", "size": len(data), "sha256": sha256(data)}
            for name, data in files.items()
        ],
    }
    text = json.dumps(manifest).encode()
    files["manifest.json"] = text
    if key is not None:
        files["manifest.sig"] = base64.b64encode(key.sign(text)) + b"\n"
    top = f"ssvm-agent-{version}-{architecture}"
    path = folder / f"{top}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size, member.mode = len(data), 0o755
            archive.addfile(member, io.BytesIO(data))
    state_sum(path)
    return path


def state_sum(path: Path) -> None:
    """Write the checksum of an archive beside it."""
    Path(f"{path}.sha256").write_text(f"{sha256(path.read_bytes())}  {path.name}\n")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def system_python() -> str:
    """The version of /usr/bin/python3, by the library beside it."""
    links = Path("/usr/bin/python3").resolve().name.removeprefix("python")
    return links or f"{sys.version_info[0]}.{sys.version_info[1]}"
