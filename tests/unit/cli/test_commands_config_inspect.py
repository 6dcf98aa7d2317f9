# SPDX-License-Identifier: Apache-2.0
"""``commands``, ``config show``, ``inspect`` and the parser itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssvm_agent import __version__
from ssvm_agent.cli import main
from ssvm_agent.handlers.base import REGISTRY
from ssvm_agent.messages.catalogue import CATALOGUE

_BOOT = "zone=1 guid=s-1-VM host=10.1.32.5 vmpassword=geheim"


@pytest.fixture(name="boot")
def _boot(tmp_path: Path) -> list[str]:
    file = tmp_path / "cmdline"
    file.write_text(_BOOT)
    (tmp_path / "conf").mkdir()
    return ["--boot-text", str(file), "--set", f"conf_dir={tmp_path}/conf"]


def _json(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, object]:
    code = main(words)
    return code, json.loads(capsys.readouterr().out)


def test_commands_lists_every_registered_class(capsys: pytest.CaptureFixture[str]) -> None:
    code, rows = _json(capsys, "commands", "--json")
    assert code == 0
    assert isinstance(rows, list)
    assert [row["class"] for row in rows] == [entry.class_name for entry in REGISTRY.entries()]
    by_name = {row["class"]: row for row in rows}
    ready = by_name["com.cloud.agent.api.ReadyCommand"]
    assert ready == {
        "class": "com.cloud.agent.api.ReadyCommand",
        "answer": "com.cloud.agent.api.ReadyAnswer",
        "lane": "control",
        "in_vectors": True,
    }
    recorded = {row.class_name: row.in_vectors for row in CATALOGUE}
    assert all(recorded.get(name, False) == row["in_vectors"] for name, row in by_name.items())


def test_commands_for_people_name_the_lane(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["commands"]) == 0
    assert "com.cloud.agent.api.CheckHealthCommand\n    control" in capsys.readouterr().out


def test_settings_are_shown_with_their_sources(
    capsys: pytest.CaptureFixture[str], boot: list[str]
) -> None:
    code, shown = _json(capsys, "config", "show", "--json", "--set", "port=1234", *boot)
    assert code == 0
    assert isinstance(shown, dict)
    rows = {row["key"]: row for row in shown["settings"]}
    assert rows["port"] == {
        "key": "port", "value": "1234", "source": "command line", "secret": False,
    }  # fmt: skip
    assert rows["management_servers"]["source"] == "boot text (host)"
    assert "geheim" not in json.dumps(shown)


def test_settings_for_people_are_lines(capsys: pytest.CaptureFixture[str], boot: list[str]) -> None:
    assert main(["config", "show", *boot, "guid=a", "guid=b"]) == 0
    output = capsys.readouterr().out
    assert "zone  " in output
    assert "# boot text: guid is given twice; the last one counts" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "prot=1"], "did you mean 'port'?"),
        (["--set", "port"], "--set port: write KEY=VALUE"),
        (["--config", "/nowhere/agent.yaml"], "/nowhere/agent.yaml does not exist"),
    ],
)
def test_unusable_settings_are_exit_code_78(
    capsys: pytest.CaptureFixture[str], boot: list[str], words: list[str], message: str
) -> None:
    assert main(["config", "show", *boot, *words]) == 78
    assert message in capsys.readouterr().err


def test_an_accepted_image(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(bytes(1 << 20))
    code, report = _json(capsys, "inspect", str(image), "--format", "RAW", "--json")
    assert code == 0
    assert isinstance(report, dict)
    assert report["accepted"] is True
    assert (report["detected"], report["physical_size"]) == ("RAW", 1 << 20)
    assert report["virtual_size"] == 1 << 20
    assert report["reasons"] == []


def test_a_refused_image(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    image = tmp_path / "disk.qcow2"
    image.write_bytes(bytes((3 << 20) + 7))
    code, report = _json(capsys, "inspect", str(image), "--format", "qcow2", "--json")
    assert code == 1
    assert isinstance(report, dict)
    assert report["accepted"] is False
    assert report["physical_size"] == (3 << 20) + 7
    assert report["reasons"]
    assert main(["inspect", str(image), "--format", "QCOW2"]) == 1
    assert capsys.readouterr().out.startswith("refused: ")


def test_a_file_that_is_not_there_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["inspect", str(tmp_path / "none")]) == 2
    assert "cannot be read: No such file" in capsys.readouterr().err


def test_an_unknown_format_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    assert main(["inspect", str(tmp_path / "f"), "--format", "FLOPPY"]) == 1
    assert "FLOPPY" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"ssvm-agent {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [[], ["run"], ["config"], ["config", "show"], ["commands"], ["frames"], ["frames", "decode"],
     ["frames", "encode"], ["inspect"], ["demo"]],
    ids=" ".join,
)  # fmt: skip
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*words, "--help"])
    assert caught.value.code == 0
    output = capsys.readouterr().out
    assert output.startswith(f"usage: {' '.join(['ssvm-agent', *words])}")
    assert len(output.splitlines()) > 3


def test_the_general_help_names_commands_and_exit_codes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    output = capsys.readouterr().out
    for word in ("run", "config", "commands", "frames", "inspect", "demo", "78", "143"):
        assert word in output


def test_wrong_words_are_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["dance"])
    assert caught.value.code == 2
    assert "invalid choice" in capsys.readouterr().err
