# SPDX-License-Identifier: Apache-2.0
"""Are the agent's own certificate, key and CA usable, current, and for this machine (R2, 5.3.7)?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from ssvm_agent.diag.check import Check
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.verdict import Verdict, error, ok, warning
from ssvm_agent.link.certificates import ClientMaterial, client_context, load_material
from ssvm_agent.link.errors import TlsMaterialError

if TYPE_CHECKING:
    from cryptography import x509

_SOON: Final = timedelta(days=14)
_PROVISION: Final = (
    "Provision it anew from CloudStack (provisionCertificate for the system VM); the agent uses it"
    " at its next connect, without a restart."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What matters of one certificate.

    Attributes:
        subject: Its name.
        names: DNS names and addresses it is for.
    """

    subject: str
    not_before: datetime
    not_after: datetime
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """What is judged.

    Attributes:
        directory: Where the files are.
        problem: Why they cannot be used; empty when they can.
        own: The agent's certificate; ``None`` when it has none yet.
        authorities: The CA certificates.
        is_signed: Whether one of them signed the agent's.
        addresses: The addresses of this machine a server may see the agent come from.
        now: The time.
    """

    directory: str
    problem: str = ""
    own: Shown | None = None
    authorities: tuple[Shown, ...] = ()
    is_signed: bool = True
    addresses: tuple[str, ...] = ()
    now: datetime


class CertificatesCheck(Check):
    """cloud.crt, cloud.key and cloud.ca.crt."""

    slug = "certificates"
    title = "the agent's certificate and CA are usable"

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        return judge(await facts.local.call(look, facts))


def judge(facts: CertificateFacts) -> list[Verdict]:
    """The verdicts."""
    how = f"openssl x509 -text -in {facts.directory}/cloud.crt"
    if facts.problem:
        return [error(facts.problem, f"ls -l {facts.directory}", _PROVISION)]
    found = [*_authorities(facts)]
    if facts.own is None:
        found.append(
            warning(
                "The agent has no certificate yet; a server that wants one refuses it.",
                f"ls -l {facts.directory}",
                f"It is provisioned when the agent connects first. {_PROVISION}",
            )
        )
        return found
    found += _dates("The agent's certificate", facts.own, facts.now, how)
    if facts.authorities and not facts.is_signed:
        found.append(
            error(
                "The agent's certificate is not signed by the CA in cloud.ca.crt.",
                f"openssl verify -CAfile {facts.directory}/cloud.ca.crt"
                f" {facts.directory}/cloud.crt",
                _PROVISION,
            )
        )
    foreign = [one for one in facts.addresses if one not in facts.own.names]
    if foreign and len(foreign) == len(facts.addresses):
        found.append(
            warning(
                f"The agent's certificate is for {', '.join(sorted(facts.own.names)) or 'no name'},"
                f" this machine has {', '.join(foreign)}: a strict server refuses it.",
                how,
                _PROVISION,
            )
        )
    return found or [ok(f"{facts.own.subject}, valid until {facts.own.not_after:%Y-%m-%d}.", how)]


def _authorities(facts: CertificateFacts) -> list[Verdict]:
    how = f"openssl x509 -text -in {facts.directory}/cloud.ca.crt"
    if not facts.authorities:
        return [
            warning(
                "No CA certificate is known, so any management server would be believed.",
                f"ls -l {facts.directory}/cloud.ca.crt",
                _PROVISION,
            )
        ]
    found: list[Verdict] = []
    for one in facts.authorities:
        found += _dates(f"The CA certificate {one.subject}", one, facts.now, how)
    return found


def _dates(what: str, one: Shown, now: datetime, how: str) -> list[Verdict]:
    if now > one.not_after:
        return [error(f"{what} expired on {one.not_after:%Y-%m-%d}.", how, _PROVISION)]
    if now < one.not_before:
        return [
            error(
                f"{what} is valid only from {one.not_before:%Y-%m-%d %H:%M} UTC on.",
                how,
                "Set the clock of this machine right (ssvm-check clock).",
            )
        ]
    if one.not_after - now < _SOON:
        days = (one.not_after - now).days
        return [warning(f"{what} expires in {days} days.", how, _PROVISION)]
    return []


def look(facts: Facts) -> CertificateFacts:
    """Read the files (blocking; loads the cryptography library)."""
    directory = facts.path(facts.settings.conf_dir)
    networks = facts.settings.networks
    base = CertificateFacts(directory=str(facts.settings.conf_dir), now=facts.clock.now())
    addresses = tuple(filter(None, (networks.private_address, networks.public_address)))
    try:
        material = load_material(directory)
        client_context(material)
        own, authorities = _parsed(material)
    except TlsMaterialError as problem:
        return replace(base, problem=problem.message)
    return replace(
        base,
        own=shown(own) if own is not None else None,
        authorities=tuple(shown(one) for one in authorities),
        is_signed=own is None or any(_signed_by(own, one) for one in authorities),
        addresses=addresses,
    )


def shown(certificate: x509.Certificate) -> Shown:
    """What matters of a certificate."""
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = {
            *names.get_values_for_type(x509.DNSName),
            *map(str, names.get_values_for_type(x509.IPAddress)),
        }
    except (x509.ExtensionNotFound, ValueError):
        found = set()
    return Shown(
        subject=certificate.subject.rfc4514_string() or "without a subject",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        names=frozenset(found),
    )


def _parsed(
    material: ClientMaterial,
) -> tuple[x509.Certificate | None, tuple[x509.Certificate, ...]]:
    from cryptography import x509

    try:
        own = (
            x509.load_pem_x509_certificate(material.certificate.read_bytes())
            if material.certificate
            else None
        )
        return own, tuple(x509.load_der_x509_certificate(one) for one in material.authorities)
    except (OSError, ValueError) as problem:
        raise TlsMaterialError("A certificate file cannot be read.", detail=str(problem)) from None


def _signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
