"""Coalition openings: the embedding sums of subsets of feature parties, for masked contribution.

The shares of every prediction were kept by both sides, so a coalition's sum needs no encryption: each
member sends its share under a zero-sum mask of that coalition alone. Sums for S and for S with i give
i's embedding by subtraction, so this runs only when the agreement says so, and every sum is charged to the
opening budget of each member.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

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
from vfl.arithmetic.ring import Ring, pack, unpack
from vfl.protocols.opening import ZeroSumMasks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.protocols.session import Kept
from vfl.terms import FixedPoint

__all__ = ["CoalitionSum", "open_coalitions", "opened_coalitions", "serve_coalitions"]

F64 = NDArray[np.float64]


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


def open_coalitions(
    parties: Sequence[str], kept: Mapping[str, Kept], fixed: FixedPoint
) -> Flow[dict[frozenset[str], F64]]:
    """Label party: each coalition's embedding sums for the predicted rows, float64 (rows, h) in prediction order.

    Learns: the embedding sum of every coalition, hence each feature party's embedding of the predicted rows.
    Leaks: nothing.
    Model: semi-honest.
    Source: docs/protocols/openings.md#coalition-openings; docs/incentives.md#which-way-it-is-computed.
    """
    ring = Ring(fixed.ring_bits)
    opened: dict[frozenset[str], F64] = {}
    coalitions = opened_coalitions(parties)
    for number, members in enumerate(coalitions, 1):
        total = np.zeros_like(kept[members[0]].share)
        for party in members:
            got = yield from receive(party, CoalitionSum)
            if got.members != members:
                raise RemoteProtocolError(f"sent its sum for {got.members} when {members} was due", party)
            try:
                values = unpack(got.values, ring.width, total.size, ring.modulus).reshape(total.shape)
            except ValueError as error:
                raise RemoteProtocolError(str(error), party) from None
            total = ring.add(total, ring.add(values, kept[party].share))
        opened[frozenset(members)] = ring.decode(total, fixed.output_bits)
        yield Progress(number, len(coalitions), unit="coalitions")
    return opened


def serve_coalitions(
    me: str,
    label_party: str,
    parties: Sequence[str],
    kept: Kept,
    fixed: FixedPoint,
    masks: ZeroSumMasks,
    budget: OpeningBudget,
    *,
    session: str,
    consent: bool,
) -> Flow[int]:
    """Feature party: its part in every coalition it belongs to; returns how many sums it sent.

    Learns: nothing.
    Leaks: its share of each coalition's sums under that coalition's mask, charged to the budget first; alone in a
        coalition it has no mask, and its own embedding opens.
    Model: semi-honest; refused without the agreement's consent.
    Source: docs/protocols/openings.md#coalition-openings; docs/incentives.md#which-way-it-is-computed.
    """
    if not consent:
        raise LocalProtocolError("the agreement does not consent to coalition openings")
    ring = Ring(fixed.ring_bits)
    digest = hashlib.sha256(kept.rows.tobytes() + kept.share.tobytes()).hexdigest()[:16]
    coalitions = [members for members in opened_coalitions(parties) if me in members]
    for number, members in enumerate(coalitions, 1):
        # these very shares, opened again in a later session, show nothing new: they are charged once
        name = "+".join(members)
        budget.charge_once(f"value/{name}/{digest}", kept.rows, kept.share.shape[1])
        masked = ring.add(kept.share, masks.mask(f"{session}/{name}", members, kept.share.shape))
        yield Send(label_party, CoalitionSum(members, pack(masked, ring.width)))
        yield Progress(number, len(coalitions), unit="coalitions")
    return len(coalitions)
