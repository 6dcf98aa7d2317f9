# SPDX-License-Identifier: Apache-2.0
"""Who may fetch from the zone copy area: the texts of Apache's access files.

Pure: present text in, wanted text out (storage-commands.md 3.2, 3.3; boot-and-system.md 2.5). The
directives are those of the stock scripts, so either software may find the other's file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from ssvm_agent.appliance.errors import BadRequestError
from ssvm_agent.masking import Secret

_HEAD: Final = ("Options -Indexes", "order deny,allow", "deny from all")
_ALLOW: Final = "allow from "
# A colon would end the name in the password file; the rest keeps the line one line.
_USER: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}\Z")
# Apache computes this for each request: 60 ms on the machines at hand.
_BCRYPT_ROUNDS: Final = 10
_BCRYPT_MAX_BYTES: Final = 72


def check_addresses(addresses: Sequence[str]) -> tuple[str, ...]:
    """The addresses in canonical form, duplicates dropped.

    Raises:
        BadRequestError: One is neither an IPv4 nor an IPv6 address.
    """
    try:
        return tuple(dict.fromkeys(str(ip_address(text.strip())) for text in addresses))
    except ValueError as error:
        raise BadRequestError(f"Not an address: {error}") from None


def check_user(user: str) -> str:
    """The user name, when it can stand in a password file.

    Raises:
        BadRequestError: It cannot.
    """
    if not _USER.match(user):
        raise BadRequestError("The copy user name may hold letters, digits and . _ @ - only")
    return user


def allowed_addresses(text: str) -> tuple[str, ...]:
    """The addresses an access file allows."""
    lines = (line.strip() for line in text.splitlines())
    return tuple(line.removeprefix(_ALLOW) for line in lines if line.startswith(_ALLOW))


def allow_list(present: str, addresses: Sequence[str], *, replace: bool) -> str:
    """The wanted text of ``copy/.htaccess``.

    Args:
        present: Its present text; empty when there is none.
        addresses: Checked addresses.
        replace: Drop those allowed before.
    """
    kept = () if replace else allowed_addresses(present)
    everybody = dict.fromkeys((*kept, *addresses))
    return "".join(f"{line}\n" for line in (*_HEAD, *(_ALLOW + one for one in everybody)))


def copy_auth(password_file: Path) -> str:
    """The text of ``copy/template/.htaccess``: no listing, basic auth."""
    return (
        "Options -Indexes\n"
        "AuthType Basic\n"
        'AuthName "Authentication Required"\n'
        f'AuthUserFile "{password_file}"\n'
        "Require valid-user\n"
    )


def password_line(user: str, password: Secret, present: str = "") -> str:
    """The text of the password file; the present one when it already fits.

    Raises:
        BadRequestError: The password is empty or longer than the hash can tell apart.
    """
    import bcrypt

    secret = password.reveal().encode()
    if not secret or len(secret) > _BCRYPT_MAX_BYTES or b"\0" in secret:
        raise BadRequestError(f"The copy password must have 1 to {_BCRYPT_MAX_BYTES} bytes")
    name, _, hashed = present.strip().partition(":")
    if name == user and hashed.startswith("$2y$") and bcrypt.checkpw(secret, _python(hashed)):
        return present
    salted = bcrypt.hashpw(secret, bcrypt.gensalt(_BCRYPT_ROUNDS)).decode("ascii")
    # The same algorithm has two letters: Apache knows it as 2y.
    return f"{user}:{salted.replace('$2b$', '$2y$', 1)}\n"


def _python(hashed: str) -> bytes:
    return hashed.replace("$2y$", "$2b$", 1).encode("ascii", "replace")
