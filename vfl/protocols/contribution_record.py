"""The record of contributions, from the label party that signed it to every party it speaks of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from psi.flow import Flow, Message, Payload, RemoteProtocolError, Role, Send, message, receive
from vfl.arithmetic.received import MalformedError

__all__ = [
    "ContributionKept",
    "ContributionTold",
    "RowsInTime",
    "hear_contributions",
    "hear_rows",
    "tell_contributions",
    "tell_rows",
]

_SOURCE = "docs/incentives.md#who-signs-the-numbers"


@message(
    "value.contributions",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
    payload=Payload.RESULT,
    reveals="every feature party's contribution by period and v(all), v(nobody), signed: what all are paid by",
    source=_SOURCE,
)
class ContributionTold(Message):
    """The signed document, as JSON."""

    document: bytes


@message(
    "value.contributions.kept",
    sender=Role.FEATURE,
    receiver=Role.LABEL,
    payload=Payload.PUBLIC,
    reveals="that the record arrived, agrees with itself and is kept",
    source=_SOURCE,
)
class ContributionKept(Message):
    """SHA-256 of what arrived."""

    digest: bytes


@message(
    "value.rows",
    sender=Role.FEATURE,
    receiver=Role.LABEL,
    payload=Payload.PUBLIC,
    reveals="in which periods the party had committed to its rows in time",
    source=_SOURCE,
)
class RowsInTime(Message):
    """One number a period of the evaluation: 1 where the rows were committed in time."""

    flags: tuple[int, ...]


def tell_rows(label_party: str, flags: Sequence[bool]) -> Flow[None]:
    """Feature party: say in which periods its rows were committed in time.

    Learns: nothing.
    Leaks: one bit a period, which the coordinator has seen already.
    Model: a party that claims more than it committed is found out by the coordinator, which compares.
    Source: docs/incentives.md#rows-committed-in-time.
    """
    yield Send(label_party, RowsInTime(tuple(map(int, flags))))


def hear_rows(parties: Sequence[str], periods: int) -> Flow[dict[str, tuple[bool, ...]]]:
    """Label party: the flags of every feature party, one a period.

    Learns: in which periods each party's rows were committed in time.
    Leaks: nothing.
    Model: the flags are each party's word here; the coordinator compares them with what it witnessed.
    Source: docs/incentives.md#rows-committed-in-time.
    """
    told: dict[str, tuple[bool, ...]] = {}
    for party in parties:
        got = yield from receive(party, RowsInTime)
        if len(got.flags) != periods or any(flag not in (0, 1) for flag in got.flags):
            raise RemoteProtocolError(f"says of other than {periods} periods whether its rows were committed", party)
        told[party] = tuple(map(bool, got.flags))
    return told


def tell_contributions(parties: Sequence[str], document: bytes) -> Flow[None]:
    """Label party: send every feature party the same signed document, and wait until each has kept it.

    Learns: that each party keeps the record.
    Leaks: the record, to the feature parties it speaks of.
    Model: a label party that tells one party another record signs the evidence against itself.
    Source: docs/incentives.md#who-signs-the-numbers.
    """
    for party in parties:
        yield Send(party, ContributionTold(document))
    for party in parties:
        got = yield from receive(party, ContributionKept)
        if got.digest != hashlib.sha256(document).digest():
            raise RemoteProtocolError("keeps another record of contributions than was sent", party)


def hear_contributions(label_party: str, keep: Callable[[bytes], None]) -> Flow[None]:
    """Feature party: take the record in. ``keep`` verifies and keeps it, durably; MalformedError says what is wrong.

    Learns: every feature party's contribution by period, and what joining was worth to the label party.
    Leaks: nothing.
    Model: the label party is authenticated by its signature; what contradicts itself is refused and named.
    Source: docs/incentives.md#who-signs-the-numbers.
    """
    told = yield from receive(label_party, ContributionTold)
    try:
        keep(told.document)
    except MalformedError as error:
        raise RemoteProtocolError(f"sent contributions that cannot be taken: {error}", label_party) from None
    yield Send(label_party, ContributionKept(hashlib.sha256(told.document).digest()))
