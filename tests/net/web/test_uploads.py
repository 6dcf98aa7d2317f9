# SPDX-License-Identifier: Apache-2.0
"""Signed uploads, in both ways of publishing and behind a proxy (storage-commands.md 5)."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from ssvm_agent.masking import Secret
from ssvm_agent.sealed import SealVersion
from ssvm_agent.simulator.uploads import UploadOrder
from ssvm_agent.storage.errors import NotFoundError
from ssvm_agent.storage.stores import Store
from ssvm_agent.web import upload_recovery
from ssvm_agent.web.upload_crypto import sign
from ssvm_agent.web.upload_table import BROKEN_MESSAGE, RESTARTED_MESSAGE, UploadState
from tests.net.web.rig import KEY, Order, Reply, Rig, form, post, raw, status_of

GIB = 1 << 30


def qcow2(size: int = 1 << 20, *, virtual: int = 1 << 24, backing: bool = False) -> bytes:
    """A QCOW2 version 3 image of this length whose tables are empty."""
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        b"QFI\xfb", 3, 104 if backing else 0, 5 if backing else 0, 16, virtual, 0, 1, 0x30000,
        0x10000, 1, 0, 0, 0, 0, 0, 4, 104,
    )  # fmt: skip
    head = header + (b"/etc/" if backing else b"")
    l1 = bytes(8)
    body = head.ljust(0x10000, b"\0") + struct.pack(">Q", 0x20000).ljust(0x10000, b"\0")
    body += bytes(0x10000) + l1.ljust(0x10000, b"\0")
    return body + secrets.token_bytes(max(0, size - len(body)))


async def preflight(url: str) -> Reply:
    headers = {
        "Origin": "https://cloud.example.com",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-signature,x-metadata,x-expires",
    }
    async with aiohttp.ClientSession() as session, session.options(url, headers=headers) as answer:
        return Reply(status=answer.status, text=await answer.text(), headers=answer.headers)


def assert_cors(reply: Reply) -> None:
    assert reply.headers.getall("Access-Control-Allow-Origin") == ["*"]
    assert reply.headers["Access-Control-Allow-Methods"] == "POST, OPTIONS"
    assert "x-signature, x-metadata, x-expires" in reply.headers["Access-Control-Allow-Headers"]


async def test_a_signed_upload_is_installed(rig: Rig) -> None:
    """storage-commands.md 5.5, 5.6."""
    order = Order(rig=rig)
    content = qcow2()
    reply = await post(f"{rig.http}/upload/{order.uuid}", order, content)
    assert (reply.status, reply.text) == (200, "upload successful.")
    assert reply.headers["Content-Type"].lower() == "text/plain; charset=utf-8"
    assert_cors(reply)
    upload = rig.web.uploads.find(order.uuid)
    assert upload is not None
    assert upload.state is UploadState.COMPLETED
    assert upload.result is not None
    assert upload.result.virtual_size_bytes == 1 << 24
    assert (rig.data / upload.result.install_path).read_bytes() == content
    assert (rig.data / "template/tmpl/2/205/template.properties").exists()
    assert len(rig.leftovers()) == 2


async def test_the_answer_to_a_pre_flight_allows_the_headers(rig: Rig) -> None:
    reply = await preflight(f"{rig.http}/upload/{uuid4()}")
    assert 200 <= reply.status < 300
    assert_cors(reply)


async def test_a_plain_get_says_that_the_address_is_reachable(rig: Rig) -> None:
    """Requirement R4."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{rig.http}/upload/{uuid4()}") as answer,
    ):
        assert (answer.status, "reachable" in await answer.text()) == (200, True)


async def test_a_url_works_once(rig: Rig) -> None:
    """storage-commands.md 5.5.3."""
    order = Order(rig=rig)
    url = f"{rig.http}/upload/{order.uuid}"
    await post(url, order, qcow2())
    reply = await post(url, order, qcow2())
    assert (reply.status, reply.text) == (
        400,
        "The one time post url is already used and the upload is in COMPLETED state.",
    )
    assert_cors(reply)


