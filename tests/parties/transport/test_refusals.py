"""A refused call: what its caller is told, and how often the log has it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from parties.members.keys import create_identity
from parties.transport import refusals
from parties.transport.refusals import SaidLately, refuse, unrostered


class Ended(Exception):
    """What abort raises."""


class Call:
    """A call from a host, from another port each time."""

    def __init__(self, host: str, port: int) -> None:
        self._peer, self.told = f"ipv4:{host}:{port}", ""

    def peer(self) -> str:
        return self._peer

    def abort(self, code: grpc.StatusCode, text: str) -> None:
        self.told = text
        raise Ended


def test_a_node_that_calls_again_and_again_is_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    monkeypatch.setattr(refusals, "_LATELY", SaidLately(600.0, 8, 8, lambda: now[0]))
    caplog.set_level(logging.INFO)
    for number in range(400):
        now[0] += 2
        call = Call("10.0.0.5", 40_000 + number)
        with pytest.raises(Ended):
            refuse(cast(Any, call), grpc.StatusCode.UNAUTHENTICATED, "who are you?", "in no roster")
        assert call.told == "who are you?"
    assert len(caplog.records) == 2, "one in ten minutes"
    for host, why in (("10.0.0.6", "in no roster"), ("10.0.0.5", "too many sessions")):
        with pytest.raises(Ended):
            refuse(cast(Any, Call(host, 1)), grpc.StatusCode.UNAUTHENTICATED, "who are you?", why)
    assert [record.getMessage() for record in caplog.records[2:]] == [
        "refused a call from ipv4:10.0.0.6:1: in no roster",
        "refused a call from ipv4:10.0.0.5:1: too many sessions",
    ]


def test_a_host_that_thinks_up_names_fills_neither_log_nor_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Attack: a member calls itself something else in each call, half a megabyte long."""
    said = SaidLately(600.0, 64, 5, lambda: 0.0)
    monkeypatch.setattr(refusals, "_LATELY", said)
    caplog.set_level(logging.INFO)
    for number in range(200):
        with pytest.raises(Ended):
            detail = f"'sat' calls itself {number}{'x' * 2**19}"
            refuse(cast(Any, Call("10.0.0.5", number)), grpc.StatusCode.UNAUTHENTICATED, "who are you?", detail)
    assert len(caplog.records) == said.each
    assert max(len(record.getMessage()) for record in caplog.records) < 500
    assert "at level debug" in caplog.records[-1].getMessage()
    assert said.number("ipv4:10.0.0.6", "another host") == 1


def test_what_is_remembered_has_a_bound_and_an_end() -> None:
    now = [0.0]
    said = SaidLately(600.0, 3, 2, lambda: now[0])
    assert all(said.number(str(host), "why") == 1 for host in range(5))
    assert said.number("4", "why") == 0
    assert said.number("0", "why") == 1, "forgotten, so said again"
    assert [said.number("0", line) for line in ("another", "one too many")] == [2, 0]
    now[0] = 600.0
    assert said.number("0", "one too many") == 1


def test_a_certificate_in_no_roster_is_named_by_what_it_says_on_one_line(tmp_path: Path) -> None:
    shown = unrostered([create_identity("till", tmp_path / "keys").certificate])
    assert "till" in shown
    assert "\n" not in shown
    assert "none shown" in unrostered([])
