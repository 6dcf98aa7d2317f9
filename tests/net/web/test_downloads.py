# SPDX-License-Identifier: Apache-2.0
"""Extract links and zone copies, in both ways of publishing, with the clients people use."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from ssvm_agent.errors import AgentError
from tests.net.web.rig import Reply, Rig, raw, status_of

CONTENT = secrets.token_bytes(3 << 20)


async def get(url: str, *, method: str = "GET", **headers: str) -> Reply:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        wanted: Mapping[str, str] = {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        async with session.request(
            method, url, headers=wanted, ssl=False, allow_redirects=False
        ) as answer:
            body = await answer.read()
            return Reply(status=answer.status, text=body.decode("latin-1"), headers=answer.headers)


async def publish_file(rig: Rig, file: Path) -> str:
    """Publish what is at a place in the store; returns the path of its URL."""
    place = str(file.relative_to(rig.data))
    link = await rig.web.publish(rig.store.directory_name, place, str(uuid4()), file.name)
    return f"/userdata/{link.key}"


async def run(*argv: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    process = await asyncio.create_subprocess_exec(
        *argv, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


async def test_a_published_file_is_served_whole_on_both_schemes(rig: Rig) -> None:
    """storage-commands.md 3.7: http(s)://<ip>/userdata/<uuid>/<name>."""
    path = await rig.publish(CONTENT)
    for base in (rig.http, rig.https):
        reply = await get(base + path)
        assert (reply.status, reply.text.encode("latin-1") == CONTENT) == (200, True)
        assert reply.headers["Content-Length"] == str(len(CONTENT))
        assert reply.headers["Content-Disposition"].startswith("attachment")
        assert reply.headers["Accept-Ranges"] == "bytes"


async def test_head_has_the_headers_and_no_body(rig: Rig) -> None:
    path = await rig.publish(CONTENT)
    reply = await get(rig.http + path, method="HEAD")
    assert (reply.status, reply.text) == (200, "")
    assert reply.headers["Content-Length"] == str(len(CONTENT))
    assert reply.headers["ETag"]


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [("bytes=0-0", 0, 1), ("bytes=100-", 100, None), ("bytes=-7", -7, None),
     ("bytes=5-9999999", 5, None)],
)  # fmt: skip
async def test_one_range_is_served_as_such(
    rig: Rig, wanted: str, start: int, stop: int | None
) -> None:
    path = await rig.publish(CONTENT)
    reply = await get(rig.http + path, Range=wanted)
    expected = CONTENT[start:stop]
    assert (reply.status, reply.text.encode("latin-1") == expected) == (206, True)
    assert reply.headers["Content-Range"].endswith(f"/{len(CONTENT)}")


async def test_a_range_behind_the_end_is_not_satisfiable(rig: Rig) -> None:
    path = await rig.publish(b"short")
    reply = await get(rig.http + path, Range="bytes=5-")
    assert reply.status == 416
    if rig.apache is None:
        assert reply.headers["Content-Range"] == "bytes */5"


@pytest.mark.parametrize(
    "wanted",
    ["bytes=" + ",".join(["0-"] * 5), "bytes=" + ",".join(f"{i}-{i + 9}" for i in range(40)),
     "bytes=" + ",".join(["0-"] * 1300), "bytes=0-1,2-3,-9"],
)  # fmt: skip
async def test_many_ranges_never_cost_more_than_the_file(rig: Rig, wanted: str) -> None:
    """Requirement S10."""
    path = await rig.publish(CONTENT)
    reply = await get(rig.http + path, Range=wanted)
    assert reply.status in {200, 206, 416}
    assert len(reply.text) <= len(CONTENT) + 64 * 1024


async def test_if_range_continues_only_the_same_file(rig: Rig) -> None:
    path = await rig.publish(CONTENT)
    etag = (await get(rig.http + path, method="HEAD")).headers["ETag"]
    assert (await get(rig.http + path, Range="bytes=9-", If_Range=etag)).status == 206
    file = next(rig.data.rglob("disk.qcow2"))
    replacement = file.with_name("new")
    replacement.write_bytes(CONTENT[::-1])
    replacement.replace(file)
    reply = await get(rig.http + path, Range="bytes=9-", If_Range=etag)
    assert (reply.status, len(reply.text)) == (200, len(CONTENT))