async def test_an_existing_directory_means_that_the_url_was_used(rig: Rig) -> None:
    (rig.data / "template/tmpl/2/205").mkdir(parents=True)
    order = Order(rig=rig)
    reply = await post(f"{rig.http}/upload/{order.uuid}", order, qcow2())
    assert (reply.status, reply.text) == (400, "The one time post url is already used")
    assert rig.web.uploads.find(order.uuid) is None


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"key": "other-psk"}, "signature validation failed."),
        ({"host": "evil.example.com"}, "signature validation failed."),
        ({"life": timedelta(seconds=-1)}, "request not valid anymore."),
        ({"metadata": {"entityUUID": "other"}}, "unable decode and deserialize metadata."),
        ({"metadata": {"type": "SOMETHING"}}, "unable decode and deserialize metadata."),
        ({"metadata": {"maxUploadSize": "x"}}, "unable decode and deserialize metadata."),
    ],
)
async def test_what_is_not_signed_for_this_upload_is_refused(
    rig: Rig, change: dict[str, object], text: str
) -> None:
    """storage-commands.md 5.5.2; requirement S6: no trace is left."""
    order = Order(rig=rig, **change)  # type: ignore[arg-type]
    reply = await post(f"{rig.http}/upload/{order.uuid}", order, qcow2())
    assert (reply.status, reply.text) == (400, text)
    assert_cors(reply)
    assert rig.web.uploads.find(order.uuid) is None
    assert rig.leftovers() == []


@pytest.mark.parametrize("encryption", SealVersion)
async def test_metadata_of_either_encryption_is_read(rig: Rig, encryption: SealVersion) -> None:
    """storage-commands.md 5.3: V1 by servers before 4.18."""
    order = Order(rig=rig)
    ticket = upload_order(order).ticket(
        Secret(KEY), "http://127.0.0.1", datetime.now(UTC) + timedelta(hours=1), encryption
    )
    reply = await post(f"{rig.http}/upload/{order.uuid}", ticket, qcow2())
    assert (reply.status, reply.text) == (200, "upload successful.")


@pytest.mark.parametrize("encryption", SealVersion)
async def test_metadata_of_another_key_is_not_read(rig: Rig, encryption: SealVersion) -> None:
    """The signature is right, what it is over was encrypted with the key before."""
    order = Order(rig=rig)
    other = upload_order(order).ticket(
        Secret("other"), "http://127.0.0.1", datetime.now(UTC) + timedelta(hours=1), encryption
    )
    signature = sign(
        Secret(KEY), metadata=other.metadata, url=other.post_url, expires=other.expires
    )
    reply = await post(
        f"{rig.http}/upload/{order.uuid}", replace(other, signature=signature), qcow2()
    )
    assert (reply.status, reply.text) == (400, "unable decode and deserialize metadata.")
    assert rig.web.uploads.find(order.uuid) is None


def upload_order(order: Order) -> UploadOrder:
    """The order as the simulator's, to be sealed in other ways."""
    return UploadOrder(
        uuid=order.uuid, entity_id=205, name="205-2-upload", store_url=f"file://{order.rig.data}"
    )


async def test_a_signature_for_another_upload_is_refused(rig: Rig) -> None:
    order, other = Order(rig=rig), str(uuid4())
    reply = await post(f"{rig.http}/upload/{other}", order, qcow2())
    assert (reply.status, reply.text) == (400, "signature validation failed.")


@pytest.mark.parametrize("missing", ["X-signature", "X-metadata", "X-expires"])
async def test_each_header_is_compulsory(rig: Rig, missing: str) -> None:
    order = Order(rig=rig)
    headers = order.headers()
    del headers[missing]
    body, kind = form(qcow2())
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{rig.http}/upload/{order.uuid}",
            data=BytesIO(body),
            headers={**headers, "Content-Type": kind},
        ) as answer,
    ):
        text = await answer.text()
    assert (answer.status, text) == (400, "signature, metadata and expires are compulsory fields.")


async def test_other_methods_are_refused(rig: Rig) -> None:
    """storage-commands.md 5.5.1."""
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"{rig.http}/upload/{uuid4()}", data=b"x") as answer,
    ):
        if rig.apache:
            # It passes on what uploads need and nothing else.
            assert answer.status == 405
        else:
            assert (answer.status, await answer.text()) == (400, "only post requests are allowed")


