# SPDX-License-Identifier: Apache-2.0
"""Fetching over HTTP from a server that misbehaves."""

from __future__ import annotations

import base64
import os
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from ssvm_agent.ingest.client import Credentials
from ssvm_agent.ingest.errors import (
    BlockedAddressError,
    IngestError,
    SourceFailedError,
    SourceRestartedError,
)
from ssvm_agent.masking import Secret
from tests.fakes.hostile_origin import Behaviour, HostileOrigin, hostile_origin
from tests.fakes.ingest import Rig, ingest_rig

MIB = 1 << 20
BODY = os.urandom(3 * MIB + 12345)


async def test_a_plain_file_arrives_with_our_user_agent(rig: Rig, origin: HostileOrigin) -> None:
    """requirements R18."""
    assert await rig.fetch(origin.serve("/i.raw", Behaviour(body=BODY))) == BODY
    headers = origin.requests[0].headers
    assert headers["user-agent"].startswith("CloudStack-Agent/4.22.0.0 (Apache CloudStack)")
    assert headers["accept-encoding"] == "identity"


async def test_the_query_goes_out_as_it_came(rig: Rig, origin: HostileOrigin) -> None:
    url = origin.serve("/a%2Fb", Behaviour(body=b"x")) + "?sig=a%2Bb&x='1'"
    assert await rig.fetch(url) == b"x"
    assert origin.requests[0].target == "/a%2Fb?sig=a%2Bb&x='1'"


@pytest.mark.parametrize("validator", ["etag", "date"])
async def test_resets_every_megabyte_are_resumed(
    rig: Rig, origin: HostileOrigin, validator: str
) -> None:
    """requirements R7: Range with If-Range, across several drops."""
    how = Behaviour(body=BODY, reset_after=MIB + 5)
    if validator == "date":
        how = replace(how, etag="", last_modified="Mon, 23 Nov 2026 03:11:00 GMT")
    url = origin.serve("/i.raw", how)
    assert await rig.fetch(url) == BODY
    expected = how.etag or how.last_modified
    assert len(origin.requests) == 4
    assert all(seen.headers["if-range"] == expected for seen in origin.requests[1:])
    assert rig.clock.passed_s < 10


async def test_a_chunked_body_arrives_and_is_resumed(rig: Rig, origin: HostileOrigin) -> None:
    """requirements R15: also without Content-Length."""
    url = origin.serve("/i.raw", Behaviour(body=BODY, chunked=True, reset_after=2 * MIB))
    assert await rig.fetch(url) == BODY


async def test_a_short_body_is_resumed_too(rig: Rig, origin: HostileOrigin) -> None:
    url = origin.serve("/i.raw", Behaviour(body=BODY, stop_after=2 * MIB))
    assert await rig.fetch(url) == BODY


async def test_a_changed_file_begins_anew(rig: Rig, origin: HostileOrigin) -> None:
    changed = Behaviour(body=BODY[::-1], etag='"v2"')
    url = origin.serve(
        "/i.raw", Behaviour(body=BODY, reset_after=MIB, change_after=1, changed=changed)
    )
    source = rig.source(url)
    with pytest.raises(SourceRestartedError):
        [piece async for piece in source.open(rig.progress)]
    pieces = [bytes(piece) async for piece in source.open(rig.progress)]
    assert b"".join(pieces) == changed.body


