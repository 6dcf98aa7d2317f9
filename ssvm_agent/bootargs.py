# SPDX-License-Identifier: Apache-2.0
"""The boot text CloudStack hands to a system VM: one line of ``key=value`` words.

Pure: text in, mapping out; it never raises and knows no files, channels or meanings of keys
(boot-and-system.md 1). What looks odd is reported as a sentence that names keys but no values,
since values may be secrets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

# Xen PV and OVM3 write every blank as % (boot-and-system.md 1.1). Two of these keys in that shape
# cannot be the value of something else: every text starts with them.
_PERCENT_FORM: Final = re.compile(r"%(?:template|type|host|zone|guid)=")
_SEPARATORS: Final = re.compile(r"[\s\x00]+")

# On Xen PV the text stands at the end of the kernel's own command line (1.4).
KERNEL_KEYS: Final = frozenset(
    {
        "BOOT_IMAGE", "biosdevname", "console", "earlyprintk", "fsck.repair", "initrd", "loglevel",
        "net.ifnames", "resume", "root", "rootflags", "rootfstype", "vga", "video",
    }
)  # fmt: skip

# Compat: boot-and-system.md 0 fact 5 and 1.3, how the server writes "no value".
_ABSENT: Final = frozenset({"", "null", "0.0.0.0"})  # noqa: S104 - not an address to bind to


@dataclass(frozen=True, slots=True, kw_only=True)
class BootArgs:
    """The words of a boot text.

    Attributes:
        values: Key to value as written, the last of equal keys; includes unknown keys and values
            that mean "absent".
        ignored: Words without a key, and kernel words.
        oddities: One sentence for each thing worth a warning.
    """

    values: Mapping[str, str]
    ignored: tuple[str, ...] = ()
    oddities: tuple[str, ...] = ()

    def get(self, key: str) -> str | None:
        """The value, or ``None`` when missing, empty, ``null`` or ``0.0.0.0``."""
        value = self.values.get(key, "")
        return None if value in _ABSENT else value


def parse(text: str) -> BootArgs:
    """Parse a boot text in plain or ``%`` form.

    A word is split at its first ``=``, so base64 padding survives. NUL and CR separate words like
    blanks do.
    """
    if len(_PERCENT_FORM.findall(text)) > 1:
        text = text.replace("%", " ")
    values: dict[str, str] = {}
    ignored: list[str] = []
    oddities: list[str] = []
    for word in _SEPARATORS.split(text):
        key, equals, value = word.partition("=")
        if not word:
            continue
        if not equals or key in KERNEL_KEYS:
            ignored.append(word)
            continue
        if not key:
            oddities.append("a word without a key was ignored")
            continue
        if key in values and values[key] != value:
            oddities.append(f"{key} is given twice; the last one counts")
        values[key] = value
    return BootArgs(
        values=MappingProxyType(values), ignored=tuple(ignored), oddities=tuple(oddities)
    )
