# SPDX-License-Identifier: Apache-2.0
"""Removing secrets from texts that leave the machine. Pure.

Two nets, one behind the other: what is *named* like a secret is masked by
:mod:`ssvm_agent.masking`, and every value that is *known* to be one on this machine is removed
wherever it stands, in plain, quoted or base64 form, named or not.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from ssvm_agent.appliance.plan.keys import is_hidden
from ssvm_agent.masking import MASK, mask_text

# Shorter values would blot out words that are none; values this short are no protection anyway.
_SHORTEST: Final = 4
# What stands where a secret could be and is none.
_HARMLESS: Final = frozenset({"null", "none", "true", "false", "password", "default"})


class Scrubber:
    """Removes secrets.

    Args:
        secrets: The values known on this machine.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        # Long ones first, so that no part of one is left when it holds another.
        self._forms = sorted(forms, key=len, reverse=True)

    def clean(self, text: str) -> str:
        """The text without secrets."""
        for form in self._forms:
            text = text.replace(form, MASK)
        return mask_text(text)


def secrets_of(values: Mapping[str, str]) -> Iterator[str]:
    """The secrets among named values, such as those of a boot text; URLs give their user info."""
    for name, value in values.items():
        if is_hidden(name):
            yield value
        elif "://" in value:
            yield from user_info(value)


def user_info(url: str) -> Iterator[str]:
    """The password of a URL."""
    try:
        password = urlsplit(url).password
    except ValueError:
        return
    if password:
        yield unquote(password)


def masked_values(values: Mapping[str, str]) -> str:
    """Named values as lines, secrets masked."""
    return "".join(
        f"{name}={MASK if is_hidden(name) and value else value}\n" for name, value in values.items()
    )


def _forms(secret: str) -> Iterator[str]:
    """A secret as it may be written."""
    for text in (secret.strip(), *_decoded(secret.strip())):
        if len(text) < _SHORTEST or text.lower() in _HARMLESS:
            continue
        yield text
        yield quote(text, safe="")
        yield json.dumps(text)[1:-1]
        yield base64.b64encode(text.encode()).decode("ascii").rstrip("=")


def _decoded(text: str) -> Iterator[str]:
    """What a base64 value stands for (boot-and-system.md 1.1)."""
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return
    if decoded.isprintable():
        yield decoded
