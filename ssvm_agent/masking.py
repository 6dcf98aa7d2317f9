# SPDX-License-Identifier: Apache-2.0
"""Keeping secrets out of texts: a type that refuses to print, and masking of URLs and free text.

Pure. The log filter in :mod:`ssvm_agent.log` calls :func:`mask_text` on every record, so a secret
that slipped into a message is caught at the sink too (requirements R25).
"""

from __future__ import annotations

import hmac
import re
from typing import Final, final

MASK: Final = "******"

# Names of values that are secrets wherever they occur: boot keys, JSON fields of commands, query
# parameters and headers (wire-protocol.md 4.3, boot-and-system.md 1.3).
SECRET_NAMES: Final = frozenset(
    {
        "password", "_password", "passwd", "pass", "pwd", "passphrase", "copypassword",
        "vmpassword", "keystore_password", "keystorepassword", "keystore.passphrase",
        "postuploadkey", "privkey", "privatekey", "secretkey", "secret", "token", "sid",
        "authorization",
        "proxy-authorization", "x-signature", "signature", "x-metadata", "cookie",
        "x-amz-signature", "x-amz-security-token", "x-amz-credential", "awsaccesskeyid", "userdata",
        "psk", "ipsec.psk",
    }
)  # fmt: skip

# Lengths are bounded so that a long word costs time in proportion to its length.
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,15}://)[^/\s@\"'<>]{0,1024}@")
_NAMED = re.compile(
    r"(?P<key>[\"']?\b(?:"
    + "|".join(re.escape(name) for name in sorted(SECRET_NAMES, key=len, reverse=True))
    + r")[\"']?\s*[=:]\s*)"
    r"(?P<value>\"(?:[^\"\\]|\\.)*\"|'[^']*'|(?:Basic |Bearer )?[^\s,&;\"'}\]]+)",
    re.IGNORECASE,
)
_PEM_KEY = re.compile(
    r"-----BEGIN (?P<kind>[A-Z ]*PRIVATE KEY)-----.*?(?:-----END (?P=kind)-----|\Z)", re.DOTALL
)


@final
class Secret:
    """A text that prints as asterisks; :meth:`reveal` is the only way to the value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself; call it only where the value is handed to its user."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


def is_secret_name(name: str) -> bool:
    """Whether values of this key, field or header must not be shown."""
    return name.strip().lower() in SECRET_NAMES


def mask_text(text: str) -> str:
    """Free text with user info in URLs, named secrets and private keys replaced by asterisks.

    Idempotent, so it may be applied at more than one place on the way to a log.
    """
    masked = _PEM_KEY.sub(lambda found: f"-----{found['kind']} {MASK}-----", text)
    masked = _USERINFO.sub(rf"\g<scheme>{MASK}@", masked)
    return _NAMED.sub(_mask_value, masked)


def _mask_value(found: re.Match[str]) -> str:
    value = found["value"]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{found['key']}{quote}{MASK}{quote}"


def mask_url(url: str) -> str:
    """A URL without user info and with secret query parameters masked."""
    return mask_text(url)
