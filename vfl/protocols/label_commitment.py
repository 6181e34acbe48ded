"""A label party's commitment to its labels and columns, told to every feature party before the first step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from psi.flow import Flow, Message, Payload, RemoteProtocolError, Role, Send, message, receive
from vfl.arithmetic.received import MalformedError

__all__ = ["LabelsCommitted", "hear_commitment", "tell_commitment"]


@message(
    "sealed.committed",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
    payload=Payload.COMMITMENT,
    reveals="how many rows there are, which is known; nothing of a label or a column",
    source="Merkle trees of RFC 6962 section 2.1 over salted leaves, signed: docs/protocols/sealed.md#labels-committed",
)
class LabelsCommitted(Message):
    """The signed document, as JSON."""

    document: bytes


def tell_commitment(parties: Sequence[str], document: bytes) -> Flow[None]:
    """Label party: send its signed commitment to every feature party.

    Learns: nothing.
    Leaks: nothing of labels and columns: leaves are salted.
    Model: a label party that commits to other labels than it trains on is found by whoever is shown them.
    Source: docs/protocols/sealed.md#labels-committed.
    """
    for name in parties:
        yield Send(name, LabelsCommitted(document))


def hear_commitment(label: str, keep: Callable[[bytes], None]) -> Flow[None]:
    """Feature party: take the commitment. keep: verifies and keeps it, and raises MalformedError where it may not be.

    Learns: nothing of labels and columns.
    Leaks: nothing.
    Model: whatever comes is kept before the first step, or ends the run in the label party's name.
    Source: docs/protocols/sealed.md#labels-committed.
    """
    told = yield from receive(label, LabelsCommitted)
    try:
        keep(told.document)
    except MalformedError as error:
        raise RemoteProtocolError(str(error), label) from None
