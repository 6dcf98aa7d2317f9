# SPDX-License-Identifier: Apache-2.0
"""Hyper-V key-value pairs: a pool file of fixed, NUL-padded records. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

KEY_BYTES: Final = 512
VALUE_BYTES: Final = 2048
RECORD_BYTES: Final = KEY_BYTES + VALUE_BYTES

# Compat: boot-and-system.md 1.4, the item the server writes for a system VM.
BOOT_KEY: Final = "cloudstack-vm-userdata"


def records(pool: bytes) -> Iterator[tuple[str, str]]:
    """The pairs of a pool file; a record cut short at the end is left out."""
    for start in range(0, len(pool) - RECORD_BYTES + 1, RECORD_BYTES):
        record = pool[start : start + RECORD_BYTES]
        key, value = record[:KEY_BYTES], record[KEY_BYTES:]
        yield _text(key), _text(value)


def boot_text(pool: bytes) -> str | None:
    """The value of the boot item, the last one if there are several."""
    found = None
    for key, value in records(pool):
        if key == BOOT_KEY:
            found = value
    return found


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "replace")
