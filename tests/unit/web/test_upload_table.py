# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ssvm_agent.images.ovf_disks import data_disks
from ssvm_agent.images.ovf_reading import read_ovf
from ssvm_agent.web import upload_table
from ssvm_agent.web.errors import UploadRefusedError
from ssvm_agent.web.upload_table import (
    ABORTED_MESSAGE,
    KEEP_FINISHED,
    RESTARTED_MESSAGE,
    Upload,
    UploadResult,
    UploadState,
    UploadTable,
    whole_gib,
)
from tests.fixtures import hostile_images

NOW = datetime(2026, 11, 23, tzinfo=UTC)
RESULT = UploadResult(
    store="s", install_path="p/x.qcow2", virtual_size_bytes=2, physical_size_bytes=1
)


def upload(uuid: str = "u1", **fields: object) -> Upload:
    return Upload(
        uuid=uuid,
        description="TEMPLATE 5",
        content_length=200,
        started=NOW,
        signed_until=NOW + timedelta(hours=1),
        **fields,  # type: ignore[arg-type]
    )


def test_a_url_is_claimed_once_whatever_its_case() -> None:
    """storage-commands.md 5.5.3."""
    table = UploadTable()
    first = upload("AbC")
    table.claim(first)
    assert table.running == 1
    with pytest.raises(UploadRefusedError, match="already used and the upload is in IN_PROGRESS"):
        table.claim(upload("aBc"))
    assert table.find("abc") is first
    assert list(table) == [first]


def test_the_first_end_stays() -> None:
    """Requirement R14."""
    changes: list[int] = []
    table = UploadTable(lambda: changes.append(1))
    one = upload()
    table.claim(one)
    table.fail(one, "first", NOW)
    table.fail(one, "second", NOW)
    table.complete(one, RESULT, NOW)
    assert (one.state, one.message, one.result) == (UploadState.ERROR, "first", None)
    assert len(changes) == 2


def test_an_abort_stops_the_work() -> None:
    """storage-commands.md 5.6 (4.23)."""
    table = UploadTable()
    stopped: list[int] = []
    one = upload(cancel=lambda: stopped.append(1))
    table.claim(one)
    table.abort("U1", NOW)
    assert (one.state, one.message, stopped) == (UploadState.ERROR, ABORTED_MESSAGE, [1])
    table.abort("u1", NOW)
    table.abort("unknown", NOW)
    assert stopped == [1]


def test_a_completed_upload_is_not_aborted() -> None:
    table = UploadTable()
    one = upload()
    table.claim(one)
    table.complete(one, RESULT, NOW)
    table.abort("u1", NOW)
    assert one.state is UploadState.COMPLETED


def test_percent_is_that_of_the_body() -> None:
    one = upload(body_bytes=101)
    assert one.percent == 50
    one.body_bytes = 999
    assert one.percent == 100


def test_ends_are_kept_for_a_day_and_never_shorter_than_their_url() -> None:
    """storage-commands.md 11.10."""
    table = UploadTable()
    one, two, three = upload("1"), upload("2"), upload("3")
    two.signed_until = NOW + timedelta(days=9)
    for each in (one, two, three):
        table.claim(each)
    table.fail(one, "x", NOW)
    table.fail(two, "x", NOW)
    table.sweep(NOW + KEEP_FINISHED - timedelta(seconds=1))
    assert len(list(table)) == 3
    table.sweep(NOW + KEEP_FINISHED)
    assert list(table) == [two, three]


def test_a_full_table_forgets_the_oldest_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_table, "MAX_ENTRIES", 2)
    table = UploadTable()
    one, two = upload("1"), upload("2")
    table.claim(one)
    table.claim(two)
    with pytest.raises(UploadRefusedError, match="try again later"):
        table.claim(upload("3"))
    table.fail(one, "x", NOW)
    table.claim(upload("3"))
    assert table.find("1") is None


def test_the_table_survives_a_restart() -> None:
    table, again = UploadTable(), UploadTable()
    done, failed, running = upload("1"), upload("2"), upload("3")
    for each in (done, failed, running):
        table.claim(each)
    table.complete(done, RESULT, NOW)
    table.fail(failed, "why", NOW)
    document = table.to_document()
    entries = document["uploads"]
    assert isinstance(entries, list)
    entries += [None, {}, {"uuid": 1}]
    again.load(document, NOW)
    found = {one.uuid: one for one in again}
    assert found["1"].result == RESULT
    assert found["1"].state is UploadState.COMPLETED
    assert (found["2"].state, found["2"].message) == (UploadState.ERROR, "why")
    assert (found["3"].state, found["3"].message) == (UploadState.ERROR, RESTARTED_MESSAGE)
    assert len(found) == 3


async def test_an_expected_upload_stays_in_progress_over_a_restart() -> None:
    """The process ended while the image became visible: the store has to be asked."""
    table, again = UploadTable(), UploadTable()
    running = upload("1")
    table.claim(running)
    await table.expect(running, RESULT)
    again.load(json.loads(json.dumps(table.to_document())), NOW)
    found = again.find("1")
    assert found is not None
    assert (found.state, found.result) == (UploadState.IN_PROGRESS, RESULT)


async def test_a_failed_upload_has_no_result() -> None:
    table = UploadTable()
    running = upload("1")
    table.claim(running)
    await table.expect(running, RESULT)
    table.fail(running, "why", NOW)
    assert running.result is None


def test_an_ovf_survives_a_restart() -> None:
    """storage-commands.md 5.6: ovfInformationTO is repeated like the rest."""
    facts = read_ovf(hostile_images.ovf(), "vm.ovf")
    table, again = UploadTable(), UploadTable()
    done = upload("1")
    table.claim(done)
    result = replace(
        RESULT,
        ovf=facts,
        disks=data_disks(facts, {"disk1.vmdk": 5}),
        directory=Path("/mnt/s/template/tmpl/2/5"),
    )
    table.complete(done, result, NOW)
    again.load(json.loads(json.dumps(table.to_document())), NOW)
    found = again.find("1")
    assert found is not None
    assert found.result == result


def test_an_entry_of_an_earlier_agent_has_no_ovf() -> None:
    table, again = UploadTable(), UploadTable()
    done = upload("1")
    table.claim(done)
    table.complete(done, RESULT, NOW)
    document = json.loads(json.dumps(table.to_document()))
    for key in ("ovf", "directory", "store"):
        del document["uploads"][0]["result"][key]
    again.load(document, NOW)
    found = again.find("1")
    assert found is not None
    assert found.result == replace(RESULT, store="")


def test_gib_are_rounded_up() -> None:
    assert [whole_gib(size) for size in (0, 1, 1 << 30, (1 << 30) + 1)] == [0, 1, 1, 2]
