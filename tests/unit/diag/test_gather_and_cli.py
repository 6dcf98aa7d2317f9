# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssvm_agent.config.load import Sources
from ssvm_agent.diag.cli import main
from ssvm_agent.diag.gather import Origin, boot_time, gather, load_settings
from ssvm_agent.diag.registry import CHECKS
from tests.fakes.checked_machine import TEXT, put
from tests.fakes.machine import FakeRunner


def below(root: Path, text: str = TEXT) -> Origin:
    put(
        root,
        {
            "var/cache/cloud/cmdline": text,
            "proc/stat": "cpu 1 2\nbtime 1764000000\n",
            "proc/30/cmdline": "python3\0-m\0ssvm_agent\0run\0",
            "state/status.json": '{"schema": 1, "state": "ready", "server": "10.1.32.5"}',
        },
    )
    sources = Sources(
        boot_text=root / "var/cache/cloud/cmdline",
        agent_properties=root / "agent.properties",
        overrides={"status.listen": "127.0.0.1:1", "state_dir": str(root / "state")},
    )
    return Origin(sources=sources, root=root, runner=FakeRunner())


async def test_facts_of_a_machine_whose_agent_does_not_answer(tmp_path: Path) -> None:
    facts = await gather(below(tmp_path))
    assert facts.is_system_vm
    assert facts.settings_problem == ""
    assert facts.plan.hostname == "s-1-VM"
    assert facts.booted == 1764000000.0
    assert facts.boot_written is not None
    assert [process.pid for process in facts.agent.processes] == [30]
    assert facts.agent.report is None
    assert "refused" in facts.agent.problem
    assert facts.agent.is_connected  # by its status file


async def test_facts_of_a_machine_with_nothing_on_it(tmp_path: Path) -> None:
    facts = await gather(Origin(sources=Sources(boot_text=tmp_path / "none"), root=tmp_path))
    assert "zone is not set" in facts.settings_problem
    assert not facts.boot.values
    assert not facts.agent.is_running
    assert facts.agent.link_state == ""


def test_settings_are_had_as_far_as_they_can(tmp_path: Path) -> None:
    broken = tmp_path / "agent.yaml"
    broken.write_text("no_such_key: 1\n")
    settings, problem = load_settings(Sources(boot_text=None, yaml=broken))
    assert "no_such_key" in problem
    assert settings.port == 8250
    settings, problem = load_settings(
        Sources(boot_text=None, agent_properties=tmp_path / "none", overrides={"port": "9000"})
    )
    assert "zone is not set" in problem
    assert settings.port == 9000


def test_the_boot_time_of_the_kernel() -> None:
    assert boot_time("cpu 1\nbtime 17\n") == 17.0
    assert boot_time("") is None


def test_the_list_names_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [check.slug for check in CHECKS]


def test_single_checks_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, {"var/cache/cloud/cmdline": TEXT})
    arguments = ["settings", "boot-text", "--json", "--root", str(tmp_path)]
    assert main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert [check["name"] for check in document["checks"]] == ["boot-text", "settings"]
    assert document["machine"] == "s-1-VM"
    assert set(document["checks"][0]) >= {"name", "status", "what", "how", "remedy"}


def test_a_failed_check_is_exit_code_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["settings", "--root", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "ERROR    settings" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    "arguments", [["no-such-check"], ["--timeout", "0"], ["--set", "x"], ["--json", "--compat"]]
)
def test_wrong_arguments_are_exit_code_two(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2
    assert capsys.readouterr().err
