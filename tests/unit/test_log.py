# SPDX-License-Identifier: Apache-2.0
"""Where log lines go, what they carry, and what they never carry (R25, R26)."""

from __future__ import annotations

import io
import logging
import os
import queue
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from ssvm_agent import log
from ssvm_agent.errors import ConfigError
from ssvm_agent.masking import Secret

LOGGER = logging.getLogger("ssvm_agent.test")

Finish = Callable[[], list[str]]


@pytest.fixture(name="finish")
def _finish(tmp_path: Path) -> Iterator[Finish]:
    """Ends logging to a file and gives its lines."""
    file = tmp_path / "deep" / "agent.log"
    sink = log.setup("debug", file=file, journal=False)

    def finish() -> list[str]:
        sink.close()
        return file.read_text().splitlines()

    yield finish
    sink.close()


def test_a_line_has_time_level_logger_text_and_fields(finish: Finish) -> None:
    log.event(LOGGER, logging.INFO, "download started", url="http://a/b?c=d", bytes=5, name="x y")
    (line,) = finish()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO    ssvm_agent\.test: download started"
        r" url='http://a/b\?c=d' bytes=5 name='x y'",
        line,
    )


def test_fields_without_a_value_are_left_out_and_empty_ones_are_quoted(finish: Finish) -> None:
    log.event(LOGGER, logging.INFO, "done", none=None, empty="", flag=False)
    assert finish()[0].endswith("done empty='' flag=False")


def test_context_fields_follow_the_code_they_surround(finish: Finish) -> None:
    with log.context(seq=7), log.context(cmd="ReadyCommand"):
        LOGGER.info("inside %d", 1)
    LOGGER.info("outside")
    inside, outside = finish()
    assert inside.endswith("inside 1 seq=7 cmd=ReadyCommand")
    assert outside.endswith("outside")


def test_secrets_are_masked_however_they_arrive(finish: Finish) -> None:
    log.event(LOGGER, logging.INFO, "auth", copyPassword="geheim1", other=Secret("geheim2"))
    LOGGER.info("fetching http://user:geheim3@host/x with password=geheim4")
    try:
        raise ValueError("-----BEGIN PRIVATE KEY-----\ngeheim5\n-----END PRIVATE KEY-----")
    except ValueError:
        LOGGER.exception("failed")
    text = "\n".join(finish())
    assert "geheim" not in text
    assert text.count("******") >= 5
    assert "http://******@host/x" in text


def test_an_exception_is_indented_under_its_line(finish: Finish) -> None:
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        LOGGER.exception("it failed")
    lines = finish()
    assert lines[0].endswith("ERROR   ssvm_agent.test: it failed")
    assert lines[-1] == "    RuntimeError: boom"
    assert all(line.startswith("    ") for line in lines[1:])


def test_a_line_break_in_a_field_cannot_forge_a_line(finish: Finish) -> None:
    log.event(LOGGER, logging.INFO, "template", name="a\n2026-01-01 forged")
    assert len(finish()) == 1


def test_an_endless_value_is_cut(finish: Finish) -> None:
    log.event(LOGGER, logging.INFO, "long", value="x" * 10_000)
    assert len(finish()[0]) < 2300


def test_an_event_names_the_line_that_logged_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        log.event(LOGGER, logging.INFO, "here")
    assert caplog.records[0].filename == "test_log.py"


def test_the_level_decides_what_is_written(tmp_path: Path) -> None:
    sink = log.setup("warning", file=tmp_path / "log", journal=False)
    LOGGER.info("quiet")
    LOGGER.warning("loud")
    sink.close()
    assert (tmp_path / "log").read_text().count("\n") == 1


def test_the_file_is_rotated_at_its_size(tmp_path: Path) -> None:
    file = tmp_path / "log"
    sink = log.setup("info", file=file, journal=False, file_max_bytes=200, file_backups=2)
    for number in range(20):
        LOGGER.info("line %d", number)
    sink.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2"]


def test_the_terminal_gets_readable_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    sink = log.setup("info", file=None, journal=True)
    LOGGER.info("hello")
    sink.close()
    assert "INFO    ssvm_agent.test: hello" in stream.getvalue()


def test_the_journal_gets_priorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        monkeypatch.setattr(sys, "stderr", stream)
        sink = log.setup("info", file=None, journal=True)
        LOGGER.warning("two\nlines")
        sink.close()
        stream.seek(0)
        assert stream.read() == "<4>ssvm_agent.test: two\n<4>    lines\n"


def test_lines_that_find_no_room_are_counted(tmp_path: Path) -> None:
    sink = log.setup("info", file=tmp_path / "log", journal=False)
    entrance = sink._entrance
    record = LOGGER.makeRecord(LOGGER.name, logging.INFO, "f", 1, "text", (), None)
    sink._listener.stop()
    while entrance._dropped < 3:
        entrance.enqueue(record)
    records = cast("queue.Queue[logging.LogRecord]", entrance.queue)
    records.get_nowait()
    records.get_nowait()
    entrance.enqueue(record)
    sink._listener.start()
    sink.close()
    assert (
        (tmp_path / "log")
        .read_text()
        .endswith("3 log lines were dropped: the output was too slow\n")
    )


def test_an_unknown_level_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"log.level is 'loud': use one of debug, info"):
        log.setup("loud", file=None, journal=True)


def test_a_file_that_cannot_be_opened_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be opened"):
        log.setup("info", file=tmp_path, journal=False)


def test_closing_twice_is_harmless_and_restores_the_root(tmp_path: Path) -> None:
    before = list(logging.getLogger().handlers), logging.getLogger().level
    sink = log.setup("debug", file=tmp_path / "log", journal=False)
    sink.close()
    sink.close()
    assert (list(logging.getLogger().handlers), logging.getLogger().level) == before
