# SPDX-License-Identifier: Apache-2.0
"""What orders to the console have in common, for those that carry them out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from ssvm_agent.errors import AgentError
from ssvm_agent.simulator.model import ImageStore

Order = dict[str, Any]
Result = dict[str, Any]
Doing = Callable[[Order], Awaitable[Result]]

_ABOUT_THE_ORDER: Final = frozenset({"do", "id", "wait", "host", "expect"})


class OrderError(AgentError):
    """A line cannot be carried out; the message says what it should look like."""

    code = "order"


def particulars(order: Order) -> Order:
    """The keys that say what is to be done."""
    return {key: value for key, value in order.items() if key not in _ABOUT_THE_ORDER}


def chosen_store(order: Order, stores: list[ImageStore]) -> ImageStore:
    """The store an order names by its number; the first one when it names none.

    Raises:
        OrderError: There is no such store.
    """
    index = order.get("store", 0)
    if not (isinstance(index, int) and 0 <= index < len(stores)):
        raise OrderError(f"There are {len(stores)} stores; count them from 0.")
    return stores[index]