async def test_a_new_key_counts_at_once(rig: Rig) -> None:
    await rig.web.set_upload_key(Secret("second"))
    old, new = Order(rig=rig), Order(rig=rig, key="second")
    assert (await post(f"{rig.http}/upload/{old.uuid}", old, qcow2())).status == 400
    assert (await post(f"{rig.http}/upload/{new.uuid}", new, qcow2())).status == 200


async def test_the_port_behind_a_proxy_takes_the_forwarded_host(rig: Rig) -> None:
    """storage-commands.md 5.1, 5.2."""
    order = Order(rig=rig, host="upload.example.com", scheme="https")
    body, kind = form(qcow2())
    headers = {
        **order.headers(),
        "Content-Type": kind,
        "X-Forwarded-Host": "upload.example.com",
        "X-Forwarded-Proto": "https",
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{rig.proxied}/upload?uuid={order.uuid}", data=BytesIO(body), headers=headers
        ) as answer,
    ):
        assert (answer.status, await answer.text()) == (200, "upload successful.")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"plain text, no disk" * 100, "File type mismatch between uploaded file and selected"),
        (qcow2(backing=True), "The uploaded file is not a valid QCOW2."),
    ],
)
async def test_what_is_no_safe_image_is_refused_and_leaves_nothing(
    rig: Rig, content: bytes, text: str
) -> None:
    """storage-commands.md 5.5, steps 8-12; requirement S1."""
    order = Order(rig=rig)
    reply = await post(f"{rig.http}/upload/{order.uuid}", order, content)
    assert reply.status == 500
    assert reply.text.startswith(text)
    assert_cors(reply)
    upload = rig.web.uploads.find(order.uuid)
    assert upload is not None
    assert (upload.state, upload.message) == (UploadState.ERROR, reply.text)
    assert rig.leftovers() == []


async def test_an_announced_length_over_the_limit_is_refused(rig: Rig) -> None:
    """storage-commands.md 5.5.4."""
    order = Order(rig=rig)
    lines = [
        f"POST /upload/{order.uuid} HTTP/1.1",
        "Host: 127.0.0.1",
        *(f"{name}: {value}" for name, value in order.headers().items()),
        "Content-Type: multipart/form-data; boundary=b",
        f"Content-Length: {GIB + (1 << 17)}",
        "Connection: close",
        "Expect: 100-continue",
    ]
    answer = await raw(rig.http_port, ("\r\n".join(lines) + "\r\n\r\n").encode())
    assert status_of(answer) == 400
    assert b"Content Length received: 2GB. Maximum allowed size: 1GB." in answer


async def test_the_quota_of_the_account_counts_the_new_content(rig: Rig) -> None:
    """storage-commands.md 5.5.5."""
    rig.usage.bytes = GIB - 1
    order = Order(rig=rig, metadata={"defaultMaxSecondaryStorageInGB": 1})
    reply = await post(f"{rig.http}/upload/{order.uuid}", order, qcow2())
    assert (reply.status, reply.text) == (
        400,
        "Maximum number of resources of type secondary_storage for account/project has exceeded",
    )


async def test_a_form_without_a_file_is_told_so(rig: Rig) -> None:
    """storage-commands.md 5.5.7."""
    order = Order(rig=rig)
    body = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nvalue\r\n--b--\r\n'
    reply = await post_body(rig, order, body)
    assert (reply.status, reply.text) == (422, "received entity is not a file")
    assert rig.leftovers() == []


async def test_the_first_of_two_files_counts(rig: Rig) -> None:
    """storage-commands.md 5.2."""
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.qcow2"\r\n\r\n%s\r\n'
    first = qcow2()
    order = Order(rig=rig)
    reply = await post_body(rig, order, part % first + part % b"second" + b"--b--\r\n")
    assert (reply.status, reply.text) == (200, "upload successful.")
    upload = rig.web.uploads.find(order.uuid)
    assert upload is not None
    assert upload.result is not None
    assert (rig.data / upload.result.install_path).read_bytes() == first


async def test_ten_thousand_parts_are_refused(rig: Rig) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\nx\r\n'
    order = Order(rig=rig)
    reply = await post_body(rig, order, part * 10_000 + b"--b--\r\n")
    assert (reply.status, reply.text) == (500, "The form has more than 100 parts.")


