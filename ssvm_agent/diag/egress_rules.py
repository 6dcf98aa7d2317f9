# SPDX-License-Identifier: Apache-2.0
"""Which rule of the OUTPUT chain decides about a new TCP connection. Pure.

It reads the rules as ``iptables -S OUTPUT`` prints them and understands the matches our rules and
the stock ones are made of. A rule with any other match is passed over, and named as such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final

_VERDICTS: Final = frozenset({"ACCEPT", "DROP", "REJECT"})
_STATES: Final = frozenset({"--state", "--ctstate"})
_IGNORED: Final = frozenset({"-m", "--reject-with", "--comment"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the packet filter does, and by which rule."""

    is_allowed: bool
    rule: str


def decide(rules: Iterable[str], device: str, address: str, port: int) -> Decision:
    """The decision about a new TCP connection that leaves by a device."""
    policy = "ACCEPT"
    for line in rules:
        words = line.split()
        if words[:2] == ["-P", "OUTPUT"] and len(words) > 2:
            policy = words[2]
        elif words[:2] == ["-A", "OUTPUT"]:
            target = _target(words)
            if target in _VERDICTS and _matches(words[2:], device, address, port):
                return Decision(is_allowed=target == "ACCEPT", rule=line)
    return Decision(is_allowed=policy == "ACCEPT", rule=f"the policy of OUTPUT, {policy}")


def allowed_sites(rules: Iterable[str]) -> list[str]:
    """The networks of accepting rules: the cloud's allowed internal sites."""
    found = []
    for line in rules:
        words = line.split()
        if words[:2] == ["-A", "OUTPUT"] and _target(words) == "ACCEPT" and "-d" in words[:-1]:
            found.append(words[words.index("-d") + 1])
    return [network for network in found if _is_network(network)]


def _target(words: Sequence[str]) -> str:
    return words[words.index("-j") + 1] if "-j" in words[:-1] else ""


def _matches(words: Sequence[str], device: str, address: str, port: int) -> bool:
    """Whether every match of a rule holds; one that is not understood does not."""
    tests: dict[str, Callable[[str], bool]] = {
        "-o": lambda value: value == device,
        "-d": lambda value: _is_in(address, value),
        "-p": lambda value: value in {"tcp", "all"},
        "--dport": lambda value: _is_port(port, value),
        "-j": lambda _: True,
    }
    position, inverted = 0, False
    while position < len(words):
        word = words[position]
        if word == "!":
            inverted, position = True, position + 1
            continue
        value = words[position + 1] if position + 1 < len(words) else ""
        if word in _STATES:
            holds = "NEW" in value.split(",")
        elif word in _IGNORED:
            holds = not inverted
        else:
            test = tests.get(word)
            holds = test is not None and test(value) is not inverted
        if not holds:
            return False
        position, inverted = position + 2, False
    return True


def _is_in(address: str, network: str) -> bool:
    return _is_network(network) and ip_address(address) in ip_network(network, strict=False)


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _is_port(port: int, value: str) -> bool:
    first, _, last = value.partition(":")
    if not first.isdigit() or (last and not last.isdigit()):
        return False
    return int(first) <= port <= int(last or first)
