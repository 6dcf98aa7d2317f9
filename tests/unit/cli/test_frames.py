# SPDX-License-Identifier: Apache-2.0
"""``ssvm-agent frames``: every recorded frame both ways, and what cannot be translated."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.cli import main
from ssvm_agent.cli.frames import FrameTextError, decode_line, encode_line
from ssvm_agent.errors import AgentError

_VECTORS = Path(__file__).parents[2] / "data" / "vectors" / "frames.jsonl"
_LINES = [json.loads(line) for line in _VECTORS.read_text("utf-8").splitlines()]
GOOD = [line for line in _LINES if "expect" not in line]
BAD = [line for line in _LINES if line.get("expect") == "error"]
_COMPRESSED = 0x80


@pytest.mark.parametrize("vector", GOOD, ids=lambda vector: vector["name"])
def test_a_recorded_frame_has_its_header_fields_and_content(vector: dict[str, Any]) -> None:
    values = json.loads(decode_line(vector["frame_hex"]))
    assert values.pop("content") == json.loads(vector["content"])
    assert values == vector["header"]


@pytest.mark.parametrize("vector", GOOD, ids=lambda vector: vector["name"])
def test_encoding_is_the_inverse_of_decoding(vector: dict[str, Any]) -> None:
    decoded = decode_line(vector["frame_hex"])
    again = encode_line(decoded)
    values = json.loads(decoded)
    back = json.loads(decode_line(again))
    # Whoever wrote it may have escaped less: the length is that of our text.
    values.pop("content_length")
    back.pop("content_length")
    assert back == values
    plain = not values["flags"] & _COMPRESSED
    if plain and vector.get("java_roundtrip") == "same" and vector["content"].isascii():
        assert again == vector["frame_hex"]


@pytest.mark.parametrize("vector", BAD, ids=lambda vector: vector["name"])
def test_a_recorded_fault_is_an_error(vector: dict[str, Any]) -> None:
    with pytest.raises(AgentError):
        decode_line(vector["frame_hex"])


def _run(
    action: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, list[dict[str, Any] | str]]:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    code = main(["frames", action])
    lines = capsys.readouterr().out.splitlines()
    return code, [json.loads(line) if line.startswith("{") else line for line in lines]


def test_lines_are_translated_one_by_one_and_a_bad_one_is_told_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = GOOD[0]["frame_hex"]
    text = f"{good}\n\nnot hex\n{good.upper()}\n"
    code, lines = _run("decode", text, monkeypatch, capsys)
    assert code == 1
    assert [sorted(line) == ["error"] for line in lines] == [False, True, True, False]
    assert lines[2] == {"error": "The line is not hex."}


def test_all_good_is_exit_code_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = _run("decode", GOOD[0]["frame_hex"], monkeypatch, capsys)
    assert (code, len(lines)) == (0, 1)
    code, lines = _run("encode", json.dumps(lines[0]), monkeypatch, capsys)
    assert code == 0
    assert lines == [GOOD[0]["frame_hex"]]


def test_flags_may_be_named_and_ids_left_out() -> None:
    line = json.dumps(
        {"flag_names": ["request", "in_sequence"], "sequence": 7, "content": [{"a": {}}]}
    )
    values = json.loads(decode_line(encode_line(line)))
    assert (values["flags"], values["sequence"], values["agent_id"]) == (5, 7, -1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sequence": None}, "sequence must be a whole number"),
        ({"sequence": 2**63}, "does not fit"),
        ({"agent_id": 1.5}, "agent_id must be a whole number"),
        ({"flags": True}, "flags must be a whole number"),
        ({"flags": None, "flag_names": ["loud"]}, "flags must be"),
        ({"reserved": 400}, "does not fit"),
        ({"content": {}}, "not a list of objects"),
        ({"content": [{}]}, "not a list of objects"),
        ({"content": [1]}, "not a list of objects"),
    ],
)
def test_what_cannot_be_a_frame_is_refused(change: dict[str, Any], reason: str) -> None:
    values = json.loads(decode_line(GOOD[0]["frame_hex"])) | change
    with pytest.raises(FrameTextError) as caught:
        encode_line(json.dumps(values))
    assert reason in caught.value.for_operators()


@pytest.mark.parametrize("line", ["", "[]", "{", "1", '"x"'])
def test_a_line_that_is_no_object_is_refused(line: str) -> None:
    with pytest.raises(FrameTextError, match="not a JSON object"):
        encode_line(line)


def test_unknown_flag_names_are_refused() -> None:
    with pytest.raises(FrameTextError, match="flag_names from request"):
        encode_line('{"flag_names": ["loud"], "sequence": 1, "content": [{"a": 1}]}')


def test_the_short_header_of_old_frames_is_kept() -> None:
    long = encode_line('{"flags": 1, "sequence": 3, "content": [{"a": {}}], "version": 0}')
    short = encode_line('{"flags": 1, "sequence": 3, "content": [{"a": {}}], "version": 2}')
    assert len(long) - len(short) == 16
    assert json.loads(decode_line(short))["version"] == 2