@pytest.mark.parametrize(
    "how",
    [
        Behaviour(body=BODY, reset_after=MIB, ranges=False),
        Behaviour(body=BODY, reset_after=MIB, lie_range=0),
        Behaviour(body=BODY, reset_after=MIB, lie_range=MIB + 1),
        Behaviour(body=BODY, reset_after=MIB, etag='W/"weak"'),
    ],
    ids=["no ranges", "range from zero", "range from elsewhere", "no strong validator"],
)
async def test_what_cannot_be_continued_begins_anew_and_ends(
    rig: Rig, origin: HostileOrigin, how: Behaviour
) -> None:
    source = rig.source(origin.serve("/i.raw", how))
    restarts = 0

    async def fetch_until_given_up() -> None:
        nonlocal restarts
        while True:
            try:
                [piece async for piece in source.open(rig.progress)]
            except SourceRestartedError:
                restarts += 1

    with pytest.raises(SourceFailedError, match="gave up"):
        await fetch_until_given_up()
    assert restarts >= 3


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (Behaviour(body=b"x", status=404), "HTTP Server returned 404 (expected 200 OK)"),
        (Behaviour(body=b"x", status=403), "HTTP Server returned 403 (expected 200 OK)"),
        (Behaviour(body=b"", status=204), "HTTP Server returned 204 (expected 200 OK)"),
        (Behaviour(body=b"x", status=206), "HTTP Server returned 206 (expected 200 OK)"),
        (Behaviour(body=b"", status=200), "is empty"),
        (Behaviour(body=b"xyz", content_length=""), "Failed to receive length of download"),
    ],
)
async def test_wrong_answers_have_their_texts(
    rig: Rig, origin: HostileOrigin, how: Behaviour, reason: str
) -> None:
    """storage-commands.md 4.5."""
    with pytest.raises(SourceFailedError) as caught:
        await rig.fetch(origin.serve("/i.raw", how))
    assert reason in caught.value.message
    assert len(origin.requests) == 1


async def test_a_length_in_another_header_bounds_an_unframed_body(
    rig: Rig, origin: HostileOrigin
) -> None:
    how = Behaviour(body=b"x" * 100, content_length="", headers=(("X-File-Size", "100"),))
    assert await rig.fetch(origin.serve("/ok", how)) == b"x" * 100
    short = replace(how, headers=(("X-File-Size", "99"),))
    with pytest.raises(SourceFailedError, match="100 bytes instead of 99"):
        await rig.fetch(origin.serve("/wrong", short))


async def test_a_busy_server_is_asked_again(rig: Rig, origin: HostileOrigin) -> None:
    url = origin.serve("/i.raw", Behaviour(body=BODY, busy=2))
    assert await rig.fetch(url) == BODY
    assert len(origin.requests) == 3


async def test_a_dropped_request_is_asked_again(rig: Rig, origin: HostileOrigin) -> None:
    url = origin.serve("/i.raw", Behaviour(body=BODY, refuse=1))
    assert await rig.fetch(url) == BODY


async def test_silence_ends_by_its_time_out(tmp_path: Path, origin: HostileOrigin) -> None:
    """requirements R7."""
    url = origin.serve("/i.raw", Behaviour(body=BODY, stall_after=MIB))
    async with ingest_rig(tmp_path, idle_timeout_s=0.2, retries=1) as rig:
        with pytest.raises(SourceFailedError, match="gave up"):
            await rig.fetch(origin.serve("/j.raw", Behaviour(body=BODY, stall_after=0)))
        assert await rig.fetch(url) == BODY


async def test_missing_headers_end_by_their_time_out(tmp_path: Path, origin: HostileOrigin) -> None:
    url = origin.serve("/i.raw", Behaviour(stall_headers=True))
    async with ingest_rig(tmp_path, connect_timeout_s=0.1, header_timeout_s=0.1) as rig:
        with pytest.raises(SourceFailedError, match="does not answer in time"):
            await rig.fetch(url)


async def test_a_trickle_is_too_slow(tmp_path: Path, origin: HostileOrigin) -> None:
    url = origin.serve("/i.raw", Behaviour(body=BODY))
    async with ingest_rig(
        tmp_path, min_speed_window_s=0.0, min_speed_bytes_s=1 << 40, retries=2
    ) as rig:
        # Each look at the clock takes a second, so every piece seems to.
        look = rig.clock.monotonic

        def slow() -> float:
            rig.clock.advance(1)
            return look()

        rig.clock.monotonic = slow  # type: ignore[method-assign]
        with pytest.raises(SourceFailedError, match="bytes a second, less than"):
            await rig.fetch(url)


async def test_an_unreachable_server_is_a_sentence(rig: Rig, origin: HostileOrigin) -> None:
    async with hostile_origin() as other:
        url = other.url("/x")
    with pytest.raises(SourceFailedError, match="Unable to connect to 127") as caught:
        await rig.fetch(url)
    assert "gave up after 4" in caught.value.message