async def post_body(rig: Rig, order: Order, body: bytes) -> Reply:
    headers = {**order.headers(), "Content-Type": "multipart/form-data; boundary=b"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{rig.http}/upload/{order.uuid}", data=BytesIO(body), headers=headers
        ) as answer,
    ):
        return Reply(status=answer.status, text=await answer.text(), headers=answer.headers)


def request_lines(order: Order, *lines: str) -> bytes:
    everything = [
        f"POST /upload/{order.uuid} HTTP/1.1",
        "Host: 127.0.0.1",
        *(f"{name}: {value}" for name, value in order.headers().items()),
        "Content-Type: multipart/form-data; boundary=b",
        *lines,
    ]
    return ("\r\n".join(everything) + "\r\n\r\n").encode()


async def test_a_chunked_body_is_refused(rig: Rig) -> None:
    """storage-commands.md 5.2."""
    request = request_lines(Order(rig=rig), "Transfer-Encoding: chunked", "Connection: close")
    answer = await raw(rig.http_port, request + b"0\r\n\r\n")
    assert status_of(answer) == 400
    assert b"content length is not set in the request or has invalid value." in answer


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: -1",),
        ("Content-Length: 5x",),
        ("Transfer-Encoding: chunked, identity",),
    ],
)
async def test_two_ideas_of_a_length_are_refused(rig: Rig, lines: tuple[str, ...]) -> None:
    """Requirement S10: no smuggling."""
    order = Order(rig=rig)
    request = request_lines(order, *lines)
    answer = await raw(
        rig.http_port, request + b"0\r\n\r\nGET /userdata/x HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert status_of(answer) == 400
    assert answer.count(b"HTTP/1.") == 1
    assert b"Access-Control-Allow-Origin: *" in answer
    assert rig.web.uploads.find(order.uuid) is None


async def until(condition: object, *, wait_s: float = 10) -> None:
    """Let the loop run until the condition holds."""
    assert callable(condition)
    async with asyncio.timeout(wait_s):
        while not condition():  # noqa: ASYNC110 - looks at state nobody announces
            await asyncio.sleep(0.005)


async def start_half(rig: Rig, order: Order, *, share: float = 0.5) -> asyncio.StreamWriter:
    """Send the head and part of an upload; returns once the agent has taken it in."""
    body, kind = form(qcow2(4 << 20))
    head = request_lines(order, f"Content-Length: {len(body)}").replace(
        b"multipart/form-data; boundary=b", kind.encode()
    )
    _, writer = await asyncio.open_connection("127.0.0.1", rig.http_port)
    half = body[: int(len(body) * share)]
    writer.write(head + half)
    await writer.drain()
    await until(lambda: _received(rig, order) >= len(half) - 65536)
    return writer


def _received(rig: Rig, order: Order) -> int:
    upload = rig.web.uploads.find(order.uuid)
    return 0 if upload is None else upload.body_bytes


async def test_progress_is_visible_while_the_body_comes(rig: Rig) -> None:
    order = Order(rig=rig)
    writer = await start_half(rig, order)
    upload = rig.web.uploads.find(order.uuid)
    assert upload is not None
    assert upload.state is UploadState.IN_PROGRESS
    assert 40 <= upload.percent <= 50
    writer.close()
    await until(lambda: upload.ended is not None)


async def test_a_cut_connection_fails_only_its_own_upload(rig: Rig) -> None:
    """Requirement R6: 8 uploads, of which half die."""
    orders = [Order(rig=rig, entity_id=300 + number) for number in range(8)]
    writers = [await start_half(rig, order) for order in orders[:4]]
    good = [
        asyncio.create_task(post(f"{rig.http}/upload/{order.uuid}", order, qcow2(2 << 20)))
        for order in orders[4:]
    ]
    for writer in writers:
        writer.transport.abort()
    replies = await asyncio.gather(*good)
    assert [reply.status for reply in replies] == [200] * 4

    def ended() -> bool:
        uploads = [rig.web.uploads.find(order.uuid) for order in orders[:4]]
        return all(one is not None and one.state is UploadState.ERROR for one in uploads)

    await until(ended)
    first = rig.web.uploads.find(orders[0].uuid)
    assert first is not None
    assert first.message == BROKEN_MESSAGE
    assert len(rig.leftovers()) == 8


async def test_an_abort_stops_the_upload_and_leaves_nothing(rig: Rig) -> None:
    """storage-commands.md 5.6: 4.23's abort."""
    order = Order(rig=rig)
    writer = await start_half(rig, order)
    rig.web.uploads.abort(order.uuid, datetime.now(UTC))
    upload = rig.web.uploads.find(order.uuid)
    assert upload is not None
    assert (upload.state, upload.message) == (UploadState.ERROR, "Upload Entity aborted")
    await until(lambda: rig.leftovers() == [])
    writer.close()


@pytest.mark.parametrize("share", [0.001, 0.3, 0.999])
async def test_a_body_cut_anywhere_brings_nothing(rig: Rig, share: float) -> None:
    order = Order(rig=rig)
    writer = await start_half(rig, order, share=share)
    writer.close()

    def ended() -> bool:
        upload = rig.web.uploads.find(order.uuid)
        if upload is None:
            # Apache passes a request on when it has the first 16 KiB of its body.
            return rig.apache is not None and share < 0.01
        return upload.state is UploadState.ERROR

    await until(ended)
    assert rig.leftovers() == []


async def test_a_body_longer_than_announced_is_not_taken_further(rig: Rig) -> None:
    order = Order(rig=rig)
    body, kind = form(qcow2())
    head = request_lines(order, f"Content-Length: {len(body)}", "Connection: close").replace(
        b"multipart/form-data; boundary=b", kind.encode()
    )
    answer = await raw(rig.http_port, head + body + b"more" * 100)
    assert status_of(answer) == 200
    assert answer.count(b"HTTP/1.") == 1


async def test_a_form_that_ends_without_its_last_boundary_brings_nothing(rig: Rig) -> None:
    """The body is as long as announced, but the file in it is not whole."""
    order = Order(rig=rig)
    body, _ = form(qcow2())
    boundary = body[2 : body.index(b"\r\n")]
    reply = await post_body(rig, order, body.replace(boundary, b"b")[:-20])
    assert (reply.status, reply.text) == (500, "The form in the request body has no end.")
    assert rig.leftovers() == []


async def test_uploads_cut_at_random_leave_the_others_alone(rig: Rig) -> None:
    """Requirement R6."""
    spared = Order(rig=rig, entity_id=400)
    body, kind = form(qcow2(2 << 20))
    head = request_lines(spared, f"Content-Length: {len(body)}", "Connection: close").replace(
        b"multipart/form-data; boundary=b", kind.encode()
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.http_port)
    writer.write(head + body[: 1 << 20])
    await writer.drain()
    await until(lambda: _received(rig, spared) >= (1 << 20) - 65536)
    for number in range(12):
        order = Order(rig=rig, entity_id=401 + number)
        cut = await start_half(rig, order, share=secrets.randbelow(1000) / 1000)
        cut.transport.abort()
    await until(lambda: rig.web.uploads.running == 1)
    writer.write(body[1 << 20 :])
    answer = await reader.read()
    writer.close()
    assert status_of(answer) == 200
    assert len(rig.leftovers()) == 2


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/abs.qcow2", "a\\..\\b.qcow2", "x\x00.qcow2", "ä" * 400]
)
async def test_the_client_s_file_name_leads_nowhere(rig: Rig, name: str) -> None:
    order = Order(rig=rig)
    reply = await post(f"{rig.http}/upload/{order.uuid}", order, qcow2(), name=name)
    assert reply.status == 200
    upload = rig.web.uploads.find(order.uuid)
    assert upload is not None
    assert upload.result is not None
    assert upload.result.install_path.startswith("template/tmpl/2/205/")
    assert len(rig.leftovers()) == 2


