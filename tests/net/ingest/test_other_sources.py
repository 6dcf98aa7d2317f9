# SPDX-License-Identifier: Apache-2.0
"""Files, Metalinks, proxies, snapshots and SSH as sources."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ssvm_agent.ingest import snapshots
from ssvm_agent.ingest.errors import (
    BlockedAddressError,
    ChecksumMismatchError,
    IngestError,
    SourceFailedError,
)
from ssvm_agent.ingest.progress import Progress
from ssvm_agent.ingest.proxy import Proxy
from ssvm_agent.ingest.spec import SnapshotPart, SnapshotSpec
from ssvm_agent.ingest.urls import parse_url
from ssvm_agent.masking import Secret
from tests.fakes.hostile_origin import Behaviour, HostileOrigin, hostile_origin
from tests.fakes.ingest import Rig, ingest_rig

MIB = 1 << 20
BODY = os.urandom(2 * MIB + 99)


# file://


async def test_a_file_of_another_store_is_read(rig: Rig, tmp_path: Path) -> None:
    """storage-commands.md 4.6, 10."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "i 1.raw").write_bytes(BODY)
    assert await rig.fetch("file://other/i%201.raw") == BODY
    assert await rig.fetch(f"file://{tmp_path}/other/i%201.raw") == BODY
    source = rig.source("file://other/i%201.raw")
    installed = await rig.run(source)
    assert (rig.root / installed.install_path).read_bytes() == BODY
    assert source.expected_size_bytes == len(BODY)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "file://other/../../etc/passwd", "file://other/%2e%2e/%2e%2e/etc/passwd",
     "file://../etc/passwd", "file://other/link", "file://linked/secret", "file://other/nothing",
     "file://other", "file://other/", "file:///", "file://other/fifo", "file:///proc/self/environ"],
)  # fmt: skip
async def test_nothing_else_is_read(rig: Rig, tmp_path: Path, url: str) -> None:
    """requirements S8; one text for "missing" and "not allowed"."""
    (tmp_path / "other").mkdir()
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "secret").write_text("s3cret")
    (tmp_path / "linked").symlink_to(tmp_path / "secrets")
    (tmp_path / "other" / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "other" / "fifo")
    with pytest.raises(IngestError) as caught:
        await rig.fetch(url)
    assert caught.value.message.startswith(("Unable to find", "Illegal host"))


# Metalink


def metalink(*urls: str, extra: str = "") -> Behaviour:
    mirrors = "".join(f"<url priority='{n}'>{url}</url>" for n, url in enumerate(urls, 1))
    text = f"<metalink xmlns='urn:ietf:params:xml:ns:metalink'><file name='i'>{extra}{mirrors}"
    return Behaviour(body=f"{text}</file></metalink>".encode())


async def test_the_first_mirror_that_answers_is_used(rig: Rig, origin: HostileOrigin) -> None:
    """storage-commands.md 4.6."""
    url = origin.serve(
        "/i.metalink",
        metalink("ftp://mirror.example/i", origin.url("/gone"), origin.url("/i.raw")),
    )
    origin.serve("/i.raw", Behaviour(body=BODY))
    installed = await rig.run(rig.source(url))
    assert (rig.root / installed.install_path).read_bytes() == BODY


async def test_a_mirror_that_gives_up_is_replaced(rig: Rig, origin: HostileOrigin) -> None:
    first = origin.serve("/a", Behaviour(body=os.urandom(3 * MIB), reset_after=MIB, ranges=False))
    second = origin.serve("/b", Behaviour(body=BODY))
    url = origin.serve("/i.metalink", metalink(first, second))
    installed = await rig.run(rig.source(url))
    assert (rig.root / installed.install_path).read_bytes() == BODY


async def test_the_digest_of_the_document_is_verified(rig: Rig, origin: HostileOrigin) -> None:
    origin.serve("/i.raw", Behaviour(body=BODY))
    digest = hashlib.sha256(BODY).hexdigest()
    hashed = f"<hash type='sha-256'>{digest}</hash><size>{len(BODY)}</size>"
    good = origin.serve("/good.metalink", metalink(origin.url("/i.raw"), extra=hashed))
    await rig.run(rig.source(good))
    assert rig.progress.bytes_expected == len(BODY)
    bad = origin.serve(
        "/bad.metalink",
        metalink(origin.url("/i.raw"), extra=f"<hash type='sha-256'>{digest[::-1]}</hash>"),
    )
    with pytest.raises(ChecksumMismatchError):
        await rig.run(rig.source(bad))


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/x", "http://[::ffff:7f00:1]/x", "http://0x7f.1/x"]
)
async def test_mirrors_pass_the_guard(rig: Rig, origin: HostileOrigin, target: str) -> None:
    """requirements S2: the same for each nested URL."""
    with pytest.raises(IngestError, match="Illegal host"):
        await rig.fetch(origin.serve("/i.metalink", metalink(target)))


