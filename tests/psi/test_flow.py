"""The flow kernel: what runs alone, and what it says when it cannot."""

from __future__ import annotations

import pytest

from psi.flow import (
    REGISTER,
    Flow,
    LocalProtocolError,
    Message,
    Payload,
    Progress,
    Role,
    Send,
    message,
    receive,
    run_alone,
)


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


def test_a_kind_belongs_to_one_type_by_its_full_name() -> None:
    """Two classes of one name in two modules are two messages: a peer's bytes must not be read as the other's."""
    declared = {"sender": Role.PARTY, "receiver": Role.PARTY, "payload": Payload.PUBLIC, "reveals": "-", "source": "-"}

    def declare(module: str) -> type[Message]:
        made = type("Note", (Message,), {"__module__": module})
        return message("flow.note", **declared)(made)

    first = declare("one")
    assert declare("one")._kind == first._kind == "flow.note", "a module that is loaded again declares the same"
    with pytest.raises(LocalProtocolError, match=r"'flow.note': one.Note and two.Note"):
        declare("two")
    del REGISTER["flow.note"]
