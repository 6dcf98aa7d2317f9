# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime, timedelta, timezone

import pytest

from ssvm_agent.masking import Secret
from ssvm_agent.sealed import SealVersion
from ssvm_agent.simulator.uploads import UploadOrder, UploadTicket, sign_upload
from ssvm_agent.web.upload_crypto import decrypt_metadata, signed_url
from ssvm_agent.web.upload_metadata import parse_metadata

KEY = Secret("test-psk")
UUID = "11111111-2222-3333-4444-555555555555"
EXPIRES = datetime(2030, 1, 1, tzinfo=UTC)
ORDER = UploadOrder(entity_id=205, name="205-2-tiny", store_url="nfs://10.1.1.5/export/secondary")


def fixed_bytes(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """Make random bytes count up, as those of the vectors do."""

    def count(size: int) -> bytes:
        return bytes(range(first, first + size))

    monkeypatch.setattr("ssvm_agent.simulator.uploads.secrets.token_bytes", count)


def vector(**more: SealVersion) -> UploadTicket:
    base = "https://203.0.113.7"
    return sign_upload(KEY, '{"entityId":205}', base=base, uuid=UUID, expires=EXPIRES, **more)


def test_an_upload_is_signed_as_the_vector_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """storage-commands.md 5.3, test vectors."""
    fixed_bytes(monkeypatch, 0)
    ticket = vector()
    assert ticket.post_url == f"https://203.0.113.7/upload/{UUID}"
    assert ticket.headers() == {
        "X-signature": "7Gd5mL5t29yX9ACbfhn5wm/myvg=",
        "X-metadata": "AAECAwQFBgcICQoL/YAJRQODYuTiZzM5KgguE35g1Vj41vzGDzZWEd5fesw=",
        "X-expires": "2030-01-01T00:00:00.000Z",
    }


def test_an_older_server_encrypts_as_the_vector_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """storage-commands.md 5.3, test vectors: V1."""
    fixed_bytes(monkeypatch, 1)
    ticket = vector(encryption=SealVersion.V1)
    assert ticket.metadata == "AQIDBAUGBwj3jjteSx+sGdjFgQH4eNvCUxMnu4siN9Q="


@pytest.mark.parametrize("encryption", SealVersion)
def test_two_uploads_never_share_a_text(encryption: SealVersion) -> None:
    tickets = {ORDER.ticket(KEY, "https://h", EXPIRES, encryption).metadata for _ in range(2)}
    assert len(tickets) == 2


@pytest.mark.parametrize(
    ("base", "signed"),
    [
        ("https://203-0-113-7.example.com", "https://203-0-113-7.example.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1"),
        ("http://[::1]:8080", "http://[::1]"),
        ("http://[::1]", "http://[::1]"),
    ],
)
def test_a_port_leads_the_browser_and_is_not_signed(base: str, signed: str) -> None:
    """storage-commands.md 5.3: no port is ever included."""
    ticket = ORDER.ticket(KEY, base, EXPIRES)
    assert ticket.post_url == f"{base}/upload/{ORDER.uuid}"
    url = f"{signed}/upload/{ORDER.uuid}"
    found = signed_url(
        KEY, ticket.signature, metadata=ticket.metadata, urls=[url], expires=ticket.expires
    )
    assert found == url


def test_the_expiry_is_told_in_utc_and_milliseconds() -> None:
    moment = datetime(2030, 1, 1, 2, 0, 0, 1999, tzinfo=timezone(timedelta(hours=2)))
    assert ORDER.ticket(KEY, "https://h", moment).expires == "2030-01-01T00:00:00.001Z"


@pytest.mark.parametrize("encryption", SealVersion)
@pytest.mark.parametrize(
    ("kind", "directory"), [("TEMPLATE", "template/tmpl/3/205"), ("VOLUME", "volumes/3/205")]
)
def test_the_agent_reads_what_was_ordered(
    encryption: SealVersion, kind: str, directory: str
) -> None:
    """storage-commands.md 5.4."""
    order = UploadOrder(
        entity_id=205,
        name="tiny",
        store_url="nfs://10.1.1.5/export/secondary",
        kind=kind,
        format="VHD",
        account_id=3,
        max_size_gib=7,
        checksum="{SHA-256}ab",
        extra={"processTimeout": 60},
    )
    text, used = decrypt_metadata(KEY, order.ticket(KEY, "https://h", EXPIRES, encryption).metadata)
    read = parse_metadata(text)
    assert used is encryption
    assert (read.kind, read.directory, order.directory()) == (kind, directory, directory)
    assert (read.entity_uuid, read.entity_id, read.account_id) == (order.uuid, 205, 3)
    assert (read.name, read.image_format, read.checksum) == ("tiny", "VHD", "{SHA-256}ab")
    assert read.store_url == "nfs://10.1.1.5/export/secondary"
    assert read.max_size_bytes == 7 << 30
    assert read.account_limit_bytes is None
    assert read.process_timeout_s == 60


def test_fields_without_a_value_are_left_out() -> None:
    assert "checksum" not in ORDER.document()
    assert json.loads(json.dumps(ORDER.document()))["maxUploadSize"] == "500"


def test_the_curl_line_survives_a_shell() -> None:
    ticket = ORDER.ticket(KEY, "https://203.0.113.7", EXPIRES)
    words = shlex.split(ticket.curl("it's here.qcow2"))
    assert words[-3:] == ["-F", "files[]=@it's here.qcow2", ticket.post_url]
    assert f"X-signature: {ticket.signature}" in words


@pytest.mark.parametrize(("kind", "told"), [("TEMPLATE", "Template"), ("VOLUME", "Volume")])
def test_the_question_how_far_it_is(kind: str, told: str) -> None:
    """storage-commands.md 5.6; ``abort`` is only sent when it is meant (4.23)."""
    order = UploadOrder(entity_id=1, name="n", store_url="nfs://h/p", kind=kind)
    fields = order.status_command().fields
    assert (fields["entityUuid"], fields["entityType"]) == (order.uuid, told)
    assert "abort" not in fields
    assert order.status_command(abort=True).fields["abort"] is True
