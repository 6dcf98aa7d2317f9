# SPDX-License-Identifier: Apache-2.0
"""Which management server comes next, and how long to wait before it (agent-lifecycle.md 3.3, 3.7).

Pure: no sockets, no clock; the jitter is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence


class ServerList:
    """The servers in their order, the place reached in it, and those to be avoided.

    Args:
        servers: At least one; an ``@algorithm`` behind an entry is cut off.
        algorithm: Name of the algorithm that made the order; kept, never interpreted.
    """

    def __init__(self, servers: Sequence[str], *, algorithm: str | None = None) -> None:
        self.algorithm = algorithm
        self._servers = _cleaned(servers)
        assert self._servers, "the caller makes sure that there is a server"
        self._avoid: frozenset[str] = frozenset()
        self._place = 0

    @property
    def servers(self) -> tuple[str, ...]:
        """All of them, in order."""
        return self._servers

    @property
    def avoid(self) -> tuple[str, ...]:
        """Those to be avoided, in alphabetical order."""
        return tuple(sorted(self._avoid))

    @property
    def preferred(self) -> str:
        """The first of the list."""
        return self._servers[0]

    def next(self) -> str:
        """The next server to try.

        Differs: agent-lifecycle.md 6, an avoid list that leaves nothing is ignored.
        """
        candidates = self.allowed() or self._servers
        while True:
            server = self._servers[self._place % len(self._servers)]
            self._place += 1
            if server in candidates:
                return server

    def allowed(self) -> tuple[str, ...]:
        """The servers not to be avoided, in order."""
        return tuple(server for server in self._servers if server not in self._avoid)

    def replace(self, servers: Sequence[str], algorithm: str) -> bool:
        """Takes a new list and begins it from the front, unless list or algorithm are empty.

        Returns:
            Whether it was taken.
        """
        cleaned = _cleaned(servers)
        if not cleaned or not algorithm:
            return False
        self._place = 0
        self._servers, self.algorithm = cleaned, algorithm
        return True

    def avoid_only(self, servers: Iterable[str] | None) -> None:
        """Replaces the avoid list; None empties it. Entries match literally."""
        self._avoid = frozenset(servers or ())

    def start_over(self) -> None:
        """Makes the preferred server the next one."""
        self._place = 0


class Backoff:
    """Pauses between attempts: doubling from round to round of the list, jittered and capped.

    Args:
        initial_s: The first pause.
        max_s: The longest.
        jitter: Gives a number in [0, 1); each pause is lengthened by up to half of itself with it,
            so that agents that lost their server together do not return together.
    """

    def __init__(self, *, initial_s: float, max_s: float, jitter: Callable[[], float]) -> None:
        self._initial_s = initial_s
        self._max_s = max(max_s, initial_s)
        self._jitter = jitter
        self._attempts = 0

    @property
    def attempts(self) -> int:
        """How many pauses were taken since the last success."""
        return self._attempts

    def next_s(self, servers: int) -> float:
        """The next pause, in seconds.

        Args:
            servers: Length of the list; within one round of it the pause stays the same.
        """
        rounds = self._attempts // max(servers, 1)
        self._attempts += 1
        pause = min(self._initial_s * 2 ** min(rounds, 30), self._max_s)
        return float(min(pause * (1 + self._jitter() / 2), self._max_s * 1.5))

    def reset(self) -> None:
        """A link became ready: the next pause is the first again."""
        self._attempts = 0


def _cleaned(servers: Sequence[str]) -> tuple[str, ...]:
    stripped = (server.partition("@")[0].strip() for server in servers)
    return tuple(dict.fromkeys(server for server in stripped if server))