async def test_an_unchanged_file_is_not_sent_again(rig: Rig) -> None:
    path = await rig.publish(CONTENT)
    etag = (await get(rig.http + path, method="HEAD")).headers["ETag"]
    reply = await get(rig.http + path, If_None_Match=etag)
    assert (reply.status, reply.text) == (304, "")


async def test_a_withdrawn_link_serves_nothing(rig: Rig) -> None:
    """storage-commands.md 3.8."""
    path = await rig.publish(CONTENT)
    await rig.web.withdraw(f"https://203.0.113.7{path}")
    assert (await get(rig.http + path)).status == 404
    await rig.web.withdraw(f"https://203.0.113.7{path}")


@pytest.mark.parametrize(
    "tail", ["", "/", "/userdata", "/userdata/", "/copy/", "/copy/SecStorage/", "/copy/template/"]
)
async def test_nothing_is_listed(rig: Rig, tail: str) -> None:
    """Requirement S10: no listing on any public path."""
    await rig.publish(CONTENT)
    await rig.web.allow_copy_from(["127.0.0.1"], replace=True)
    reply = await get(rig.http + tail)
    assert "disk.qcow2" not in reply.text
    assert "Index of" not in reply.text
    assert rig.store.directory_name not in reply.text


async def test_the_directory_of_a_link_is_not_listed(rig: Rig) -> None:
    path = await rig.publish(CONTENT)
    for url in (path.rsplit("/", 1)[0], path.rsplit("/", 1)[0] + "/", path + "/"):
        reply = await get(rig.http + url)
        assert reply.status in {301, 403, 404}
        assert "disk.qcow2" not in reply.text or reply.status == 404


@pytest.mark.parametrize(
    "trick",
    ["/userdata/../../../etc/passwd", "/userdata/..%2f..%2f..%2fetc/passwd",
     "/userdata/%2e%2e/%2e%2e/etc/passwd", "/userdata/x%00/disk.qcow2", "//etc/passwd",
     "/userdata/%252e%252e%252fetc%252fpasswd", "/userdata/x/..\\..\\etc\\passwd",
     "/copy/SecStorage/../../../etc/passwd", "/copy/SecStorage/..%2f..%2fetc%2fpasswd",
     "/.htaccess", "/copy/.htaccess", "/upload/../userdata/", "/cgi-bin/x", "/userdata/%zz"],
)  # fmt: skip
async def test_path_tricks_find_nothing(rig: Rig, trick: str) -> None:
    """Requirement S8."""
    await rig.publish(CONTENT)
    await rig.web.allow_copy_from(["127.0.0.1"], replace=True)
    request = f"GET {trick} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = await raw(rig.http_port, request.encode())
    assert status_of(answer) in {400, 403, 404}
    assert b"root:" not in answer


async def test_http_1_0_and_absolute_form_are_answered(rig: Rig) -> None:
    path = await rig.publish(b"old client")
    old = await raw(rig.http_port, f"GET {path} HTTP/1.0\r\n\r\n".encode())
    assert status_of(old) == 200
    assert old.endswith(b"old client")
    request = f"GET http://other{path} HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n"
    assert (await raw(rig.http_port, request.encode())).endswith(b"old client")


async def test_a_file_deleted_while_it_is_sent_arrives_whole(rig: Rig) -> None:
    content = secrets.token_bytes(24 << 20)
    path = await rig.publish(content)
    async with aiohttp.ClientSession() as session, session.get(rig.http + path) as answer:
        digest = hashlib.sha256(await answer.content.readexactly(1 << 20))
        next(rig.data.rglob("disk.qcow2")).unlink()
        async for chunk in answer.content.iter_any():
            digest.update(chunk)
    assert digest.digest() == hashlib.sha256(content).digest()
    assert (await get(rig.http + path)).status in {403, 404}


