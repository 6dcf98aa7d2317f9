# SPDX-License-Identifier: Apache-2.0
"""The bounds of transfers: time-outs, retries, sizes (requirements R7, R15). Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 1 << 20
GIB: Final = 1 << 30

# storage-commands.md 4.1: what holds when the command names no maxDownloadSizeInBytes.
DEFAULT_MAX_SIZE_BYTES: Final = 50 * GIB
# One hand-over between threads costs about 0.1 ms; a megabyte of SHA-512 costs 2 ms.
BLOCK_SIZE_BYTES: Final = MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLimits:
    """How long we wait for a source and how often we come back.

    ``retries`` counts failures in a row without progress; a stretch that brought at least one block
    starts the count again, and ``max_drops`` bounds the whole transfer. A source that never
    answered gets ``first_contact_retries`` only: it is probably a wrong URL.
    """

    connect_timeout_s: float = 15.0
    header_timeout_s: float = 60.0
    idle_timeout_s: float = 60.0
    min_speed_bytes_s: int = 1024
    min_speed_window_s: float = 120.0
    retries: int = 8
    first_contact_retries: int = 3
    max_drops: int = 1000
    retry_base_s: float = 10.0
    retry_cap_s: float = 120.0
    max_redirects: int = 8
