# SPDX-License-Identifier: Apache-2.0
"""Contents of files that are not texts of the plan itself: keys, sshd, time, user data. Pure.

Files other programs own are edited: what we do not declare stays as it is, comments included.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Sequence
from typing import Final

from ssvm_agent.appliance.errors import ApplianceError
from ssvm_agent.appliance.plan.keys import is_hidden
from ssvm_agent.bootargs import BootArgs

# A public key line: options, type, base64, comment; only its beginning is looked at.
_PUBLIC_KEY: Final = re.compile(
    r"(?:\S.*\s)?(?:ssh-[\w-]+|ecdsa-sha2-[\w-]+|sk-[\w.@-]+) AAAA[A-Za-z0-9+/]+={0,2}(?:\s.*)?"
)
_MAX_USER_DATA_BYTES: Final = 1 << 20
_GZIP_WINDOW: Final = 31
_OLD_KEYS: Final = "PubkeyAcceptedAlgorithms +ssh-rsa"


class ContentError(ApplianceError):
    """The boot text asks for a content that cannot be made; the file stays as it is."""

    code = "machine-file"


def decode_base64(text: str) -> bytes:
    """Base64 with or without its padding.

    # Compat: boot-and-system.md 0 fact 4, the padding may have been lost on the way.

    Raises:
        ContentError: It is no base64.
    """
    bare = text.rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ContentError("the value is no base64") from None


def authorized_keys(value: str) -> bytes:
    """The file for the ``authorized_key`` of the boot text.

    Raises:
        ContentError: It holds no public key, or something beside keys.
    """
    text = decode_base64(value).decode("utf-8", "replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or not all(_PUBLIC_KEY.fullmatch(line) for line in lines):
        raise ContentError("authorized_key is no SSH public key")
    return "".join(f"{line}\n" for line in lines).encode()


def sshd_text(current: str, listen: str, *, old_keys: bool = True) -> str:
    """``sshd_config`` with our one listen address.

    Args:
        current: The present text.
        listen: The address of the control or management interface.
        old_keys: Whether this sshd knows ``PubkeyAcceptedAlgorithms``; ssh-rsa is then accepted
            too, since management servers sign with it.

    # Compat: boot-and-system.md 3.1.
    """
    lines = current.splitlines()
    first_match = next(
        (number for number, line in enumerate(lines) if _keyword(line) == "match"), len(lines)
    )
    head, rest = lines[:first_match], lines[first_match:]
    head = _with_one(head, "ListenAddress", f"ListenAddress {listen}")
    place = next(
        (number for number, line in enumerate(head) if _keyword(line) == "pubkeyauthentication"),
        len(head) - 1,
    )
    ours = [line for line in head if line.split() == _OLD_KEYS.split()]
    if old_keys and not any(_keyword(line) == "pubkeyacceptedalgorithms" for line in head):
        head.insert(place + 1, _OLD_KEYS)
    elif not old_keys:
        head = [line for line in head if line not in ours]
    return "".join(f"{line}\n" for line in (*head, *rest))


def ntp_text(current: str, servers: Sequence[str]) -> str:
    """``ntp.conf`` with the servers of the list, in its order, in place of the ``server`` lines.

    # Differs: boot-and-system.md 2.7. The servers stay when there is no list, and go in whether or
    not a comment marks their place.
    """
    if not servers:
        return current
    lines = current.splitlines()
    place = next(
        (n for n, line in enumerate(lines) if line.split()[:1] == ["server"]),
        next((n for n, line in enumerate(lines) if line.startswith("# server")), len(lines)),
    )
    kept = [line for line in lines[:place] if line.split()[:1] != ["server"]]
    after = [line for line in lines[place:] if line.split()[:1] != ["server"]]
    ours = [f"server {server}" for server in servers]
    return "".join(f"{line}\n" for line in (*kept, *ours, *after))


def cmd_line_json(boot: BootArgs) -> bytes:
    """``cmd_line.json``: the settings for scripts that read them there.

    # Differs: boot-and-system.md 1.5. Values are escaped, and secrets are not copied.
    """
    values = {key: value for key, value in boot.values.items() if not is_hidden(key)}
    record = {"type": "cmdline", "cmd_line": {**values, "type": boot.get("type") or ""}}
    return f"{json.dumps(record, indent=1)}\n".encode()


def user_data(value: str) -> bytes:
    """The user data of the boot text, unpacked (boot-and-system.md 1.1).

    Raises:
        ContentError: It cannot be unpacked, or is larger than 1 MiB.
    """
    packed = decode_base64(value)
    decoder = zlib.decompressobj(_GZIP_WINDOW)
    try:
        data = decoder.decompress(packed, _MAX_USER_DATA_BYTES)
    except zlib.error:
        raise ContentError("userdata is no gzip stream") from None
    if decoder.unconsumed_tail:
        raise ContentError("userdata is larger than 1 MiB")
    if not decoder.eof:
        raise ContentError("userdata ends too early")
    return data


def seed_meta_data(name: str) -> bytes:
    """``meta-data`` of the cloud-init seed (boot-and-system.md 7)."""
    return f"instance-id: {name}\nlocal-hostname: {name}\n".encode()


# boot-and-system.md 7: from the seed only, without network configuration, and only the modules that
# carry out what user data asks. Host keys, accounts and the host name are not its business here.
CLOUD_INIT: Final = b"""\
# Written at boot: carries out the user data of this system VM, nothing else.
datasource_list: [ NoCloud ]
network:
  config: disabled
preserve_hostname: true
manage_etc_hosts: false
disable_root: false
cloud_init_modules:
 - bootcmd
 - write-files
cloud_config_modules:
 - runcmd
cloud_final_modules:
 - package-update-upgrade-install
 - write-files-deferred
 - scripts-user
 - final-message
"""


def _keyword(line: str) -> str:
    words = re.split(r"[\s=]+", line.strip(), maxsplit=1)
    return words[0].lower()


def _with_one(lines: Sequence[str], keyword: str, wanted: str) -> list[str]:
    """The lines with exactly one of a keyword, where its first one stood; else at the end."""
    places = [n for n, line in enumerate(lines) if _keyword(line) == keyword.lower()]
    kept = [line for n, line in enumerate(lines) if n not in places[1:]]
    if places:
        kept[places[0]] = wanted
    else:
        kept.append(wanted)
    return kept
