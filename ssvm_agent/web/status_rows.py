# SPDX-License-Identifier: Apache-2.0
"""The rows of a status report that the HTTP side itself knows: uploads, transfers, links, TLS."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ssvm_agent.web.certificates import ServerCertificate
from ssvm_agent.web.downloads import Transfer
from ssvm_agent.web.links import Link
from ssvm_agent.web.status_report import (
    CertificateRow,
    Health,
    PublishedRow,
    WorkRow,
    certificate_health,
)
from ssvm_agent.web.upload_table import Upload, UploadState


def upload_rows(uploads: Iterable[Upload]) -> tuple[WorkRow, ...]:
    """All uploads that are remembered, running ones first."""
    rows = [
        WorkRow(
            health=Health.BAD if one.state is UploadState.ERROR else Health.GOOD,
            id=one.uuid,
            what=one.description,
            state=one.state.value,
            done_bytes=one.body_bytes,
            total_bytes=one.content_length,
            percent=one.percent,
            message=one.message,
            started=one.started,
            is_running=one.state is UploadState.IN_PROGRESS,
        )
        for one in uploads
    ]
    return tuple(sorted(rows, key=lambda row: (not row.is_running, row.started)))


def transfer_rows(transfers: Iterable[Transfer]) -> tuple[WorkRow, ...]:
    """Files on their way to clients."""
    return tuple(
        WorkRow(
            health=Health.GOOD,
            id=f"{one.area} {one.peer}",
            what=one.name,
            state=f"sending to {one.peer}",
            done_bytes=one.sent.count,
            total_bytes=one.total_bytes,
            percent=100 * one.sent.count // max(1, one.total_bytes),
            started=one.started,
        )
        for one in transfers
    )


def link_rows(links: Iterable[Link]) -> tuple[PublishedRow, ...]:
    """What is published."""
    return tuple(
        PublishedRow(key=one.key, path=one.path, created=one.created, expires=one.expires)
        for one in links
    )


def certificate_rows(
    certificate: ServerCertificate | None, now: datetime
) -> tuple[CertificateRow, ...]:
    """The certificate of the public https port."""
    if certificate is None:
        return ()
    days_left = certificate.days_left(now)
    return (
        CertificateRow(
            health=certificate_health(days_left),
            use="self-made web" if certificate.is_own else "web",
            subject=certificate.subject,
            issuer=certificate.issuer,
            not_after=certificate.not_after,
            days_left=days_left,
        ),
    )
