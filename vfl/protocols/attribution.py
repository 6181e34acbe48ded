"""Sealed attribution: one number per feature party and period, and nothing about any row.

The label party weights each predicted row's embedding by a slope of its own (:mod:`vfl.contribution.attribution`)
and wants, per party and period, a = sum over rows of <slope, z>, where z is held in shares, A here and B at the
party. The slopes are the label party's secret, so they travel encrypted; B is the party's, so it is the evaluator's
operand.

Shares of the ring do not survive a multiplication by numbers that carry fractional bits: the product leaves the ring.
So both sides first turn their shares of z + t/4, which lies below t/2, into integer shares. Two residues below t that
sum mod t to a number below t/2 have wrapped unless both are below t/2 themselves, so
z + t/4 = A + B - t * (1 - [A < t/2] * [B < t/2]) over the integers, one product of a bit here and a bit there.
Each side then drops the low bits of its own share, and the rest fits the ring again.
Source: wrap from known signs as in Rathee et al., "SIRNN", IEEE S&P 2021, and Huang et al., "Cheetah", USENIX
Security 2022, section 5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from psi.flow import (
    Flow,
    LocalProtocolError,
    Message,
    Payload,
    Progress,
    RemoteProtocolError,
    Role,
    Send,
    gather,
    message,
    receive,
)
from vfl.arithmetic.ring import Ring
from vfl.arithmetic.share import Share
from vfl.protocols.feature_session import FeatureSession
from vfl.protocols.label_session import LabelSession
from vfl.protocols.opening_budget import asked_by
from vfl.protocols.product_flows import hold_product
from vfl.protocols.session import F64, I64, U64, Kept, RingShare, Session

__all__ = ["REACH", "AttributionShares", "attribute", "serve_attribution"]

KEPT_BITS = 20
"""Fractional bits of an embedding that an attribution is made of; the rest is dropped on both sides."""

LIMB_BITS = 12
"""Bits of a feature party's share per row of its operand: what the product's noise bound counts on is 15."""

REACH = 64.0
"""A party's embeddings may be this many times the largest opened sum, averaged with |slope| as weights.

Two parties that cancel each other beyond it would wrap in opposite directions and still add up.
"""


@message(
    "attribution.shares",
    sender=Role.FEATURE,
    receiver=Role.LABEL,
    payload=Payload.SHARE,
    reveals="with the label party's shares: the sender's attribution in each predicted period, one number each",
    source="docs/protocols/attribution.md#without-cutting-a-share; wrap from known signs, Rathee et al. 2021",
)
class AttributionShares(Message):
    """The sender's shares of its attributions, one ring element per predicted period in order."""

    periods: int
    values: bytes


@dataclass(frozen=True)
class _Cut:
    """How shares are cut: ``dropped`` low bits; ``width`` bits remain, of which ``fraction`` are fractional.

    shared: the ring of the shares, in which the numbers of a row open. ring: that of the products.
    """

    shared: Ring
    ring: Ring
    dropped: int
    fraction: int

    @classmethod
    def of(cls, session: Session) -> _Cut:
        fixed = session.fixed
        dropped = max(fixed.output_bits - KEPT_BITS, 0)
        return cls(session.summed_ring, session.ring, dropped, fixed.output_bits - dropped)

    @property
    def width(self) -> int:
        return self.shared.bits - self.dropped

    @property
    def limbs(self) -> int:
        return math.ceil(self.width / LIMB_BITS)

    @property
    def weights(self) -> U64:
        """What the rows of the evaluator's operand count: its limbs, then the wrap bits."""
        return np.array([1 << (LIMB_BITS * limb) for limb in range(self.limbs)] + [1 << self.width], dtype=np.uint64)

    def small(self, share: U64) -> U64:
        """Which shares are below half of their ring."""
        small: U64 = (share >> np.uint64(self.shared.bits - 1) == 0).astype(np.uint64)
        return small

    def combined(self, shares: U64) -> int:
        """One ring element of the shares (limbs + 1, 1) of the products."""
        if self.width >= self.ring.bits:
            shares = shares[:-1]  # t times anything is 0 in the ring
        total = (shares[:, 0] * self.weights[: len(shares)]).sum(dtype=np.uint64)
        return int(total) & (self.ring.modulus - 1)

    def operand(self, share: U64) -> I64:
        """The evaluator's operand (limbs + 1, 2 N): limbs of its cut share, then its wrap bits on the second half."""
        flat = share.reshape(-1)
        kept = flat >> np.uint64(self.dropped)
        left = np.zeros((self.limbs + 1, 2 * len(flat)), dtype=np.int64)
        for limb in range(self.limbs):
            left[limb, : len(flat)] = (kept >> np.uint64(LIMB_BITS * limb)) & np.uint64((1 << LIMB_BITS) - 1)
        left[-1, len(flat) :] = self.small(flat)
        return left


