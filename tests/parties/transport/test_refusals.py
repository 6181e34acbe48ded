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
    monkeypatch.setattr(refusals, "_LATELY", SaidLately(600.0, 8, lambda: now[0]))
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


def test_what_is_remembered_has_a_bound() -> None:
    said = SaidLately(600.0, 3, lambda: 0.0)
    assert not any(said.again(str(number)) for number in range(5))
    assert said.again("4")
    assert not said.again("0"), "forgotten, so said again"


def test_a_certificate_in_no_roster_is_named_by_what_it_says_on_one_line(tmp_path: Path) -> None:
    shown = unrostered([create_identity("till", tmp_path / "keys").certificate])
    assert "till" in shown
    assert "\n" not in shown
    assert "none shown" in unrostered([])
