# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from ssvm_agent.cli.parser import execute
from ssvm_agent.cli.status import NoAnswerError, fetch
from tests.unit.web.reports import full_report, troubled_report


@pytest.fixture
def agent() -> Iterator[HTTPServer]:
    """Something that answers like the status page; ``reply`` is what."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.server.reply  # type: ignore[attr-defined] # set by the tests
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def address(server: HTTPServer) -> str:
    return f"127.0.0.1:{server.server_port}"


def answer(server: HTTPServer, body: object) -> None:
    server.reply = json.dumps(body).encode()  # type: ignore[attr-defined] # read by the handler


def test_a_report_is_printed_as_lines(
    agent: HTTPServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rates are measured between two reports; these two are of the same moment."""
    monkeypatch.setattr("ssvm_agent.cli.status._MEASURED_S", 0.0)
    answer(agent, full_report().to_json())
    assert execute(["status", "--address", address(agent)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "s-1-VM  ssvm-agent 1.0  up 3 days  all is well"
    assert "download     in progress  template/tmpl/2/205  410 MiB of 1.0 GiB (40%)\n" in out
    assert "\x1b" not in out


def test_trouble_is_named_and_told_by_the_exit_code(
    agent: HTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    idle = replace(troubled_report(), downloads=(), uploads=(), transfers=())
    answer(agent, idle.to_json())
    assert execute(["status", "--address", address(agent)]) == 1
    out = capsys.readouterr().out
    assert "! No management server is in charge of this agent" in out
    assert "size unknown" in out


def test_programs_get_the_whole_report(
    agent: HTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    report = full_report().to_json()
    answer(agent, report)
    assert execute(["status", "--json", "--address", address(agent)]) == 0
    assert json.loads(capsys.readouterr().out) == report


@pytest.mark.parametrize("body", [[], {"x": 1}, "text"])
def test_somebody_else_is_not_taken_for_an_agent(agent: HTTPServer, body: object) -> None:
    answer(agent, body)
    with pytest.raises(NoAnswerError, match="no agent"):
        fetch("127.0.0.1", agent.server_port)


def test_no_answer_is_an_error_with_a_sentence() -> None:
    with pytest.raises(NoAnswerError, match=r"No agent answers at 127\.0\.0\.1:1: is it"):
        fetch("127.0.0.1", 1)


@pytest.mark.parametrize("where", ["nowhere", "127.0.0.1:x", ":9180", "127.0.0.1:65536"])
@pytest.mark.parametrize("words", [[], ["--watch"]])
def test_what_is_no_address_is_refused_at_once(
    where: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["status", *words, "--address", where]) == 1
    assert "is no address: write HOST:PORT" in capsys.readouterr().err
