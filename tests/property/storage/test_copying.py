# SPDX-License-Identifier: Apache-2.0
"""Whatever the layout of a file is, its copy reads the same and is no larger."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ssvm_agent.storage.copying import FileCopy

KIB = 1024
PIECES = st.lists(
    st.tuples(
        st.integers(0, 3 * KIB * KIB),
        st.one_of(
            st.binary(min_size=1, max_size=64),
            st.integers(1, 300 * KIB).map(lambda length: b"\xa5" * length),
            st.integers(1, 300 * KIB).map(bytes),
        ),
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(0, 4 * KIB * KIB), pieces=PIECES, in_kernel=st.booleans())
def test_a_copy_reads_the_same_and_takes_no_more_room(
    size: int, pieces: list[tuple[int, bytes]], in_kernel: bool
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "source"), Path(directory, "target")
        with source.open("wb") as file:
            file.truncate(size)
            for offset, data in pieces:
                file.seek(offset)
                file.write(data)
        copy = FileCopy(source, target, in_kernel=in_kernel)
        copy.open()
        while copy.step():
            pass
        copy.close()
        assert target.read_bytes() == source.read_bytes()
        assert target.stat().st_blocks <= source.stat().st_blocks + 8
