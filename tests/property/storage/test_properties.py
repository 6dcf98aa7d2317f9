# SPDX-License-Identifier: Apache-2.0
"""Properties files keep what they are given, whatever is in it (storage-commands.md 6.3)."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from ssvm_agent.storage.errors import CorruptPropertiesError
from ssvm_agent.storage.properties import FORMAT_KEYS, ImageProperties, load, render

NOW = datetime(2026, 11, 23, 3, 11, 0, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SIZES = st.integers(min_value=1, max_value=2**62)
FILE_NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=40
).filter(lambda name: name not in {".", ".."})
KEYS = TEXT.filter(lambda key: key not in _known())


def _known() -> set[str]:
    plain = {
        "uniquename", "id", "filename", "size", "virtualsize", "physicalSize", "description",
        "hvm", "public", "checksum",
    }  # fmt: skip
    tails = ("", ".filename", ".size", ".virtualsize")
    return plain | {f"{key}{tail}" for key in FORMAT_KEYS for tail in tails}


PROPERTIES = st.builds(
    ImageProperties,
    unique_name=TEXT,
    id=st.integers(min_value=-(2**62), max_value=2**62),
    file_name=FILE_NAMES,
    size_bytes=SIZES,
    virtual_size_bytes=SIZES,
    formats=st.sampled_from(FORMAT_KEYS).map(lambda key: (key,)),
    description=TEXT,
    hvm=st.booleans(),
    is_public=st.booleans(),
    checksum=st.none() | TEXT,
    extra=st.dictionaries(KEYS, TEXT, max_size=4),
)


@given(PROPERTIES)
def test_what_is_written_is_read_again(properties: ImageProperties) -> None:
    assert load(render(properties, now=NOW).decode("latin-1")) == properties


@given(st.text(max_size=300))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        found = load(text)
    except CorruptPropertiesError:
        return
    assert "/" not in found.file_name


@given(PROPERTIES, st.data())
def test_a_file_cut_short_is_never_taken_for_another_image(
    properties: ImageProperties, data: st.DataObject
) -> None:
    whole = render(properties, now=NOW).decode("latin-1")
    cut = whole[: data.draw(st.integers(min_value=0, max_value=len(whole)))]
    try:
        found = load(cut)
    except CorruptPropertiesError:
        return
    assert found.unique_name == properties.unique_name
    assert found.is_corrupted or found.size_bytes == properties.size_bytes
