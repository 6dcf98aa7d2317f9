# SPDX-License-Identifier: Apache-2.0
"""What systemd and a service of it tell each other: readiness, status, watchdog, invocation.

Does nothing, and says so, when the process was not started by systemd.
"""

from __future__ import annotations

import os
import socket


def notify(state: str) -> bool:
    """Send a state such as ``READY=1`` or ``WATCHDOG=1`` to the service manager.

    Returns:
        Whether a manager listens and took it. Never raises: a failing notification must not stop
        the work it reports on.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)
            channel.connect(address)
            channel.sendall(state.encode())
    except OSError:
        return False
    return True


def invocation() -> str:
    """Which start of its unit this process belongs to; empty when systemd did not start it."""
    return os.environ.get("INVOCATION_ID", "")


def watchdog_interval_s() -> float | None:
    """How often ``WATCHDOG=1`` is to be sent: half of what the manager allows; None when never."""
    try:
        allowed_us = int(os.environ.get("WATCHDOG_USEC", "0"))
        pid = int(os.environ.get("WATCHDOG_PID", "0") or os.getpid())
    except ValueError:
        return None
    if allowed_us <= 0 or pid not in {0, os.getpid()}:
        return None
    return allowed_us / 2_000_000
