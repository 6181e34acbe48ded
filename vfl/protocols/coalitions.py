"""Coalition openings: the embedding sums of subsets of feature parties, for masked contribution.

The shares of every prediction were kept by both sides, so a coalition's sum needs no encryption: each
member sends its share under a zero-sum mask of that coalition alone. Sums for S and for S with i give
i's embedding by subtraction, so this runs only when the agreement says so, and every sum is charged to the
opening budget of each member.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from psi.flow import (
    Flow,
    LocalProtocolError,
    Message,
    Payload,
    Progress,
    RemoteProtocolError,
    Role,
    Send,
    message,
    receive,
)
from vfl.arithmetic.share import Share, opened
from vfl.protocols.feature_session import FeatureSession
from vfl.protocols.opening_budget import asked_by
from vfl.protocols.row_bits import AGAIN
from vfl.protocols.session import F64, Kept, Session

__all__ = ["CoalitionSum", "Part", "open_coalitions", "opened_coalitions", "serve_coalitions"]


@message(
    "coalition.sum",
    sender=Role.FEATURE,
    receiver=Role.LABEL,
    payload=Payload.MASKED,
    reveals="with the label party's shares: the coalition's embedding sum; alone in it, the party's own embedding",
    source="docs/protocols/openings.md#coalition-openings; zero-sum masks after Bonawitz et al. 2017",
)
class CoalitionSum(Message):
    """One member's shares of all kept predictions plus its mask among ``members``."""

    members: tuple[str, ...]
    values: bytes


def opened_coalitions(parties: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The coalitions to open: all but the empty one and the full one, which was opened in training."""
    return tuple(members for size in range(1, len(parties)) for members in combinations(parties, size))


Part = Callable[[tuple[str, ...], str, bytes], None]
"""Hears of a coalition, a member, and the packed share that the member sent."""


def open_coalitions(
    session: Session, kept: Mapping[str, Kept], heard: Part = lambda members, party, values: None
) -> Flow[dict[frozenset[str], F64]]:
    """Label party: each coalition's embedding sums for the predicted rows, float64 (rows, h) in prediction order.

    ``heard`` is told every part as it arrived.

    Learns: the embedding sum of every coalition, hence each feature party's embedding of the predicted rows.
    Leaks: nothing.
    Model: semi-honest.
    Source: docs/protocols/openings.md#coalition-openings; docs/incentives.md#which-way-it-is-computed.
    """
    sums: dict[frozenset[str], F64] = {}
    coalitions = opened_coalitions(session.names)
    for number, members in enumerate(coalitions, 1):
        parts = []
        for party in members:
            got = yield from receive(party, CoalitionSum)
            if got.members != members:
                raise RemoteProtocolError(f"sent its sum for {got.members} when {members} was due", party)
            ours = session.short(kept[party].share)
            heard(members, party, got.values)
            parts += [session.received(got.values, ours.shape, party, ring=session.opened_ring), ours]
        sums[frozenset(members)] = opened(parts, session.fixed.output_bits)
        yield Progress(number, len(coalitions), unit="coalitions")
    return sums


def serve_coalitions(
    session: FeatureSession, kept: Kept, *, consent: bool, sent: Part = lambda members, party, values: None
) -> Flow[int]:
    """Feature party: its part in every coalition it belongs to; returns how many sums it sent.

    ``sent`` is told every part before it leaves.

    Learns: nothing.
    Leaks: its share of each coalition's sums under that coalition's mask, charged to the budget first; alone in a
        coalition it has no mask, and its own embedding opens.
    Model: semi-honest; refused without the agreement's consent.
    Source: docs/protocols/openings.md#coalition-openings; docs/incentives.md#which-way-it-is-computed.
    """
    if not consent:
        raise LocalProtocolError("the agreement does not consent to coalition openings")
    share, me = kept.share, session.me
    digest = hashlib.sha256(kept.rows.tobytes() + share.elements.tobytes()).hexdigest()[:16]
    coalitions = [members for members in opened_coalitions(session.names) if me in members]
    for number, members in enumerate(coalitions, 1):
        # these very shares, opened again in a later session, show nothing new: they are charged once
        name = "+".join(members)
        with asked_by(session.label_party):
            session.budget.charge_once(f"{AGAIN}{name}/{digest}", kept.rows, share.shape[1])
        mask = Share(session.ring, session.masks.mask(f"{session.name}/{name}", members, share.shape))
        values = session.short(share + mask).packed()
        sent(members, me, values)
        yield Send(session.label_party, CoalitionSum(members, values))
        yield Progress(number, len(coalitions), unit="coalitions")
    return len(coalitions)
