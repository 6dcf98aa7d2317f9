# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from ssvm_agent.cli.parser import execute
from ssvm_agent.cli.status import NoAnswerError, fetch, lines
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
    agent: HTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(agent, full_report().to_json())
    assert execute(["status", "--address", address(agent)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "s-1-VM  ssvm-agent 1.0  all is well"
    assert "download     in progress  template/tmpl/2/205  410 MiB of 1 GiB (40 %)" in out
    assert "1.27 TiB of 2 TiB used" in out


def test_trouble_is_named_and_told_by_the_exit_code(
    agent: HTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(agent, troubled_report().to_json())
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
        fetch(address(agent))


@pytest.mark.parametrize("where", ["nowhere", "127.0.0.1:x", "127.0.0.1:1"])
def test_no_answer_is_an_error_with_a_sentence(where: str) -> None:
    with pytest.raises(NoAnswerError):
        fetch(where)


def test_every_line_has_a_health() -> None:
    assert {health for health, _ in lines(troubled_report().to_json())} == {
        "good",
        "warning",
        "bad",
    }
