# SPDX-License-Identifier: Apache-2.0
"""What was applied in which boot, kept on disk; and that only one apply runs at a time.

The record says what is ours on the running network, so that a later plan may remove it, and is
written before the network is touched: after a crash the next apply knows.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

from ssvm_agent.appliance.apply.changes import Owned
from ssvm_agent.appliance.errors import ApplianceError
from ssvm_agent.host.files import atomic_write


class BusyError(ApplianceError):
    """Another apply is running."""

    code = "busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the last apply did.

    Attributes:
        boot_id: In which boot.
        plan_sha256: Which plan.
        text_sha256: Of which text.
        phase: Which phase.
        result: ``applying``, ``applied``, ``incomplete`` or ``rolled back``.
        addresses: Ours on the running network: interface and address.
        routes: Likewise: destination, next hop, interface.
        passwords: Account to digest of the shadow entry we made.
        user_data_ran_in: Boot in which cloud-init ran, and of which user data.
    """

    boot_id: str = ""
    plan_sha256: str = ""
    text_sha256: str = ""
    phase: str = ""
    result: str = ""
    addresses: tuple[tuple[str, str], ...] = ()
    routes: tuple[tuple[str, str, str], ...] = ()
    passwords: Mapping[str, str] = field(default_factory=dict)
    user_data_ran_in: str = ""

    def owned_in(self, boot_id: str) -> Owned:
        """What is ours in this boot; after another start nothing is."""
        if not boot_id or boot_id != self.boot_id:
            return Owned()
        return Owned(
            addresses=frozenset((device, ip_interface(text)) for device, text in self.addresses),
            routes=frozenset(
                (ip_network(destination), via, device) for destination, via, device in self.routes
            ),
        )


def addresses_of(owned: Owned) -> tuple[tuple[str, str], ...]:
    """In the shape of a record."""
    return tuple(sorted((device, str(address)) for device, address in owned.addresses))


def routes_of(owned: Owned) -> tuple[tuple[str, str, str], ...]:
    """In the shape of a record."""
    return tuple(sorted((str(network), via, device) for network, via, device in owned.routes))


def read(path: Path) -> Record:
    """The record (blocking); an empty one when there is none or it cannot be understood."""
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
        record = Record(
            boot_id=str(raw["boot_id"]),
            plan_sha256=str(raw["plan_sha256"]),
            text_sha256=str(raw["text_sha256"]),
            phase=str(raw["phase"]),
            result=str(raw["result"]),
            addresses=tuple((str(one), str(two)) for one, two in raw["addresses"]),
            routes=tuple((str(one), str(two), str(three)) for one, two, three in raw["routes"]),
            passwords={str(key): str(value) for key, value in raw["passwords"].items()},
            user_data_ran_in=str(raw["user_data_ran_in"]),
        )
        record.owned_in(record.boot_id)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Record()
    return record


def write(path: Path, record: Record) -> None:
    """Replace the record (blocking).

    Raises:
        OSError: It could not be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps(asdict(record), indent=1).encode(), mode=0o600)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the right to apply (does not wait).

    Raises:
        BusyError: Another process has it.
        OSError: The lock file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError("Another apply is running on this machine; try again later.") from None
        yield
    finally:
        os.close(descriptor)
