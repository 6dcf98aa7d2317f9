# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a message."""

from ssvm_agent.errors import AgentError


class MessageError(AgentError):
    """A message cannot be read."""

    code = "message"


class TextError(MessageError):
    """The content is not JSON, not even of the lenient kind; the message says where it breaks."""


class FieldError(MessageError):
    """A field holds what it cannot; the JSON path grows while the error passes outwards.

    Never contains the value itself, which may be a secret.
    """

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"expected {expected}, found {found}")
        self.expected = expected
        self.found = found
        self._path: list[str | int] = []

    def within(self, step: str | int) -> None:
        """Note the field, map key or list index the value was found at."""
        self._path.insert(0, step)

    @property
    def path(self) -> str:
        """The JSON path from the message's own object, ``$`` for that object itself."""
        return "$" + "".join(map(_step, self._path))

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, found {self.found}"


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if step.isidentifier() else f"['{step}']"
