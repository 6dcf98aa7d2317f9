# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from ssvm_agent.cli import main
from ssvm_agent.ingest.job import JobStatus
from ssvm_agent.storage.layout import ImageKind, temporary_name

_DAY_S = 86400
_MINE = temporary_name("s-1-VM", "0b7f")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with something of another agent on it, and something this one can continue."""
    root = tmp_path / "store"
    for name, size in ((temporary_name("s-2-VM", "job"), 4096), (_MINE, 10)):
        place = root / "volumes/2/5" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x" * size)
        long_ago = time.time() - 3 * _DAY_S
        os.utime(place, (long_ago, long_ago))
    return root


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino)
        for path in (root, *root.rglob("*"))
    }


def test_findings_are_printed_and_nothing_is_changed(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(store)
    assert main(["orphans", "--store", str(store)]) == 1
    out = capsys.readouterr().out
    assert "temporary        volumes/2/5/dnld.s-2-VM.job.tmp_\n    4096 bytes" in out
    assert "written by s-2-VM" in out
    assert "2 findings, " in out
    assert snapshot(store) == before


def test_programs_get_an_array(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["orphans", "--json", "--store", f"file://{store}"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [set(row) for row in rows] == [{"kind", "path", "size_bytes", "modified", "owner"}] * 2
    assert {row["owner"] for row in rows} == {"s-1-VM", "s-2-VM"}


def test_what_a_job_on_record_can_continue_is_explained(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {
        "format": 1, "job": "0b7f", "store": f"file://{store}", "directory": "volumes/2/5",
        "kind": ImageKind.VOLUME, "fingerprint": "0", "status": JobStatus.IN_PROGRESS,
        "ended": None, "error": None, "temporary": _MINE, "resume": None, "installed": None,
    }  # fmt: skip
    jobs = tmp_path / "state/jobs"
    jobs.mkdir(parents=True)
    (jobs / "0b7f.json").write_text(json.dumps(record))
    words = ["--store", str(store), "--state-dir", str(jobs.parent), "--json"]
    assert main(["orphans", *words]) == 1
    assert [row["owner"] for row in json.loads(capsys.readouterr().out)] == ["s-2-VM"]


def test_a_store_where_all_is_explained(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["orphans", "--store", str(store), "--min-age", "100"]) == 0
    assert capsys.readouterr().out == "Everything is explained.\n"


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("/no/such/place", "/no/such/place is not a directory"),
        ("nfs://127.0.0.1/export", "is not mounted at"),
        ("ftp://127.0.0.1/x", "Unsupported storage device scheme ftp"),
    ],
)
def test_a_store_that_cannot_be_read_is_no_empty_report(
    place: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["orphans", "--store", place, "--mount-root", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert text in captured.err


@pytest.mark.parametrize("words", [[], ["--store", "/", "--min-age", "-1"], ["--store"]])
def test_wrong_words_are_usage_errors(words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["orphans", *words])
    assert end.value.code == 2


def test_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["orphans", "--help"])
    assert "Exit code 0: everything is explained" in " ".join(capsys.readouterr().out.split())
