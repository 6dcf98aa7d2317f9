# SPDX-License-Identifier: Apache-2.0
"""Logging: where lines go, the ``key=value`` tail, context fields, and redaction at the sink.

Modules use the standard ``logging`` calls, or :func:`event` where fields matter. The event loop
never writes: records go through a queue to a thread. This module knows nothing of what is logged;
every finished line passes :func:`ssvm_agent.masking.mask_text` (R25).
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import logging.handlers
import os
import queue
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ssvm_agent.errors import ConfigError
from ssvm_agent.masking import MASK, is_secret_name, mask_text

_CONTEXT: Final[contextvars.ContextVar[tuple[tuple[str, object], ...]]] = contextvars.ContextVar(
    "log_context", default=()
)
# What one line may hold; more is cut. Long enough for any path or URL, short enough for a journal.
_MAX_VALUE: Final = 2048
# A stalled disk must not eat the memory of the machine: beyond this, lines are dropped.
_MAX_QUEUED: Final = 10_000
_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class Sink:
    """The running log output; closing it writes what is still queued."""

    def __init__(self, handlers: list[logging.Handler], level: int) -> None:
        self._root = logging.getLogger()
        self._handlers = handlers
        records: queue.Queue[logging.LogRecord] = queue.Queue(_MAX_QUEUED)
        self._entrance = _QueueEntrance(records)
        self._listener = logging.handlers.QueueListener(records, *handlers)
        self._before = self._root.level
        self._root.addHandler(self._entrance)
        self._root.setLevel(level)
        self._listener.start()

    def close(self) -> None:
        """Write the rest and let go of the files. Safe to call twice."""
        if self._entrance in self._root.handlers:
            self._root.removeHandler(self._entrance)
            self._root.setLevel(self._before)
            self._listener.stop()
            for handler in self._handlers:
                handler.close()


def setup(
    level: str,
    *,
    file: Path | None,
    journal: bool,
    file_max_bytes: int = 20 << 20,
    file_backups: int = 5,
) -> Sink:
    """Send all records to the journal, a size-capped file, or both.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        file: Log file; its directory is made when missing.
        journal: Write to standard error, with syslog priorities when systemd reads it.
        file_max_bytes: Size at which the file is rotated.
        file_backups: Rotated files kept.

    Raises:
        ConfigError: Unknown level, or the file cannot be opened.
    """
    if level.lower() not in _LEVELS:
        raise ConfigError(f"log.level is {level!r}: use one of {', '.join(_LEVELS)}")
    handlers: list[logging.Handler] = []
    if journal or file is None:
        stream = logging.StreamHandler(sys.stderr)
        stream.setFormatter(_JournalFormatter() if _under_systemd() else _FileFormatter())
        handlers.append(stream)
    if file is not None:
        handlers.append(_file_handler(file, file_max_bytes, file_backups))
    return Sink(handlers, _LEVELS[level.lower()])


def event(logger: logging.Logger, level: int, text: str, **fields: object) -> None:
    """Log one event: a short fixed text, then its fields as ``key=value``.

    Values of secret names are masked whatever they are; ``None`` is left out.
    """
    if logger.isEnabledFor(level):
        logger.log(level, "%s", text, extra={"event_fields": tuple(fields.items())}, stacklevel=2)


@contextlib.contextmanager
def context(**fields: object) -> Iterator[None]:
    """Add fields to every line logged inside, in this task and the ones it starts."""
    token = _CONTEXT.set(_CONTEXT.get() + tuple(fields.items()))
    try:
        yield
    finally:
        _CONTEXT.reset(token)


class _QueueEntrance(logging.handlers.QueueHandler):
    """Renders on the caller's side, where context and exception are at hand, then queues."""

    _dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        fields = (*getattr(record, "event_fields", ()), *_CONTEXT.get())
        text = record.getMessage() + "".join(
            f" {key}={_value(key, value)}" for key, value in fields if value is not None
        )
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        clean = logging.makeLogRecord(record.__dict__)
        clean.msg, clean.args = mask_text(text), None
        clean.exc_info = clean.exc_text = None
        return clean

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
            if self._dropped:
                text = f"{self._dropped} log lines were dropped: the output was too slow"
                self.queue.put_nowait(_own_record(text))
                self._dropped = 0
        except queue.Full:
            self._dropped += 1


def _own_record(text: str) -> logging.LogRecord:
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None)


class _FileFormatter(logging.Formatter):
    """One line: UTC time with milliseconds, level, logger, text. Further lines are indented."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - the base class names them
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{moment}.{int(record.msecs):03d}Z"

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", "\n    ")


class _JournalFormatter(logging.Formatter):
    """``<priority>logger: text`` on every line; the journal has time and process already."""

    _PRIORITIES: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{self._PRIORITIES.get(record.levelno, 2)}>"
        text = f"{record.name}: {record.getMessage()}"
        return prefix + text.replace("\n", f"\n{prefix}    ")


def _value(key: str, value: object) -> str:
    if is_secret_name(key):
        return MASK
    text = str(value)
    if len(text) > _MAX_VALUE:
        text = f"{text[:_MAX_VALUE]}…"
    plain = text and text.isprintable() and not any(char in text for char in " \"'=")
    return text if plain else repr(text)


def _file_handler(file: Path, max_bytes: int, backups: int) -> logging.Handler:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(
            file, maxBytes=max_bytes, backupCount=backups, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        raise ConfigError(f"log.file {file} cannot be opened: {error.strerror}") from error
    handler.setFormatter(_FileFormatter())
    return handler


def _under_systemd() -> bool:
    # systemd names device and inode of the stream it connected.
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
