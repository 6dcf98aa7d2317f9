# SPDX-License-Identifier: Apache-2.0
"""How to run the agent on an ordinary machine against a simulated server.

Its configuration keeps it within one folder: nothing of the machine is changed, a directory serves
as store. The demo, the end-to-end tests and the benchmarks start it with the words made here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

# Where a simulated cloud's images may come from: this machine, and the user's own networks.
_PRIVATE_NETWORKS: Final = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]


def agent_settings(
    folder: Path, port: int, *, name: str = "s-1-VM", more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The contents of an agent.yaml for an agent that lives below ``folder``.

    Args:
        folder: Absolute; gets ``mnt``, ``conf`` and ``state``.
        port: Of the management server on 127.0.0.1.
        name: Instance name of the system VM it plays.
        more: Sections to merge over these.
    """
    settings: dict[str, Any] = {
        "management_servers": ["127.0.0.1"],
        "port": port,
        "zone": "1",
        "pod": "1",
        "guid": name,
        "name": name,
        "mount_root": str(folder / "mnt"),
        "conf_dir": str(folder / "conf"),
        "state_dir": str(folder / "state"),
        "appliance": "recording",
        "publish": "builtin",
        "public": {"listen": ["127.0.0.1"], "http_port": 0, "https_port": 0},
        "networks": {
            "private_device": "none1",
            "private_address": "10.1.34.20",
            "private_netmask": "255.255.255.0",
            "public_device": "none2",
            "public_address": "203.0.113.21",
            "public_netmask": "255.255.255.0",
        },
        "status": {"listen": ""},
        "upload": {"listen_port": 0},
        "download": {
            "allow_loopback_sources": True,
            "allowed_internal_cidrs": _PRIVATE_NETWORKS,
        },
    }
    for key, value in (more or {}).items():
        if isinstance(value, Mapping):
            settings[key] = {**settings.get(key, {}), **value}
        else:
            settings[key] = value
    return settings


def write_agent_settings(
    folder: Path, port: int, *, name: str = "s-1-VM", more: Mapping[str, Any] | None = None
) -> Path:
    """Write such an agent.yaml with the directories it names, and return its path (blocking)."""
    import yaml

    for part in ("mnt", "conf", "state"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    path = folder / "agent.yaml"
    path.write_text(yaml.safe_dump(agent_settings(folder, port, name=name, more=more)))
    return path


def agent_command(settings: Path) -> list[str]:
    """The argument vector that runs the agent with this agent.yaml and no boot text."""
    return [sys.executable, "-m", "ssvm_agent", "run", "--config", str(settings)]
