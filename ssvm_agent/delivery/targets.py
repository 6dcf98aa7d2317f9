# SPDX-License-Identifier: Apache-2.0
"""Where system VMs are: addresses as given on the command line or in a file.

A line of a targets file is ``HOST [jump=USER@HOST[:PORT]] [host-key=SHA256:…]``; a HOST is
``[user@]address[:port]``, an IPv6 address with a port stands in brackets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent.delivery.errors import UsageError

# boot-and-system.md 3.1
SYSTEM_VM_PORT: Final = 3922
SSH_PORT: Final = 22
_USER: Final = "root"
_ADDRESS = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_.-]{1,64})@)?"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.%a-z]{2,64})\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]{0,253}))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_BARE_V6 = re.compile(r"(?:(?P<user>[A-Za-z0-9_.-]{1,64})@)?(?P<v6>[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An SSH server and the user to be there."""

    host: str
    port: int
    user: str = _USER

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def pin_name(self) -> str:
        """What OpenSSH calls a server in its records of host keys."""
        return self.host if self.port == SSH_PORT else f"[{self.host}]:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One system VM.

    Attributes:
        address: Where its sshd listens.
        jump: The server to go through, usually the hypervisor; None goes straight.
        host_key: The fingerprint it must show, ``SHA256:…``; None where the record decides.
    """

    address: Address
    jump: Address | None = None
    host_key: str | None = None

    @property
    def name(self) -> str:
        """What it is called in tables and records.

        Link-local addresses mean something on their own host only, so the jump host belongs to it.
        """
        return f"{self.address}@{self.jump}" if self.jump else str(self.address)

    @property
    def pin_name(self) -> str:
        """What it is called in the record of host keys."""
        pin_name = self.address.pin_name
        return f"{pin_name}@{self.jump.pin_name}" if self.jump else pin_name

    def line(self) -> str:
        """The line of a targets file that means this one."""
        words = [f"{self.address.user}@{self.address}"]
        if self.jump:
            words.append(f"jump={self.jump.user}@{self.jump}")
        if self.host_key:
            words.append(f"host-key={self.host_key}")
        return " ".join(words)


def parse_address(text: str, *, port: int) -> Address:
    """An address; ``port`` is meant where it names none.

    Raises:
        UsageError: It is none.
    """
    found = _BARE_V6.fullmatch(text) or _ADDRESS.fullmatch(text)
    if not found:
        raise UsageError(f"{text!r} is not an address of the form [user@]host[:port]")
    parts = found.groupdict()
    number = int(parts.get("port") or port)
    if not 0 < number < 65536:
        raise UsageError(f"{text!r}: there is no port {number}")
    host = parts["v6"] or parts.get("host") or ""
    return Address(host=host, port=number, user=parts["user"] or _USER)


def parse_fingerprint(text: str) -> str:
    """A fingerprint as OpenSSH prints it.

    Raises:
        UsageError: It is none.
    """
    if not _FINGERPRINT.fullmatch(text):
        raise UsageError(f"{text!r} is not a fingerprint of the form SHA256:…")
    return text


def parse_target(line: str, *, jump: Address | None = None, host_key: str | None = None) -> Target:
    """One line of a targets file; the other arguments hold where the line says nothing.

    Raises:
        UsageError: It cannot be understood.
    """
    host, *words = line.split()
    for word in words:
        name, _, value = word.partition("=")
        if name == "jump":
            jump = parse_address(value, port=SSH_PORT)
        elif name == "host-key":
            host_key = parse_fingerprint(value)
        else:
            raise UsageError(f"{word!r} is neither jump=… nor host-key=…")
    address = parse_address(host, port=SYSTEM_VM_PORT)
    return Target(address=address, jump=jump, host_key=host_key)


def read_targets(path: Path, *, jump: Address | None = None) -> list[Target]:
    """The targets of a file; empty lines and those that begin with ``#`` mean nothing.

    Raises:
        UsageError: It cannot be read, or a line not be understood.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read", detail=str(error)) from error
    targets = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            targets.append(parse_target(line, jump=jump))
        except UsageError as error:
            raise UsageError(f"{path}, line {number}: {error}") from error
    return targets


def without_repeats(targets: list[Target]) -> list[Target]:
    """Each system VM once.

    Raises:
        UsageError: There is none.
    """
    unique = {target.name: target for target in targets}
    if not unique:
        raise UsageError("No system VM is given: name hosts, or a file with --targets")
    return list(unique.values())