async def test_redirects_are_followed_only_when_asked(rig: Rig, origin: HostileOrigin) -> None:
    """storage-commands.md 4.5."""
    origin.serve("/i.raw", Behaviour(body=BODY))
    for status in (301, 302, 303, 307, 308):
        url = origin.serve("/old", Behaviour(status=status, location="/i.raw"))
        with pytest.raises(SourceFailedError) as caught:
            await rig.fetch(url)
        assert caught.value.message == (
            f"Failed to download {url} due to redirection, response code: {status}"
        )
        assert await rig.fetch(url, follow_redirects=True) == BODY


async def test_redirects_without_end_end(rig: Rig, origin: HostileOrigin) -> None:
    url = origin.serve("/loop", Behaviour(status=302, location="/loop"))
    with pytest.raises(SourceFailedError, match="redirects more than 8 times"):
        await rig.fetch(url, follow_redirects=True)
    assert len(origin.requests) == 9


@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/latest/", "http://[::ffff:127.0.0.1]/", "file:///etc/passwd",
     "http://2130706433/", "http://0x7f.1/", "http://127.1/", "http://0177.0.0.1/",
     "http://0.0.0.0/", "http://user@example.org/", "http:\\\\example.org/", "scp://u@h/x",
     "http://[fe80::1%25lo]/", "gopher://h/"],
)  # fmt: skip
async def test_redirects_to_hostile_places_are_refused(
    rig: Rig, origin: HostileOrigin, location: str
) -> None:
    """requirements S2, hostile URLs."""
    url = origin.serve("/r", Behaviour(status=302, location=location))
    with pytest.raises(IngestError):
        await rig.fetch(url, follow_redirects=True)
    assert len(origin.requests) == 1


async def test_a_redirect_to_loopback_is_refused_without_the_switch(
    tmp_path: Path, origin: HostileOrigin
) -> None:
    async with ingest_rig(tmp_path, allow_loopback_sources=False) as rig:
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(BlockedAddressError):
                await rig.fetch(origin.url("/x", host=host))
    assert not origin.requests


async def test_credentials_go_out_unasked_and_to_their_origin_only(
    rig: Rig, origin: HostileOrigin
) -> None:
    """storage-commands.md 4.1, requirements R18."""
    token = "Basic " + base64.b64encode(b"cloud:s3cret").decode()
    credentials = Credentials(user="cloud", password=Secret("s3cret"))
    async with hostile_origin() as other:
        url = origin.serve("/i.raw", Behaviour(body=BODY, need_auth=token))
        assert await rig.fetch(url, credentials=credentials) == BODY
        there = other.serve("/i.raw", Behaviour(body=b"other"))
        hop = origin.serve("/hop", Behaviour(status=302, location=there, need_auth=token))
        assert await rig.fetch(hop, credentials=credentials, follow_redirects=True) == b"other"
        assert "authorization" not in other.requests[0].headers
    with pytest.raises(SourceFailedError, match="401"):
        await rig.fetch(url)


async def test_untrusted_certificates_are_refused_by_name(
    tmp_path: Path,
) -> None:
    """requirements R9: host, issuer and reason; the drop-in directory is read for each job."""
    authority = trustme.CA(organization_name="Operators")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with hostile_origin(context) as origin, ingest_rig(tmp_path) as rig:
        url = origin.serve("/i.raw", Behaviour(body=BODY))
        with pytest.raises(SourceFailedError) as caught:
            await rig.fetch(url)
        assert "127.0.0.1" in caught.value.message
        assert "Operators" in caught.value.message
        assert "unable to get local issuer certificate" in caught.value.message
        directory = tmp_path / "ca.d"
        directory.mkdir()
        (directory / "broken.pem").write_text("no certificate")
        authority.cert_pem.write_to_path(str(directory / "operators.pem"))
        assert await rig.fetch(url) == BODY
        (directory / "operators.pem").unlink()
        with pytest.raises(SourceFailedError):
            await rig.fetch(url)
