# SPDX-License-Identifier: Apache-2.0
"""Which files a plan declares, and in which phase of the boot each is written. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Final

from ssvm_agent.appliance.apply import contents
from ssvm_agent.appliance.apply.files import FileWish
from ssvm_agent.appliance.plan import texts
from ssvm_agent.appliance.plan.model import MachinePlan
from ssvm_agent.bootargs import BootArgs

# Where the text itself stands for everybody on the machine (boot-and-system.md 2.9).
BOOT_TEXT_PATH: Final = PurePosixPath("/var/cache/cloud/cmdline")
SSHD_CONFIG: Final = PurePosixPath("/etc/ssh/sshd_config")
AUTHORIZED_KEYS: Final = PurePosixPath("/root/.ssh/authorized_keys")
USER_DATA: Final = PurePosixPath("/var/lib/cloud/seed/nocloud/user-data")
# Debian 12 has the first, older images the second.
NTP_FILES: Final = (PurePosixPath("/etc/ntpsec/ntp.conf"), PurePosixPath("/etc/ntp.conf"))

Render = Callable[[bytes | None], bytes | None]


def early_files(plan: MachinePlan, boot: BootArgs, *, old_keys: bool = True) -> Iterator[FileWish]:
    """Files of the first phase: whatever the network and SSH need.

    Args:
        plan: What is wanted.
        boot: The text it was made from.
        old_keys: See :func:`contents.sshd_text`.
    """
    yield _file("/var/cache/cloud/cmd_line.json", _always(contents.cmd_line_json(boot)), mode=0o600)
    if any(nic.is_configured for nic in plan.interfaces):
        yield _network("/etc/network/interfaces", texts.interfaces_text(plan))
    if udev := texts.udev_text(plan):
        yield _network("/etc/udev/rules.d/70-persistent-net.rules", udev)
    if plan.nameservers:
        yield _network("/etc/resolv.conf", texts.resolver_text(plan))
        yield _network("/etc/dnsmasq-resolv.conf", texts.resolver_text(plan))
    if plan.hostname:
        yield _file("/etc/hosts", _hosts(plan))
        yield _file("/etc/hostname", _always(f"{plan.hostname}\n".encode()))
    yield _network("/etc/iptables/rules.v4", _lines(plan.firewall))
    yield _network("/etc/iptables/rules.v6", _lines(plan.firewall6))
    if plan.sshd_listen:
        yield FileWish(
            path=SSHD_CONFIG, render=_sshd(plan, old_keys=old_keys), mode=None, is_network=True
        )
    key = boot.get("authorized_key")
    if key is not None:
        yield _file(
            AUTHORIZED_KEYS, lambda _: contents.authorized_keys(key), mode=0o600, directory=0o700
        )


def config_files(plan: MachinePlan, boot: BootArgs) -> Iterator[FileWish]:
    """Files of the second phase: time, services, user data."""
    for path in NTP_FILES:
        yield FileWish(path=path, render=_ntp(plan), mode=None)
    for name, units in (
        ("enabled_svcs", plan.services_enabled),
        ("disabled_svcs", plan.services_disabled),
    ):
        yield _file(f"/var/cache/cloud/{name}", _always(f"{' '.join(units)}\n".encode()))
    value = boot.get("userdata")
    if value is not None:
        yield _file(USER_DATA, lambda _: contents.user_data(value), mode=0o600)
        yield _file(
            "/var/lib/cloud/seed/nocloud/meta-data",
            _always(contents.seed_meta_data(plan.hostname or "system-vm")),
        )
        yield _file("/etc/cloud/cloud.cfg.d/cloudstack.cfg", _always(contents.CLOUD_INIT))


def _file(
    path: str | PurePosixPath, render: Render, *, mode: int = 0o644, directory: int = 0o755
) -> FileWish:
    return FileWish(path=PurePosixPath(path), render=render, mode=mode, directory_mode=directory)


def _network(path: str, text: str) -> FileWish:
    return FileWish(path=PurePosixPath(path), render=_always(text.encode()), is_network=True)


def _always(content: bytes) -> Render:
    return lambda _: content


def _lines(rules: tuple[str, ...]) -> str:
    return "".join(f"{line}\n" for line in rules)


def _hosts(plan: MachinePlan) -> Render:
    def render(current: bytes | None) -> bytes:
        text = (current or b"127.0.0.1 localhost\n").decode("utf-8", "surrogateescape")
        return texts.hosts_text(plan, text).encode("utf-8", "surrogateescape")

    return render


def _sshd(plan: MachinePlan, *, old_keys: bool) -> Render:
    def render(current: bytes | None) -> bytes | None:
        if current is None:
            return None
        text = current.decode("utf-8", "surrogateescape")
        wanted = contents.sshd_text(text, plan.sshd_listen, old_keys=old_keys)
        return wanted.encode("utf-8", "surrogateescape")

    return render


def _ntp(plan: MachinePlan) -> Render:
    def render(current: bytes | None) -> bytes | None:
        if current is None or not plan.ntp_servers:
            return None
        text = current.decode("utf-8", "surrogateescape")
        return contents.ntp_text(text, plan.ntp_servers).encode("utf-8", "surrogateescape")

    return render