async def test_circles_are_refused(rig: Rig, origin: HostileOrigin) -> None:
    origin.serve("/b.metalink", metalink(origin.url("/a.metalink")))
    url = origin.serve("/a.metalink", metalink(origin.url("/b.metalink")))
    with pytest.raises(SourceFailedError, match="leads back to itself"):
        await rig.fetch(url)
    for number in range(9):
        origin.serve(f"/{number}.metalink", metalink(origin.url(f"/{number + 1}.metalink")))
    with pytest.raises(SourceFailedError, match="nested too deeply"):
        await rig.fetch(origin.url("/0.metalink"))


async def test_a_metalink_may_name_another(rig: Rig, origin: HostileOrigin) -> None:
    origin.serve("/i.raw", Behaviour(body=BODY))
    origin.serve("/b.metalink", metalink(origin.url("/i.raw")))
    assert await rig.fetch(origin.serve("/a.metalink", metalink(origin.url("/b.metalink")))) == BODY


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (Behaviour(status=404, body=b"x"), "HTTP Server returned 404"),
        (Behaviour(body=b"x" * (2 << 20)), "too large"),
        (metalink("ftp://a/b"), "names no usable URL"),
    ],
)
async def test_unusable_documents_have_a_reason(
    rig: Rig, origin: HostileOrigin, how: Behaviour, reason: str
) -> None:
    with pytest.raises(SourceFailedError, match=reason):
        await rig.fetch(origin.serve("/i.metalink", how))


# Proxies