@pytest.mark.parametrize(
    "directory",
    ["../../etc", "/etc/x", "template/tmpl/2", "template/tmpl/2/205/deeper", "volumes/2/205", ""],
)
async def test_metadata_cannot_name_another_place(rig: Rig, directory: str) -> None:
    """Requirement S8: even a signed request stays in its area."""
    order = Order(rig=rig, metadata={"absolutePath": directory})
    reply = await post(f"{rig.http}/upload/{order.uuid}", order, qcow2())
    assert reply.status in {400, 500}
    assert rig.web.uploads.find(order.uuid) is None


async def test_ends_of_uploads_are_known_after_a_restart(rig: Rig) -> None:
    """storage-commands.md 11.10."""
    order = Order(rig=rig)
    await post(f"{rig.http}/upload/{order.uuid}", order, qcow2())
    await rig.web.stop(1)
    await rig.web.start()
    upload = rig.web.uploads.find(order.uuid)
    assert upload is not None
    assert upload.state is UploadState.COMPLETED
    assert upload.result is not None


async def end_in_between(rig: Rig, order: Order) -> Path:
    """Stop as a process ends that was killed between the image's last step and its record.

    Returns:
        The image.
    """
    upload = rig.web.uploads.find(order.uuid)
    assert upload is not None
    assert upload.result is not None
    await rig.web.stop(1)
    record = rig.data.parent / "state/web/uploads.json"
    document = json.loads(record.read_text())
    (entry,) = document["uploads"]
    entry.update(state="IN_PROGRESS", ended=None)
    record.write_text(json.dumps(document))
    return rig.data / upload.result.install_path


