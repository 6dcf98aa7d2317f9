# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ssvm_agent.diag.report import as_json, as_text, exit_code
from ssvm_agent.diag.verdict import CheckResult, Status, Verdict, error, ok, skipped, warning

NOW = datetime(2026, 11, 23, 3, 11, tzinfo=UTC)


def result(name: str, *verdicts: Verdict) -> CheckResult:
    return CheckResult(name=name, title=f"title of {name}", verdicts=verdicts, elapsed_s=0.25)


FINE = result("dns", ok("Three servers answer.", "a question"))
BAD = result(
    "storage",
    ok("One store is fine.", "a file"),
    error("The store 10.1.40.2:/exp hangs.", "a file", "Check the file server."),
)
HALF = result("clock", warning("Nothing keeps the clock.", "adjtimex", "Start NTP."))
LEFT = result("url", skipped("No URL was given (--url)."))


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ((ok("a", "b"), skipped("c")), Status.OK),
        ((skipped("c"),), Status.SKIPPED),
        ((skipped("c"), warning("a", "b", "c"), ok("a", "b")), Status.WARNING),
        ((warning("a", "b", "c"), error("a", "b", "c")), Status.ERROR),
    ],
)
def test_a_check_is_as_bad_as_its_worst_finding(
    verdicts: tuple[Verdict, ...], status: Status
) -> None:
    assert result("x", *verdicts).status is status


def test_the_json_has_one_entry_for_each_check_with_its_leading_findings() -> None:
    """requirements R28."""
    document = as_json([FINE, BAD, HALF, LEFT], machine="s-1-VM", now=NOW)
    assert document["schema"] == 1
    assert document["status"] == "error"
    assert document["counts"] == {"ok": 1, "skipped": 1, "warning": 1, "error": 1}
    assert [check["name"] for check in document["checks"]] == ["dns", "storage", "clock", "url"]
    assert document["checks"][1] == {
        "name": "storage",
        "title": "title of storage",
        "status": "error",
        "what": "The store 10.1.40.2:/exp hangs.",
        "how": "a file",
        "remedy": "Check the file server.",
        "elapsed_s": 0.25,
        "parts": [
            {"status": "ok", "what": "One store is fine.", "how": "a file", "remedy": ""},
            {
                "status": "error",
                "what": "The store 10.1.40.2:/exp hangs.",
                "how": "a file",
                "remedy": "Check the file server.",
            },
        ],
    }


def test_only_errors_make_the_exit_code_one() -> None:
    assert exit_code([FINE, HALF, LEFT]) == 0
    assert exit_code([FINE, BAD]) == 1


def test_the_text_begins_with_what_is_wrong() -> None:
    text = as_text([FINE, HALF, BAD, LEFT], machine="s-1-VM", now=NOW)
    assert text.splitlines()[1:] == [
        "",
        "ERROR    storage  The store 10.1.40.2:/exp hangs.",
        "                  found by    a file",
        "                  what to do  Check the file server.",
        "",
        "WARNING  clock    Nothing keeps the clock.",
        "                  found by    adjtimex",
        "                  what to do  Start NTP.",
        "",
        "ok       dns      Three servers answer.",
        "skipped  url      No URL was given (--url).",
        "",
        "1 error, 1 warning, 1 ok, 1 skipped.",
    ]


def test_long_texts_are_wrapped_and_commands_are_not_torn() -> None:
    remedy = "umount -f -l /mnt/SecStorage/" + 20 * "0123456789"
    text = as_text([result("storage", error("Bad.", "how", remedy))], machine="m", now=NOW)
    assert 20 * "0123456789" in text
    long = as_text([result("x", error(30 * "word ", "how", "do"))], machine="m", now=NOW)
    assert max(map(len, long.splitlines())) <= 100


def test_colours_only_when_wanted() -> None:
    assert "\x1b" not in as_text([BAD], machine="m", now=NOW)
    assert "\x1b[31;1mERROR" in as_text([BAD], machine="m", now=NOW, colours=True)