async def test_a_file_swapped_for_a_link_meanwhile_leads_nowhere(rig: Rig) -> None:
    """Requirement S8: between the look and the use, again and again."""
    await rig.publish(CONTENT)
    file = next(rig.data.rglob("disk.qcow2"))
    outside = rig.data.parent / "outside"
    outside.write_text("secret")
    outside.chmod(0o600)
    plain, link = file.with_name("plain"), file.with_name("link")
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            plain.write_bytes(b"image")
            plain.chmod(0o600)
            plain.replace(file)
            link.symlink_to(outside)
            link.replace(file)

    swapping = asyncio.create_task(asyncio.to_thread(swap))
    try:
        for _ in range(150):
            with contextlib.suppress(AgentError):
                url = rig.http + await publish_file(rig, file)
                if rig.apache is None:
                    assert "secret" not in (await get(url)).text
    finally:
        over.set()
        await swapping
    assert outside.stat().st_mode & 0o777 == 0o600


async def test_a_file_cut_while_it_is_sent_is_not_taken_for_whole(rig: Rig) -> None:
    path = await rig.publish(secrets.token_bytes(48 << 20))
    async with aiohttp.ClientSession() as session, session.get(rig.http + path) as answer:
        await answer.content.readexactly(1 << 20)
        os.truncate(next(rig.data.rglob("disk.qcow2")), 2 << 20)
        with pytest.raises(aiohttp.ClientError):
            await answer.read()


async def test_a_link_in_the_store_leads_nowhere(rig: Rig) -> None:
    """Requirement S8: also when it comes in after the file was published."""
    path = await rig.publish(CONTENT)
    file = next(rig.data.rglob("disk.qcow2"))
    outside = rig.data.parent / "outside"
    outside.mkdir()
    (outside / "disk.qcow2").write_text("secret")
    file.unlink()
    file.symlink_to(outside / "disk.qcow2")
    with pytest.raises(AgentError):
        await publish_file(rig, file)
    # docs/security.md: Apache follows a link that was planted after the file was published.
    expected = 200 if rig.apache else 404
    assert (await get(rig.http + path)).status == expected
    file.unlink()
    file.parent.rmdir()
    file.parent.symlink_to(outside)
    assert (await get(rig.http + path)).status == expected
    with pytest.raises(AgentError):
        await publish_file(rig, file)


@pytest.mark.needs("curl")
async def test_curl_continues_a_download(rig: Rig, tmp_path: Path) -> None:
    path = await rig.publish(CONTENT)
    (tmp_path / "part").write_bytes(CONTENT[:1_000_000])
    result = await run("curl", "-sS", "-f", "-C", "-", "-o", tmp_path / "part", rig.http + path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "part").read_bytes() == CONTENT


@pytest.mark.needs("wget")
async def test_wget_saves_under_the_name_of_the_link(rig: Rig, tmp_path: Path) -> None:
    path = await rig.publish(CONTENT, name="ROOT-5.ova")
    command = ("wget", "-q", "--content-disposition", "--no-check-certificate", rig.https + path)
    result = await run(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "ROOT-5.ova").read_bytes() == CONTENT


async def test_the_copy_area_is_closed_until_the_server_opens_it(rig: Rig) -> None:
    """storage-commands.md 3.3: append and replace."""
    await rig.publish(CONTENT)
    file = next(rig.data.rglob("disk.qcow2")).relative_to(rig.data)
    url = f"{rig.http}/copy/SecStorage/{rig.store.directory_name}/{file}"
    assert (await get(url)).status == 403
    await rig.web.allow_copy_from(["192.0.2.1"], replace=True)
    assert (await get(url)).status == 403
    await rig.web.allow_copy_from(["127.0.0.1", "2001:db8::1"], replace=False)
    assert (await get(url)).text.encode("latin-1") == CONTENT
    await rig.web.allow_copy_from(["192.0.2.9"], replace=True)
    assert (await get(url)).status == 403


async def test_sixteen_readers_get_the_same_bytes(rig: Rig) -> None:
    path = await rig.publish(CONTENT)
    replies = await asyncio.gather(*(get(rig.http + path) for _ in range(16)))
    assert {hashlib.md5(one.text.encode("latin-1")).digest() for one in replies} == {
        hashlib.md5(CONTENT).digest()
    }
