"""A node's line to a coordinator that says what nobody understands: refused, logged, and the line goes on."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parties.errors import ConfigError
from parties.node import coordinator_line
from parties.node.coordinator_line import CoordinatorLine
from parties.wire.gen import coordinator_pb2 as wire
from tests.parties.coordinator_rig import wait_until

RUN = "ab" * 32
WELCOME = wire.Command(kind="welcome", body=b'{"version": "1", "heartbeat_seconds": 0.1}')
GOOD = wire.Command(kind="abort", run_id=RUN, body=b'{"reason": "enough"}')


class ScriptedConnection:
    """Hands out one stream of commands, then streams that say nothing; takes every report."""

    address = "127.0.0.1:1"

    def __init__(self, *commands: wire.Command) -> None:
        self.scripts = [list(commands)]
        self.heartbeats = threading.Semaphore(0)
        self.fail_next: list[Exception] = []

    def stream(self, *_: Any) -> Any:
        return ScriptedStream(self.scripts.pop(0) if self.scripts else [])

    def call(self, _: str, report: wire.PartyReport, *__: Any, **___: Any) -> None:
        if self.fail_next:
            raise self.fail_next.pop()
        if report.kind == "heartbeat":
            self.heartbeats.release()

    def close(self) -> None:
        pass


class ScriptedStream:
    def __init__(self, commands: list[wire.Command]) -> None:
        self._commands = commands

    def __iter__(self) -> Iterator[wire.Command]:
        return iter(self._commands)

    def cancel(self) -> None:
        pass


def line_to(connection: ScriptedConnection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CoordinatorLine:
    monkeypatch.setattr(coordinator_line, "Connection", lambda *_: connection)
    return CoordinatorLine("sat", tmp_path, runs=[RUN])


def first_heard(line: CoordinatorLine) -> Any:
    """The first command that the line hands out, within a time."""
    found: list[Any] = []
    reader = threading.Thread(target=lambda: found.append(next(line.commands(), None)), daemon=True)
    reader.start()
    reader.join(10)
    assert found, "the line is deaf"
    return found[0]


@pytest.mark.parametrize("kind", ["approve", "start", "pause", "resume", "abort", "finished", "roster", "settle", "?"])
@pytest.mark.parametrize(
    "body", [b"[]", b"null", b"7", b'"text"', b"", b"{", b'{"agreement": []}', b'{"attempt": "x", "phase": "train"}']
)
def test_a_command_that_is_not_understood_leaves_the_node_hearing(
    kind: str, body: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hostile = wire.Command(kind=kind, run_id=RUN, body=body)
    connection = ScriptedConnection(WELCOME, hostile, GOOD)
    with caplog.at_level(logging.ERROR), line_to(connection, monkeypatch, tmp_path) as line:
        heard = first_heard(line)
        assert (heard.kind, heard.run_id) == ("abort", RUN)
        assert connection.heartbeats.acquire(timeout=10), "and it still says that it is there"
    assert sum(record.message.startswith("refused: the coordinator's") for record in caplog.records) == 1
    assert not any(record.exc_info for record in caplog.records), "what a peer says is no fault of ours"


def test_a_fault_in_the_line_itself_is_logged_and_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is raised while it listens, or while it speaks: the next try is made."""
    connection = ScriptedConnection(WELCOME)
    connection.scripts.append([GOOD])
    broken = iter([RuntimeError("injected")])
    take = CoordinatorLine._take

    def fails_once(line: CoordinatorLine, command: Any) -> None:
        for error in broken:
            raise error
        take(line, command)

    connection.scripts.insert(0, [WELCOME])
    monkeypatch.setattr(CoordinatorLine, "_take", fails_once)
    connection.fail_next = [RuntimeError("injected too")]
    with caplog.at_level(logging.ERROR), line_to(connection, monkeypatch, tmp_path) as line:
        assert first_heard(line).kind == "abort"
        assert connection.heartbeats.acquire(timeout=10)
    threads = {json.dumps(record.args) for record in caplog.records if "did not expect" in record.msg}
    assert threads == {'["coordinator line"]', '["coordinator heartbeat"]'}


def test_a_node_that_was_put_out_says_so_once_and_not_at_every_heartbeat(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connection, refused = ScriptedConnection(WELCOME), ConfigError("these do not accept each other")
    made, tries = connection.stream, threading.Semaphore(0)

    def stream(*what: Any) -> Any:
        tries.release()
        if connection.scripts:
            return made(*what)
        connection.fail_next = [refused] * 1000
        raise refused

    monkeypatch.setattr(connection, "stream", stream)
    with caplog.at_level(logging.INFO), line_to(connection, monkeypatch, tmp_path):
        for _ in range(2):
            assert tries.acquire(timeout=10)
        left = len(connection.fail_next)
        wait_until(lambda: len(connection.fail_next) < left - 2, "heartbeats that are refused")
    said = [record.getMessage() for record in caplog.records]
    assert sum("no line to the coordinator: these do not accept each other. If" in line for line in said) == 1
    assert sum("not delivered" in line for line in said) <= 1, "one may be on its way before it is said"
