# SPDX-License-Identifier: Apache-2.0
"""Are the public ports served, with a certificate browsers believe, uploads included (5.3.9)?"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from ssvm_agent.config.settings import Publisher
from ssvm_agent.diag.check import Check
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.http_probe import HttpReply, HttpTarget, ask, unchecked_context
from ssvm_agent.diag.verdict import Verdict, error, ok, skipped, warning
from ssvm_agent.host.errors import PoolError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.web.apache_files import ApacheLayout

_ASK_DEADLINE_S: Final = 6.0
_SOON: Final = timedelta(days=14)
_UPLOAD: Final = "/upload/00000000-0000-0000-0000-000000000000"
_NEW_CERTIFICATE: Final = (
    "Upload a certificate for the system VMs' domain in CloudStack (Infrastructure, SSL"
    " certificate); the agent takes it at once."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicCertificate:
    """What matters of the certificate the https port shows."""

    subject: str
    not_after: datetime
    is_self_signed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WebFacts:
    """What is judged.

    Attributes:
        http_place: Address and port.
        https_place: Likewise.
        http: What the plain port answered to a GET of ``/``.
        https: What the other did.
        upload: What the upload path answered to a pre-flight.
        certificate: What the https port showed; ``None`` when it could not be read.
        dangling: Links of published files that lead nowhere.
        has_copy_rules: Whether Apache knows who may copy; ``None`` when that is not its business.
        is_apache: Who serves the ports.
        now: The time.
    """

    http_place: str
    https_place: str
    http: HttpReply
    https: HttpReply
    upload: HttpReply
    certificate: PublicCertificate | None = None
    dangling: tuple[str, ...] = ()
    has_copy_rules: bool | None = None
    is_apache: bool = True
    now: datetime


class WebCheck(Check):
    """The public ports."""

    slug = "web"
    title = "public ports serve downloads and uploads"
    deadline_s = 25.0

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        settings = facts.settings
        address = next(iter(settings.public.listen), settings.networks.public_address)
        if not address:
            return [skipped("This machine has no public address.")]
        if not settings.public.http_port or not settings.public.https_port:
            return [skipped("The public ports are chosen by the system (port 0).")]
        return judge(await _look(facts, address))


def judge(facts: WebFacts) -> list[Verdict]:
    """The verdicts."""
    found = [
        *_port(facts.http_place, facts.http, facts),
        *_port(facts.https_place, facts.https, facts),
        *_certificate(facts),
        *_upload(facts),
    ]
    if facts.dangling:
        shown = ", ".join(facts.dangling[:3])
        found.append(
            warning(
                f"{len(facts.dangling)} published links lead nowhere: {shown}.",
                "find -L /var/www/html/userdata -type l",
                "Their store is not mounted, or the file was deleted. See ssvm-check storage;"
                " users get a fresh link by asking for the download again.",
            )
        )
    if facts.has_copy_rules is False:
        found.append(
            warning(
                "No list of other zones' system VMs was loaded: copies between zones are refused.",
                "cat /var/www/html/copy/.htaccess",
                "It comes when the agent connects; disconnect and reconnect it"
                " (systemctl restart cloud).",
            )
        )
    return found or [
        ok(f"{facts.http_place} and {facts.https_place} answer.", f"curl http://{facts.http_place}")
    ]


def _port(place: str, reply: HttpReply, facts: WebFacts) -> list[Verdict]:
    if reply.status and reply.status < 500:
        return []
    who = "apache2" if facts.is_apache else "cloud"
    what = reply.problem or f"it answers with status {reply.status}"
    return [
        error(
            f"{place} does not serve: {what}.",
            f"curl -k {'https' if place == facts.https_place else 'http'}://{place}/",
            f"See systemctl status {who} and its log; the agent sets {who} up at its start"
            " (systemctl restart cloud).",
        )
    ]


def _certificate(facts: WebFacts) -> list[Verdict]:
    shown = facts.certificate
    how = f"openssl s_client -connect {facts.https_place}"
    if shown is None:
        return []
    if facts.now > shown.not_after:
        return [
            error(
                f"The https certificate {shown.subject} expired on {shown.not_after:%Y-%m-%d}:"
                " browsers refuse uploads and downloads.",
                how,
                _NEW_CERTIFICATE,
            )
        ]
    if shown.is_self_signed:
        return [
            warning(
                f"The https certificate {shown.subject} is self-signed: browsers refuse uploads"
                " until a user accepts it.",
                how,
                _NEW_CERTIFICATE,
            )
        ]
    if shown.not_after - facts.now < _SOON:
        days = (shown.not_after - facts.now).days
        return [warning(f"The https certificate expires in {days} days.", how, _NEW_CERTIFICATE)]
    return []


def _upload(facts: WebFacts) -> list[Verdict]:
    reply = facts.upload
    if not reply.status or reply.status < 500:
        return []  # a port that does not answer is said already
    return [
        error(
            f"Uploads are not taken: the upload path answers with status {reply.status}.",
            f"curl -k -X OPTIONS -i https://{facts.https_place}{_UPLOAD}",
            "Behind Apache the agent listens on 127.0.0.1:8210: see ssvm-check agent, and"
            " journalctl -u cloud for why it does not.",
        )
    ]


async def _look(facts: Facts, address: str) -> WebFacts:
    public = facts.settings.public
    tls = await facts.local.call(unchecked_context)
    plain = HttpTarget(address=address, port=public.http_port, host=address)
    secure = HttpTarget(address=address, port=public.https_port, host=address, tls=tls)
    upload = secure if facts.settings.upload.use_https else plain
    is_apache = facts.settings.publish is Publisher.APACHE
    async with asyncio.TaskGroup() as group:
        http = group.create_task(ask(plain, "GET", "/", deadline_s=_ASK_DEADLINE_S))
        https = group.create_task(ask(secure, "GET", "/", deadline_s=_ASK_DEADLINE_S))
        options = group.create_task(ask(upload, "OPTIONS", _UPLOAD, deadline_s=_ASK_DEADLINE_S))
    dangling: tuple[str, ...] = ()
    has_copy_rules = None
    if is_apache:
        layout = ApacheLayout()
        # Links lead into stores, and a dead store hangs whoever follows them: not our own threads.
        dangling = await _dangling(facts.path(layout.userdata))
        rules = facts.path(layout.copy / ".htaccess")
        has_copy_rules = await facts.local.call(rules.exists)
    return WebFacts(
        http_place=f"{address}:{public.http_port}",
        https_place=f"{address}:{public.https_port}",
        http=http.result(),
        https=https.result(),
        upload=options.result(),
        certificate=await facts.local.call(_read_certificate, https.result().certificate),
        dangling=dangling,
        has_copy_rules=has_copy_rules,
        is_apache=is_apache,
        now=facts.clock.now(),
    )


async def _dangling(directory: Path) -> tuple[str, ...]:
    pool = WorkPool("the published links", threads=1)
    try:
        return await pool.call(dangling_links, directory, deadline_s=_ASK_DEADLINE_S)
    except PoolError:
        return ()  # the store hangs, which the check of storage says
    finally:
        pool.close()


def dangling_links(directory: Path) -> tuple[str, ...]:
    """Links below a directory that lead nowhere (blocking, may hang with a store)."""
    found = []
    for folder, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = Path(folder, name)
            if path.is_symlink() and not path.exists():
                found.append(str(path.relative_to(directory)))
    return tuple(sorted(found))


def _read_certificate(der: bytes | None) -> PublicCertificate | None:
    if der is None:
        return None
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(der)
        subject = certificate.subject.rfc4514_string()
    except ValueError:
        return None
    return PublicCertificate(
        subject=subject or "without a subject",
        not_after=certificate.not_valid_after_utc,
        is_self_signed=certificate.subject == certificate.issuer,
    )
