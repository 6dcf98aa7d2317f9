# SPDX-License-Identifier: Apache-2.0
"""Loading all handlers: each module of this package enters its commands into the registry.

Called after the link has sent its Startup, since handlers pull in most of the package.
"""

from __future__ import annotations

import importlib
import pkgutil

from ssvm_agent import handlers
from ssvm_agent.dispatch.registry import Registry
from ssvm_agent.handlers.base import REGISTRY, Services


def load() -> Registry[Services]:
    """The registry with every handler of the package in it (blocking: imports)."""
    for module in pkgutil.iter_modules(handlers.__path__):
        importlib.import_module(f"{handlers.__name__}.{module.name}")
    return REGISTRY
