# SPDX-License-Identifier: Apache-2.0
"""Paths from outside never leave their store, whatever they look like (requirements S8)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path, PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from ssvm_agent.storage import layout
from ssvm_agent.storage.errors import PathEscapeError, UnsupportedStoreError
from ssvm_agent.storage.paths import resolve_inside

PIECES = st.sampled_from(
    ["", ".", "..", "...", "/", "//", "a", "template", "tmpl", "2", "\0", "\n", "ä", "\ud800",
     "link", "file", "x" * 300, "%2e%2e", "\\", "..\\", "~", " "]
)  # fmt: skip
PATHS = st.one_of(
    st.lists(PIECES, max_size=6).map("/".join),
    st.lists(PIECES, max_size=6).map("".join),
    st.text(max_size=40),
)


@given(PATHS, st.booleans())
def test_a_path_that_passes_stays_below_what_it_is_joined_to(path: str, strip: bool) -> None:
    try:
        checked = layout.check_relative(path, strip_slash=strip)
    except PathEscapeError:
        return
    joined = os.path.normpath(f"/root/store/{checked}")
    assert joined.startswith("/root/store/")
    assert layout.check_relative(str(checked)) == checked
    assert "\0" not in joined


@given(PATHS)
def test_no_link_is_followed(path: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "store"
        (root / "template/tmpl/2").mkdir(parents=True)
        (root / "template/link").symlink_to("/")
        (root / "link").symlink_to("template")
        (root / "a").symlink_to("../outside")
        (root / "file").touch()
        try:
            found = resolve_inside(root, path)
        except PathEscapeError:
            return
        assert os.path.realpath(found) == str(found)
        assert found.is_relative_to(root)


@given(st.text(max_size=300), st.integers(min_value=0, max_value=60))
def test_safe_names_are_single_bounded_names(text: str, room: int) -> None:
    """requirements R36."""
    name = layout.safe_name(text, room=room)
    assert name == layout.check_name(name)
    assert len(name.encode()) <= layout.MAX_NAME_BYTES - room
    assert not name.startswith((".", "-"))
    assert layout.safe_name(name, room=room) == name


@given(st.text(max_size=150), st.text(max_size=150))
def test_temporaries_tell_owner_and_job(owner: str, job: str) -> None:
    name = layout.temporary_name(owner, job)
    assert len(name.encode()) <= 255
    assert layout.check_name(name) == name
    found = layout.parse_temporary(name)
    assert found == layout.TemporaryName(owner=layout.word_of(owner), job_id=layout.word_of(job))
    assert layout.is_temporary(name)


@given(st.text(max_size=60))
def test_a_store_url_is_understood_or_refused(url: str) -> None:
    for text in (url, f"nfs://{url}", f"cifs://h/s?{url}", f"file:///{url}"):
        try:
            parsed = layout.parse_store_url(text)
        except UnsupportedStoreError:
            continue
        assert parsed.path.startswith("/")
        assert "\n" not in parsed.path + parsed.host


@given(st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True), PATHS)
def test_a_snapshot_owns_only_names_that_begin_with_it(snapshot: str, name: str) -> None:
    plain = PurePosixPath(name).name
    if layout.belongs_to_snapshot(plain, snapshot):
        assert plain.removeprefix("VHD-").startswith(snapshot) or plain.startswith(snapshot)