async def test_an_image_that_is_visible_is_complete_after_a_restart(rig: Rig) -> None:
    """Nothing lost: the record of an upload follows its store (docs/http.md)."""
    order = Order(rig=rig)
    await post(f"{rig.http}/upload/{order.uuid}", order, qcow2())
    image = await end_in_between(rig, order)
    await rig.web.start()
    upload = rig.web.uploads.find(order.uuid)
    assert upload is not None
    assert upload.result is not None
    await until(lambda: upload.ended is not None)
    assert upload.state is UploadState.COMPLETED
    assert rig.data / upload.result.install_path == image


@pytest.mark.parametrize(
    ("changed", "stays"),
    [
        (lambda text, _: "", set()),
        (lambda text, image: text.replace(image, "other.qcow2"), {"template.properties"}),
        (lambda text, image: text.replace("\nid=", "\nid=x"), {"template.properties", "image"}),
    ],
    ids=["properties of nothing", "properties of another", "properties that say nothing"],
)
async def test_an_image_nothing_names_is_removed_after_a_restart(
    rig: Rig, changed: Callable[[str, str], str], stays: set[str]
) -> None:
    order = Order(rig=rig)
    await post(f"{rig.http}/upload/{order.uuid}", order, qcow2())
    image = await end_in_between(rig, order)
    properties = image.parent / "template.properties"
    properties.write_text(changed(properties.read_text(), image.name))
    await rig.web.start()
    upload = rig.web.uploads.find(order.uuid)
    assert upload is not None
    await until(lambda: upload.ended is not None)
    assert (upload.state, upload.message) == (UploadState.ERROR, RESTARTED_MESSAGE)
    left = {"image" if path == image else path.name for path in image.parent.glob("*")}
    assert left == stays
    shutil.rmtree(image.parent, ignore_errors=True)


async def test_a_store_that_is_not_there_yet_is_asked_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = Order(rig=rig)
    await post(f"{rig.http}/upload/{order.uuid}", order, qcow2())
    await end_in_between(rig, order)
    monkeypatch.setattr(upload_recovery, "_ASK_AGAIN_S", 0.01)
    find, asked = rig.stores.find, 0

    async def not_yet(name: str) -> Store:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise NotFoundError("There is no such store yet")
        return await find(name)

    monkeypatch.setattr(rig.stores, "find", not_yet)
    await rig.web.start()
    upload = rig.web.uploads.find(order.uuid)
    assert upload is not None
    assert upload.ended is None
    await until(lambda: upload.ended is not None)
    assert (upload.state, asked) == (UploadState.COMPLETED, 3)


@pytest.mark.needs("curl")
async def test_curl_waits_for_leave_and_gets_the_reason(rig: Rig, tmp_path: Path) -> None:
    """A refused upload of a large file is answered before its body is sent."""
    big = tmp_path / "big"
    with big.open("wb") as file:
        os.truncate(file.fileno(), 512 << 20)
    order = Order(rig=rig, key="wrong")
    headers = [
        item for name, value in order.headers().items() for item in ("-H", f"{name}: {value}")
    ]
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", *headers, "-H", "Expect: 100-continue", "-F", f"file=@{big}",
        "-w", "%{http_code} %{size_upload}", f"{rig.http}/upload/{order.uuid}",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert b"signature validation failed." in out, err
    if rig.apache is None:
        assert int(out.split()[-1]) < 1 << 20