def _encode(slopes: F64, largest: float, cut: _Cut) -> tuple[I64, int]:
    """Slopes as integers and their fractional bits: as many as surely keep the inner product in the ring."""
    weight = float(np.abs(slopes).sum())
    if not weight:
        return np.zeros(slopes.shape, dtype=np.int64), 0
    room = cut.ring.bits - 2 - cut.fraction - math.log2(weight * max(REACH * largest, 2.0**-cut.fraction))
    bits = min(math.floor(room), 40 - math.ceil(math.log2(float(np.abs(slopes).max()))))
    encoded = np.rint(np.ldexp(slopes, bits)).astype(np.int64)
    if not encoded.any():
        raise LocalProtocolError("attribution slopes do not fit the ring: raise fixed_point.ring_bits")
    return encoded, bits


def attribute(
    session: LabelSession, kept: Mapping[str, Kept], slopes: F64, embeddings: F64, entities: int
) -> Flow[dict[str, F64]]:
    """Label party: each party's sum over rows of <slope, embedding>, float64 (periods,) in prediction order.

    slopes, embeddings: float64 (rows, h) in the order of ``kept``, the label party's secret and the opened sums; a
    slope of 0 leaves a row out without telling anyone. A number is off by 2**-21 times the sum of |slope| at most, and
    by the rounding of the slopes, which all parties share: their numbers add up to <slope, opened sum>. Raises
    LocalProtocolError where they do not.

    Learns: one number per feature party and predicted period.
    Leaks: the number of rows of each period, which was known; slopes are encrypted.
    Model: semi-honest. A label party that cheats may choose its slopes, and so reads one linear form of a period's
        rows instead, per party and period; each row is charged one opening for it.
    Source: docs/protocols/attribution.md#without-cutting-a-share; wrap from known signs, Rathee et al., SIRNN, 2021.
    """
    cut, parties = _Cut.of(session), session.names
    yield from session.start()
    rows = kept[parties[0]].rows
    if any(not np.array_equal(kept[party].rows, rows) for party in parties) or slopes.shape != embeddings.shape:
        raise LocalProtocolError("attribution needs every party's shares of the same rows, and a slope for each")
    held: dict[str, list[int]] = {party: [] for party in parties}
    extras: dict[str, list[float]] = {party: [] for party in parties}
    bits: list[int] = []
    groups = _by_period(rows, entities)
    for number, inside in enumerate(groups):
        encoded, scale = _encode(slopes[inside], float(np.abs(embeddings[inside]).max(initial=0.0)), cut)
        bits.append(scale)
        parts = [
            _Held(cut, session.short(kept[party].share[inside], ring=cut.shared).elements, encoded) for party in parties
        ]
        products = yield from _hold_period(session, number, parts, cut.limbs + 1)
        for party, part, product in zip(parties, parts, products, strict=True):
            held[party].append((part.local + cut.combined(product)) % cut.ring.modulus)
            extras[party].append(part.correction)
        yield Progress(number + 1, len(groups), unit="periods")
    found = {}
    for party in parties:
        theirs = yield from _receive_shares(session, party, len(groups))
        total = Share(cut.ring, np.array(held[party], dtype=np.uint64)) + theirs
        units = cut.ring.signed(total.elements) + np.array(extras[party])
        found[party] = np.ldexp(units, -cut.fraction - np.array(bits))
    _check_total(found, slopes, embeddings, groups)
    return found


