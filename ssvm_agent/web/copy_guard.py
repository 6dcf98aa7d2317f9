# SPDX-License-Identifier: Apache-2.0
"""Who may fetch from the zone-copy area (storage-commands.md 3.2, 3.3).

Secondary storage VMs of other zones fetch templates below ``/copy/SecStorage/``. The server tells
which addresses they have; nobody else gets in, and before it has told anything nobody does. The
copy user's password can be asked for on top. No I/O.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable
from enum import Enum, auto
from ipaddress import ip_network

from ssvm_agent.errors import AgentError
from ssvm_agent.masking import Secret
from ssvm_agent.web.origin import Network, parse_peer


class BadAddressError(AgentError):
    """A text given as an address is none."""

    code = "address"


class Admission(Enum):
    """What the guard says about a request."""

    GRANTED = auto()
    STRANGER = auto()
    """The address is not on the list: 403."""
    CREDENTIALS_NEEDED = auto()
    """Absent or wrong user or password: 401."""


class CopyGuard:
    """The list of addresses and the copy user.

    Args:
        require_user: Ask for the copy user's password besides the address. Zone copies of the
            server carry no credentials, so the default is the address alone.
    """

    def __init__(self, *, require_user: bool = False) -> None:
        self._networks: dict[Network, None] = {}
        self._credentials: tuple[str, Secret] | None = None
        self._require_user = require_user

    @property
    def addresses(self) -> tuple[str, ...]:
        """Everybody allowed, in the order given; single hosts without prefix length."""
        return tuple(
            str(network.network_address)
            if network.prefixlen == network.max_prefixlen
            else str(network)
            for network in self._networks
        )

    @property
    def credentials(self) -> tuple[str, Secret] | None:
        """User and password of the copy area, once the server has sent them."""
        return self._credentials

    @property
    def require_user(self) -> bool:
        """Whether the address alone is not enough."""
        return self._require_user

    def allow(self, addresses: Iterable[str], *, replace: bool) -> None:
        """Take addresses into the list (``isAppendAIp``); with ``replace`` only these remain.

        Nothing changes when one of them is no address.

        Raises:
            BadAddressError: Naming the text.
        """
        parsed = dict.fromkeys(_network(text) for text in addresses)
        self._networks = parsed if replace else {**self._networks, **parsed}

    def set_credentials(self, user: str, password: Secret) -> None:
        """Take the copy user (SecStorageVMSetup)."""
        self._credentials = (user, password)

    def admit(self, peer: str, authorization: str) -> Admission:
        """Judge a request by the address of its peer and its ``Authorization`` header."""
        address = parse_peer(peer)
        if address is None or not any(
            address in network for network in self._networks if network.version == address.version
        ):
            return Admission.STRANGER
        if self._require_user and not self._knows(authorization):
            return Admission.CREDENTIALS_NEEDED
        return Admission.GRANTED

    def _knows(self, authorization: str) -> bool:
        if self._credentials is None:
            return False
        user, password = self._credentials
        expected = f"{user}:{password.reveal()}".encode()
        return hmac.compare_digest(_basic(authorization), expected)


def _basic(authorization: str) -> bytes:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(token.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _network(text: str) -> Network:
    address = parse_peer(text.strip())
    try:
        network = ip_network(text.strip() if address is None else str(address), strict=False)
    except ValueError as error:
        raise BadAddressError(f"{text!r} is not an address.") from error
    if network.prefixlen == 0:
        raise BadAddressError(f"{text!r} would open the copy area to everybody.")
    return network
