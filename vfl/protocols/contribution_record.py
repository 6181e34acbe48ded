"""The record of contributions, from the label party that signed it to every party it speaks of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from psi.flow import Flow, Message, Payload, RemoteProtocolError, Role, Send, message, receive

__all__ = ["ContributionKept", "ContributionTold", "hear_contributions", "tell_contributions"]

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
    """Feature party: take the record in. ``keep`` verifies and keeps it, durably; ValueError says what is wrong.

    Learns: every feature party's contribution by period, and what joining was worth to the label party.
    Leaks: nothing.
    Model: the label party is authenticated by its signature; what contradicts itself is refused and named.
    Source: docs/incentives.md#who-signs-the-numbers.
    """
    told = yield from receive(label_party, ContributionTold)
    try:
        keep(told.document)
    except ValueError as error:
        raise RemoteProtocolError(f"sent contributions that cannot be taken: {error}", label_party) from None
    yield Send(label_party, ContributionKept(hashlib.sha256(told.document).digest()))
