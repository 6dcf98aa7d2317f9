# SPDX-License-Identifier: Apache-2.0
"""What all downloads of this process did together, for the metrics; plain numbers, only growing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Traffic:
    """Counted by sources and jobs, all in the event loop; whoever shows it only reads.

    Attributes:
        received_bytes: From sources on the network, repeated stretches included.
        retries: Attempts after a failed one.
        ended: Jobs by how they ended: ``finished``, or the code of the error.
    """

    received_bytes: int = 0
    retries: int = 0
    ended: Counter[str] = field(default_factory=Counter)