def _hold_period(session: LabelSession, number: int, parts: Sequence[_Held], height: int) -> Flow[list[U64]]:
    """The label party's shares of one period's products (height, 1), by party."""
    flows = []
    for party, part in zip(session.parties, parts, strict=True):
        packing = session.packing(height, len(part.right), 1)
        flows.append(hold_product(party, f"attribution/{number}", part.right, height, session.key, packing))
    return (yield from gather(flows))


class _Held:
    """The label party's part of one party's inner products in one period."""

    def __init__(self, cut: _Cut, share: U64, slopes: I64) -> None:
        ring, flat = cut.ring, slopes.reshape(-1)
        quarter = np.uint64(1 << (cut.shared.bits - 2))
        moved = cut.shared.add(share.reshape(-1), quarter)  # type: ignore[arg-type]
        kept = (moved >> np.uint64(cut.dropped)).astype(np.int64)
        whole = kept - (1 << cut.width) - (1 << (cut.width - 2))
        self.local = sum(int(g) * int(z) for g, z in zip(flat, whole, strict=True)) % ring.modulus
        wrapped = ring.wrap(flat)
        self.right: U64 = np.concatenate([wrapped, wrapped * cut.small(moved)])[:, None]
        low = (moved & np.uint64((1 << cut.dropped) - 1)).astype(np.float64)
        # the party's own dropped bits are unknown here: half a unit is their mean
        self.correction = float(flat @ (np.ldexp(low, -cut.dropped) + 0.5)) if cut.dropped else 0.0


def _by_period(rows: I64, entities: int) -> list[I64]:
    """Positions of each period's rows, in the order in which the periods were predicted."""
    periods = rows // entities
    _, first = np.unique(periods, return_index=True)
    return [np.flatnonzero(periods == periods[start]) for start in np.sort(first)]


def _receive_shares(session: LabelSession, party: str, periods: int) -> Flow[RingShare]:
    got = yield from receive(party, AttributionShares)
    if got.periods != periods:
        raise RemoteProtocolError(f"sent attributions of {got.periods} periods where {periods} were predicted", party)
    return session.received(got.values, (periods,), party)


def _check_total(found: Mapping[str, F64], slopes: F64, embeddings: F64, groups: Sequence[I64]) -> None:
    """The parties' numbers add up to what the opened sums give."""
    sums = np.sum(list(found.values()), axis=0)
    for total, inside in zip(sums, groups, strict=True):
        products = slopes[inside] * embeddings[inside]
        norm = float(np.linalg.norm(slopes[inside])) * max(float(np.linalg.norm(embeddings[inside])), 1e-2)
        if abs(float(products.sum()) - float(total)) > 1e-3 * norm:
            raise LocalProtocolError(
                "the attributions do not add up to the opened sums: a party's embeddings are beyond the agreed reach"
            )


def serve_attribution(session: FeatureSession, kept: Kept, entities: int, *, consent: bool) -> Flow[int]:
    """Feature party: its part in one inner product per predicted period; returns how many numbers were opened.

    Learns: nothing; the slopes come encrypted.
    Leaks: one ring element per predicted period, with which the label party reads one number, charged to the budget
        as one opening of each of the period's rows: a cheating label party could put all weight on one.
    Model: semi-honest; refused without the agreement's consent.
    Source: docs/protocols/attribution.md#without-cutting-a-share; wrap from known signs, Rathee et al., SIRNN, 2021.
    """
    if not consent:
        raise LocalProtocolError("the agreement does not consent to attribution")
    cut = _Cut.of(session)
    key = yield from session.take_key()
    groups = _by_period(kept.rows, entities)
    found = np.zeros(len(groups), dtype=np.uint64)
    # one bit more of each number than its prediction told: an opened number tells five
    extra = -(-kept.share.shape[1] // 5)
    try:
        for number, inside in enumerate(groups):
            left = cut.operand(session.short(kept.share[inside], ring=cut.shared).elements)
            label = f"attribution/{number}"
            share = yield from key.product(label, key.prepared(left, 1), 1)
            with asked_by(session.label_party):
                session.budget.charge(f"{session.name}/{label}", kept.rows[inside], extra)
            found[number] = cut.combined(share.elements)
            yield Progress(number + 1, len(groups), unit="periods")
    finally:
        key.close()
    yield Send(session.label_party, AttributionShares(len(groups), Share(cut.ring, found).packed()))
    return len(groups)