@asynccontextmanager
async def connect_proxy(seen: list[str]) -> AsyncIterator[int]:
    """A small forward proxy for plain requests; its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head.decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nproxied")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_proxy_carries_the_request_with_its_own_credentials(rig: Rig) -> None:
    """requirements R34; the proxy may be on an internal address, the target may not."""
    seen: list[str] = []
    async with connect_proxy(seen) as port:
        proxy = Proxy(host="localhost", port=port, user="u", password=Secret("p"))
        assert await rig.fetch("http://images.invalid/i.raw", proxy=proxy) == b"proxied"
        with pytest.raises(BlockedAddressError):
            await rig.fetch("http://169.254.169.254/latest", proxy=proxy)
    assert len(seen) == 1
    assert seen[0].startswith("GET http://images.invalid/i.raw HTTP/1.1\r\n")
    token = base64.b64encode(b"u:p").decode()
    assert f"Proxy-Authorization: Basic {token}\r\n" in seen[0]


async def test_the_configured_proxy_is_not_used_for_exceptions(
    tmp_path: Path, origin: HostileOrigin
) -> None:
    seen: list[str] = []
    origin.serve("/i.raw", Behaviour(body=BODY))
    async with (
        connect_proxy(seen) as port,
        ingest_rig(
            tmp_path, proxy=Secret(f"http://127.0.0.1:{port}"), no_proxy=("127.0.0.0/8",)
        ) as rig,
    ):
        assert await rig.fetch(origin.url("/i.raw")) == BODY
        assert await rig.fetch("http://images.invalid/") == b"proxied"


# Snapshots


def snapshot(rig: Rig, *parts: tuple[str, str], install_path: str = "s") -> SnapshotSpec:
    return SnapshotSpec(
        job_id="22222222-2222-3333-4444-555555555555",
        store=rig.store,
        directory="snapshots/2/7",
        parts=tuple(
            SnapshotPart(source=rig.source(url), relative_path=path) for url, path in parts
        ),
        install_path=install_path,
    )


async def test_one_file_is_moved_to_its_name(rig: Rig, origin: HostileOrigin) -> None:
    """storage-commands.md 4.10, "SNAPSHOT install"."""
    url = origin.serve("/copy/7/abc_temp", Behaviour(body=BODY, reset_after=MIB))
    path = snapshots.single_file_path(parse_url(url))
    installed = await snapshots.run(snapshot(rig, (url, path)), rig.progress, rig.ingest.tools)
    assert (rig.root / "snapshots/2/7/abc").read_bytes() == BODY
    assert (installed.virtual_size_bytes, installed.physical_size_bytes) == (0, len(BODY))
    assert [p.name for p in (rig.root / "snapshots/2/7").iterdir()] == ["abc"]


async def test_several_files_appear_together_or_not_at_all(rig: Rig, origin: HostileOrigin) -> None:
    first = origin.serve("/s/u/u.ovf", Behaviour(body=b"<Envelope/>"))
    second = origin.serve("/s/u/u-disk0.vhd", Behaviour(body=BODY))
    answered, paths = snapshots.several_files_path([parse_url(first), parse_url(second)])
    assert (answered, paths) == ("u/u", ("u/u.ovf", "u/u-disk0.vhd"))
    spec = snapshot(
        rig, *zip((first, second), paths, strict=True), install_path="snapshots/2/7/u/u"
    )
    installed = await snapshots.run(spec, rig.progress, rig.ingest.tools)
    assert (rig.root / "snapshots/2/7/u/u-disk0.vhd").read_bytes() == BODY
    assert installed.install_path == "snapshots/2/7/u/u"
    assert rig.progress.bytes_received == rig.progress.bytes_expected == len(BODY) + 11
    missing = snapshot(rig, (first, "v/u.ovf"), (origin.url("/s/u/none"), "v/none"))
    with pytest.raises(SourceFailedError):
        await snapshots.run(missing, Progress(), rig.ingest.tools)
    assert [p.name for p in (rig.root / "snapshots/2/7").iterdir()] == ["u"]


async def test_the_limit_is_that_of_the_whole_snapshot(rig: Rig, origin: HostileOrigin) -> None:
    urls = [origin.serve(f"/s/u/{n}", Behaviour(body=BODY)) for n in range(2)]
    spec = snapshot(rig, *((url, f"u/{n}") for n, url in enumerate(urls)))
    spec = dataclasses.replace(spec, max_size_bytes=2 * len(BODY) - 1)
    with pytest.raises(IngestError, match="too large"):
        await snapshots.run(spec, rig.progress, rig.ingest.tools)
    assert not (rig.root / "snapshots/2/7").exists()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://h/copy/snapshots/2/7/abc", "abc"),
        ("http://h/userdata/abc/abc.vhd", "abc/abc.vhd"),
        ("http://h/userdata/abc/abcd_temp", "abc/abcd"),
        ("http://h/userdata/xyz/abc", "abc"),
        ("http://h/abc", "abc"),
    ],
)
def test_the_name_of_a_single_file_follows_the_url(url: str, path: str) -> None:
    assert snapshots.single_file_path(parse_url(url)) == path


@pytest.mark.parametrize("url", ["http://h/", "http://h/_temp", "http://h"])
def test_a_snapshot_without_a_name_is_refused(url: str) -> None:
    with pytest.raises(IngestError):
        snapshots.single_file_path(parse_url(url))
    with pytest.raises(IngestError):
        snapshots.several_files_path([parse_url(url), parse_url(url)])


# Names that mean something else


@pytest.mark.parametrize(
    "answers",
    [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["::1"],
     ["::ffff:93.184.216.34"], ["169.254.169.254"], ["fe80::1%2"]],
)  # fmt: skip
async def test_names_are_judged_by_all_their_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: list[str]
) -> None:
    """requirements S2: resolve once, check all answers."""

    def resolve(host: str, port: int, **_: object) -> list[object]:
        family = socket.AF_INET6 if ":" in answers[0] else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (answer, port)) for answer in answers]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with ingest_rig(tmp_path, allow_loopback_sources=False) as rig:
        with pytest.raises(BlockedAddressError):
            await rig.fetch("http://images.example/i.raw")
        with pytest.raises(BlockedAddressError):
            await rig.fetch("scp://u@images.example/i.raw?password=p")


async def test_what_was_judged_is_what_is_connected_to(
    rig: Rig, origin: HostileOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second answer of the resolver, different from the first, is never used."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: str, port: int, **options: object) -> object:
        asked.append(host)
        if len(asked) > 1:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", port))]
        return real("127.0.0.1", port, type=socket.SOCK_STREAM)

    origin.serve("/i.raw", Behaviour(body=BODY))
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert await rig.fetch(f"http://images.example:{origin.port}/i.raw") == BODY
    assert asked == ["images.example"]
    assert origin.requests[0].headers["host"] == f"images.example:{origin.port}"


async def test_an_unknown_name_is_a_sentence(rig: Rig) -> None:
    """storage-commands.md 4.5."""
    with pytest.raises(SourceFailedError, match=r"Unable to resolve nowhere\.invalid\."):
        await rig.fetch("http://nowhere.invalid/x")


async def test_two_origins_share_nothing(rig: Rig, origin: HostileOrigin) -> None:
    async with hostile_origin() as other:
        cookie = (("Set-Cookie", "id=1"),)
        await rig.fetch(origin.serve("/a", Behaviour(body=b"x", headers=cookie)))
        await rig.fetch(origin.serve("/b", Behaviour(body=b"x")))
        await rig.fetch(other.serve("/b", Behaviour(body=b"x")))
        for seen in (origin.requests[1], other.requests[0]):
            assert "cookie" not in seen.headers
