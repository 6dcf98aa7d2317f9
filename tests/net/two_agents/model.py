# SPDX-License-Identifier: Apache-2.0
"""What must be on the stores: the model the tree and every answer are compared with.

Each item is a template or volume that somebody (and only one) works on at a time; what others may
see of it meanwhile follows from its status.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from ssvm_agent.storage.layout import parse_temporary

TEMPLATE, VOLUME = "TEMPLATE", "VOLUME"
_TO = "org.apache.cloudstack.storage.to."
_TREES = {TEMPLATE: "template/tmpl", VOLUME: "volumes"}
_MARKERS = {TEMPLATE: "template.properties", VOLUME: "volume.properties"}


class Status(Enum):
    """How an item stands on one store."""

    ABSENT = "absent"
    """Nobody may list it."""
    DOOMED = "doomed"
    """Something is on its way that must not arrive; nobody may list it."""
    COMING = "coming"
    """On its way: whoever lists it must list it complete."""
    PRESENT = "present"
    """Everybody must list it."""
    GOING = "going"
    """Being deleted."""


@dataclass(frozen=True, slots=True)
class Blob:
    """An image and where to fetch it; ``plain`` is what is installed."""

    name: str
    plain: bytes

    @property
    def checksum(self) -> str:
        """Of what is fetched."""
        return "{SHA-256}" + hashlib.sha256(self.plain).hexdigest()

    @classmethod
    def random(cls, rng: random.Random, name: str, size: int) -> Blob:
        """A raw disk with a partition table and random content."""
        table = bytes(446) + b"\x80\0\2\0\x83\0\2\0\1\0\0\0\xff\0\0\0" + bytes(48) + b"\x55\xaa"
        return cls(name, table + rng.randbytes(size - len(table)))


@dataclass(slots=True)
class Stand:
    """Status of an item on one store; ``version`` counts the changes."""

    status: Status = Status.ABSENT
    version: int = 0
    blob: Blob | None = None
    path: str = ""

    def become(self, status: Status, blob: Blob | None = None, path: str = "") -> None:
        """Change the status."""
        self.status, self.blob, self.path = status, blob, path
        self.version += 1


@dataclass(slots=True)
class Item:
    """One template or volume, by its id."""

    kind: str
    id: int
    account: int
    stands: tuple[Stand, Stand] = field(default_factory=lambda: (Stand(), Stand()))

    @property
    def name(self) -> str:
        """Unique name."""
        return f"{self.id}-{self.kind.lower()}"

    @property
    def key(self) -> str:
        """Under what it is listed."""
        return self.name if self.kind == TEMPLATE else str(self.id)

    @property
    def directory(self) -> str:
        """On its store."""
        return f"{_TREES[self.kind]}/{self.account}/{self.id}"

    @property
    def marker(self) -> str:
        """Name of its properties file."""
        return _MARKERS[self.kind]

    def home(self) -> int | None:
        """The store where it is."""
        return next((n for n in (0, 1) if self.stands[n].status is Status.PRESENT), None)

    def transfer_object(self, store: dict[str, Any], path: str) -> dict[str, Any]:
        """As commands carry it."""
        if self.kind == TEMPLATE:
            fields = {"id": self.id, "accountId": self.account, "name": self.name, "format": "RAW"}
            return {f"{_TO}TemplateObjectTO": {**fields, "path": path, "imageDataStore": store}}
        fields = {"id": self.id, "name": self.name, "accountId": self.account}
        return {f"{_TO}VolumeObjectTO": {**fields, "path": path, "dataStore": store}}

    def look(self, store: int) -> tuple[Status, int]:
        """What can be compared before and after."""
        return self.stands[store].status, self.stands[store].version


@dataclass(slots=True)
class Model:
    """All items; ``roots`` are the directories of the two stores."""

    roots: tuple[Path, Path]
    items: list[Item]
    others: tuple[dict[str, bytes], dict[str, bytes]] = field(default_factory=lambda: ({}, {}))
    """Files that no agent may touch, by path."""
    killed: set[str] = field(default_factory=set)
    """Agents whose temporaries may lie about until their sweep comes by; empty at the end."""

    def files(self, store: int, directory: str = "") -> dict[str, bytes]:
        """What is there, markers and temporaries included."""
        root = self.roots[store]
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in (root / directory).rglob("*")
            if path.is_file()
        }

    def check_item(self, item: Item, store: int) -> None:
        """The directory of a resting item holds exactly what it should."""
        stand, all_found = item.stands[store], self.files(store, item.directory)
        found = {path: data for path, data in all_found.items() if not self._is_left(path)}
        if stand.status is Status.ABSENT:
            gone = bool(all_found) or not (self.roots[store] / item.directory).exists()
            assert gone, item.name
            assert found == {}, (item.name, sorted(found))
            return
        assert stand.status is Status.PRESENT
        assert stand.blob is not None
        assert found.pop(stand.path) == stand.blob.plain, item.name
        marker = found.pop(f"{item.directory}/{item.marker}").decode()
        assert f"size={len(stand.blob.plain)}" in marker
        assert found == {}, (item.name, sorted(found))

    def _is_left(self, path: str) -> bool:
        writer = parse_temporary(path.rpartition("/")[2])
        return writer is not None and writer.owner in self.killed

    def check_list(
        self,
        store: int,
        kind: str,
        before: dict[str, tuple[Status, int]],
        listed: dict[str, dict[str, Any]],
    ) -> None:
        """A list given between ``before`` and now is one that a lone agent could have given."""
        items = {item.key: item for item in self.items if item.kind == kind}
        assert set(listed) <= set(items), "an unknown image is listed"
        for key, item in items.items():
            status, stands = before[key][0], item.stands[store]
            if before[key] == item.look(store):
                if status is Status.PRESENT:
                    assert key in listed, f"{key} is missing"
                if status in (Status.ABSENT, Status.DOOMED):
                    assert key not in listed, f"{key} is listed though it is {status.value}"
            if key in listed and before[key] == item.look(store):
                assert stands.blob is not None
                self._check_entry(listed[key], stands.blob)

    def _check_entry(self, entry: dict[str, Any], blob: Blob) -> None:
        assert entry["physicalSize"] == len(blob.plain), entry
        assert entry["size"] == len(blob.plain), entry
        assert entry["isCorrupted"] is False, entry

    def snapshot(self, store: int, kind: str) -> dict[str, tuple[Status, int]]:
        """How everything stands now, for :meth:`check_list`."""
        return {item.key: item.look(store) for item in self.items if item.kind == kind}

    def check_everything(self) -> None:
        """At rest: the trees are exactly what the model says."""
        self.killed.clear()
        for store in (0, 1):
            expected = dict(self.others[store])
            for item in self.items:
                self.check_item(item, store)
                expected |= self.files(store, item.directory)
            assert self.files(store) == expected
