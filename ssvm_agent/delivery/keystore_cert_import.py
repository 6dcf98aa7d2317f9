# SPDX-License-Identifier: Apache-2.0
"""``keystore-cert-import``: put a certificate, its CA and its key in place.

Compat: agent-lifecycle.md 4.2.
Arguments: PROPERTIES PASSPHRASE KEYSTORE MODE CERTIFICATE-FILE CERTIFICATE CA-FILE CA KEY-FILE KEY.
The PEM texts have ``^`` for a newline and ``~`` for a blank; an empty text means what the file
holds. Everything is checked before the first file is written (R2). Mode ``ssh`` also stops and
starts the agent; the other mode, ``agent``, comes from the agent itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from ssvm_agent.appliance.errors import ApplianceError
from ssvm_agent.appliance.keystore import CA_FILE, CERTIFICATE_FILE, KEY_FILE, KEYSTORE_FILE
from ssvm_agent.appliance.x509 import parse_certificates
from ssvm_agent.delivery.conf_dir import conf_dir_of, keystore_in, script, wait_for
from ssvm_agent.delivery.errors import DeliveryError, UsageError
from ssvm_agent.host.clock import Clock, SystemClock
from ssvm_agent.host.files import atomic_write
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import Runner, SystemRunner
from ssvm_agent.masking import Secret

USAGE: Final = (
    "keystore-cert-import PROPERTIES PASSPHRASE KEYSTORE ssh|agent"
    " CERTIFICATE-FILE CERTIFICATE CA-FILE CA KEY-FILE KEY"
)
_REMEDY: Final = (
    "Provision the certificate anew from CloudStack (provisionCertificate for the system VM)"
)
_LEAST_ARGUMENTS: Final = 8
_MOST_ARGUMENTS: Final = 10
_CONF_DIR_DEADLINE_S: Final = 300.0
_TRUST_DEADLINE_S: Final = 120.0
# The agent lets running commands end before it stops.
_SERVICE_DEADLINE_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where the import happens.

    Attributes:
        runner: Starts programs.
        clock: Time.
        boot_text: Exists on a system VM only.
        trusted_ca: The system's copy of the cloud's CA.
        conf_deadline_s: How long to wait for the configuration directory.
    """

    runner: Runner
    clock: Clock
    boot_text: Path = Path("/var/cache/cloud/cmdline")
    trusted_ca: Path = Path("/usr/local/share/ca-certificates/cloudstack/ca.crt")
    conf_deadline_s: float = _CONF_DIR_DEADLINE_S


def decode(text: str) -> str:
    """A PEM text as it was before it travelled in one word."""
    return text.replace("^", "\n").replace("~", " ")


async def install(arguments: Sequence[str], machine: Machine) -> str:
    """Carry the script out.

    Differs: boot-and-system.md 2.9, the key is 0600, certificates are 0644 (R2, S7).

    Raises:
        UsageError: The arguments are wrong.
        AgentError: The parts do not fit together (nothing was changed), or a step failed.
    """
    if not _LEAST_ARGUMENTS <= len(arguments) <= _MOST_ARGUMENTS:
        raise UsageError(f"usage: {USAGE}")
    padded = [*arguments, KEY_FILE, ""][:_MOST_ARGUMENTS] if len(arguments) < 9 else arguments
    properties, passphrase, keystore, mode, crt_file, crt, ca_file, ca, *rest = padded
    if mode not in ("ssh", "agent"):
        raise UsageError(f"usage: {USAGE}")
    directory = conf_dir_of(
        [
            (properties, "agent.properties"), (keystore, KEYSTORE_FILE),
            (crt_file, CERTIFICATE_FILE), (ca_file, CA_FILE),
        ]
    )  # fmt: skip
    pool = WorkPool("local disk", threads=1)
    await wait_for(directory, pool=pool, clock=machine.clock, deadline_s=machine.conf_deadline_s)
    key = rest[1] if len(rest) > 1 else ""
    texts = _Texts(
        passphrase=Secret(passphrase),
        certificate=decode(crt).strip(),
        authorities=decode(ca).strip(),
        key=Secret(decode(key).strip()),
    )
    ca_pem = await pool.call(_install, directory, texts, machine.clock.now())
    if await pool.call(machine.boot_text.exists):
        await pool.call(_write_trust, machine.trusted_ca, ca_pem)
        await machine.runner.run(["update-ca-certificates"], deadline_s=_TRUST_DEADLINE_S)
        if mode == "ssh":
            for verb in ("stop", "start"):
                await machine.runner.run(
                    ["systemctl", verb, "cloud"], deadline_s=_SERVICE_DEADLINE_S
                )
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Texts:
    """What came in the arguments; empty where the files have it."""

    passphrase: Secret
    certificate: str
    authorities: str
    key: Secret


def _install(directory: Path, texts: _Texts, now: datetime) -> str:
    """Check and write; the CA certificates as written."""
    try:
        installed = keystore_in(directory).install(
            certificate=texts.certificate or _read(directory / CERTIFICATE_FILE),
            private_key=texts.key,
            ca_certificates=texts.authorities or _read(directory / CA_FILE),
            now=now,
            offered=texts.passphrase,
        )
    except ApplianceError as error:
        raise type(error)(f"{error.message}. {_REMEDY}", detail=error.detail) from error
    return installed.ca_pem


def _write_trust(path: Path, ca_pem: str) -> None:
    """The system's copy of the cloud's CA."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        atomic_write(path, ca_pem.encode())
    except OSError as error:
        raise DeliveryError(f"{path} cannot be written: {error.strerror}") from error


def _read(path: Path) -> str:
    """The certificates of a file."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError as error:
        raise DeliveryError(f"{path} cannot be read: {error.strerror}. {_REMEDY}") from error
    parse_certificates(text, str(path))
    return text


def main() -> int:
    """The script."""

    async def work(arguments: Sequence[str]) -> str:
        return await install(arguments, Machine(runner=SystemRunner(), clock=SystemClock()))

    return script("keystore-cert-import", work)


if __name__ == "__main__":
    sys.exit(main())
