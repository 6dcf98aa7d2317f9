# SPDX-License-Identifier: Apache-2.0
"""The sorted names of directories, kept as long as a directory does not change.

Reading and sorting a hundred thousand names for each page of a hundred would be most of the work.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Two administrators browsing two large directories each.
_KEPT: Final = 4


@dataclass(frozen=True, slots=True)
class _Names:
    """Names, and what told the directory apart when they were read."""

    stamp: tuple[int, int, int, int]
    names: list[str]


class NameCache:
    """Names of the directories that were looked at last; its method blocks."""

    def __init__(self) -> None:
        self._kept: dict[Path, _Names] = {}

    def of(self, directory: Path, found: os.stat_result) -> list[str]:
        """The names in a directory, in order; not to be changed.

        Args:
            directory: Where.
            found: What ``stat`` says about it now.

        Raises:
            OSError: It cannot be read.
        """
        stamp = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
        kept = self._kept.pop(directory, None)
        if kept is None or kept.stamp != stamp:
            kept = _Names(stamp, sorted(os.listdir(directory)))  # noqa: PTH208 - only the names
        self._kept[directory] = kept
        for oldest in list(self._kept)[:-_KEPT]:
            self._kept.pop(oldest, None)
        return kept.names
