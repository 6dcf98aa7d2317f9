# SPDX-License-Identifier: Apache-2.0
"""What a command in a system VM said, and how it ended. Blocking."""

from __future__ import annotations

import selectors
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ssvm_agent.masking import mask_text

if TYPE_CHECKING:
    from paramiko import Channel

_READ_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command ended; of its output as much as was asked for."""

    code: int
    output: bytes
    errors: bytes

    def said(self) -> str:
        """What it complained about, in one line, fit to be shown."""
        text = (self.errors or self.output).decode("utf-8", "replace")
        return mask_text(" ".join(text.split())[:400])


def pieces(channel: Channel, until: float) -> Iterator[tuple[bool, bytes]]:
    """Output as it comes, True for errors, until both have ended."""
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        while True:
            if channel.recv_stderr_ready():
                yield True, channel.recv_stderr(_READ_BYTES)
            elif channel.recv_ready():
                yield False, channel.recv(_READ_BYTES)
            elif channel.eof_received or channel.closed:
                return
            elif not selector.select(max(until - time.monotonic(), 0)):
                raise TimeoutError("the deadline is over")
