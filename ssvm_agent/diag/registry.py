# SPDX-License-Identifier: Apache-2.0
"""All checks, in the order in which a machine comes to life: what fails first explains the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ssvm_agent.diag.check import Check
from ssvm_agent.diag.checks.agent import AgentCheck
from ssvm_agent.diag.checks.boot_text import BootTextCheck
from ssvm_agent.diag.checks.certificates import CertificatesCheck
from ssvm_agent.diag.checks.clock import ClockCheck
from ssvm_agent.diag.checks.disk import DiskCheck
from ssvm_agent.diag.checks.dns import DnsCheck
from ssvm_agent.diag.checks.firewall import FirewallCheck
from ssvm_agent.diag.checks.interfaces import InterfacesCheck
from ssvm_agent.diag.checks.management_servers import ManagementServersCheck
from ssvm_agent.diag.checks.memory import MemoryCheck
from ssvm_agent.diag.checks.path_mtu import PathMtuCheck
from ssvm_agent.diag.checks.payload import PayloadCheck
from ssvm_agent.diag.checks.proxy import ProxyCheck
from ssvm_agent.diag.checks.routes import RoutesCheck
from ssvm_agent.diag.checks.secrets import SecretsCheck
from ssvm_agent.diag.checks.settings import SettingsCheck
from ssvm_agent.diag.checks.sshd import SshdCheck
from ssvm_agent.diag.checks.storage import StorageCheck
from ssvm_agent.diag.checks.storage_servers import StorageServersCheck
from ssvm_agent.diag.checks.url import UrlCheck
from ssvm_agent.diag.checks.web import WebCheck
from ssvm_agent.errors import AgentError

CHECKS: Final[tuple[Check, ...]] = (
    BootTextCheck(),
    SettingsCheck(),
    PayloadCheck(),
    InterfacesCheck(),
    RoutesCheck(),
    FirewallCheck(),
    SshdCheck(),
    DnsCheck(),
    ClockCheck(),
    CertificatesCheck(),
    ManagementServersCheck(),
    AgentCheck(),
    StorageServersCheck(),
    PathMtuCheck(),
    StorageCheck(),
    WebCheck(),
    ProxyCheck(),
    UrlCheck(),
    DiskCheck(),
    MemoryCheck(),
    SecretsCheck(),
)


class UnknownCheckError(AgentError):
    """There is no check of this name."""

    code = "unknown-check"


def select(names: Sequence[str]) -> tuple[Check, ...]:
    """The checks of these names in their usual order; all of them when none is named.

    Raises:
        UnknownCheckError: One does not exist; the message names those that do.
    """
    known = {check.slug: check for check in CHECKS}
    for name in names:
        if name not in known:
            raise UnknownCheckError(f"There is no check {name!r}. There are: {', '.join(known)}.")
    return tuple(check for check in CHECKS if not names or check.slug in names)
