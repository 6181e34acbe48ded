"""The flow kernel: what runs alone, and what it says when it cannot."""

from __future__ import annotations

import pytest

from psi.flow import Flow, LocalProtocolError, Message, Progress, Send, receive, run_alone


def test_a_flow_that_waits_for_nobody_runs_alone_to_its_result() -> None:
    def counts() -> Flow[int]:
        yield Progress(1, 2)
        return 7

    assert run_alone(counts()) == 7


def test_a_flow_that_needs_somebody_does_not_run_alone() -> None:
    def asks() -> Flow[Message]:
        return (yield from receive("peer", Message))

    def tells() -> Flow[None]:
        yield Send("peer", Message())

    with pytest.raises(LocalProtocolError, match="waits for"):
        run_alone(asks())
    with pytest.raises(LocalProtocolError, match="takes no part"):
        run_alone(tells())
