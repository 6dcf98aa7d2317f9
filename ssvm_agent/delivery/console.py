# SPDX-License-Identifier: Apache-2.0
"""What operators see: results as they come, a table at the end, or one JSON object."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from ssvm_agent.delivery.fleet import Result
from ssvm_agent.masking import mask_text

SCHEMA: Final = 1
_PROGRESS_S: Final = 0.5


class Console:
    """Writes; notes and progress go to standard error.

    Args:
        as_json: Whether standard output gets one JSON object and nothing else.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._shown = 0.0
        self._open_line = False

    def note(self, text: str) -> None:
        """A sentence on the way."""
        self._end_line()
        sys.stderr.write(f"{mask_text(text)}\n")

    def show(self, result: Result) -> None:
        """One result as it comes."""
        self.note(f"{result.name}: {result.message}")

    def progress(self, done: int, total: int) -> None:
        """How much of an upload is done; on terminals only, and not too often."""
        now = time.monotonic()
        if not sys.stderr.isatty() or (now - self._shown < _PROGRESS_S and done < total):
            return
        self._shown, self._open_line = now, True
        share = 100 * done // max(total, 1)
        sys.stderr.write(f"\ruploading: {done / 2**20:.1f} of {total / 2**20:.1f} MiB, {share} %")
        sys.stderr.flush()

    def results(self, results: Sequence[Result], *, code: int, facts: dict[str, Any]) -> None:
        """All results, at the end."""
        if self.as_json:
            targets = [
                {"target": one.name, "ok": one.ok, "result": one.code, "message": one.message}
                for one in results
            ]
            self.object({**facts, "targets": targets, "exit_code": code})
            return
        rows = [("SYSTEM VM", "RESULT", "")]
        rows += [(one.name, one.code, one.message) for one in results]
        widths = [max(len(row[column]) for row in rows) for column in range(2)]
        for row in rows:
            line = f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}".rstrip()
            sys.stdout.write(f"{line}\n")
        good = sum(one.ok for one in results)
        sys.stdout.write(f"{good} of {len(results)} as wanted\n")

    def object(self, content: dict[str, Any]) -> None:
        """The JSON object."""
        self._end_line()
        sys.stdout.write(json.dumps({"schema": SCHEMA, **content}) + "\n")

    def line(self, text: str) -> None:
        """A line for people."""
        self._end_line()
        if not self.as_json:
            sys.stdout.write(f"{mask_text(text)}\n")

    def failure(self, code: str, message: str, detail: str, *, exit_code: int) -> None:
        """Why nothing came of it."""
        message, detail = mask_text(message), mask_text(detail)
        self.note(f"ssvm-deliver: {message} ({detail})" if detail else f"ssvm-deliver: {message}")
        if self.as_json:
            error = {"code": code, "message": message, "detail": detail or None}
            self.object({"error": error, "exit_code": exit_code})

    def _end_line(self) -> None:
        if self._open_line:
            sys.stderr.write("\n")
            self._open_line = False
