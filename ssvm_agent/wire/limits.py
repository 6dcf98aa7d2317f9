# SPDX-License-Identifier: Apache-2.0
"""How much a peer may make us hold, with the reason of every number (wire-protocol.md 11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 1 << 20

# The largest message in real use is a template list: 10,000 entries are about 4 MiB of JSON.
# Sixteen times that leaves room for any store and still fits the memory of a system VM.
MAX_CONTENT_BYTES: Final = 64 * MIB

# What a frame may take before inflating. Content may also come uncompressed, so it is the content's
# cap and some room for a header.
MAX_FRAME_BYTES: Final = MAX_CONTENT_BYTES + 4096

# A frame at its cap is 4,097 full chunks. A chunk may lawfully carry a single byte; this many allow
# 128 KiB sent that way and stop a peer that sends empty chunks for ever.
MAX_CHUNKS: Final = 1 << 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps on one incoming message; more than that ends the link or refuses the frame."""

    max_content_bytes: int = MAX_CONTENT_BYTES
    max_frame_bytes: int = MAX_FRAME_BYTES
    max_chunks: int = MAX_CHUNKS


DEFAULT_LIMITS: Final = Limits()
