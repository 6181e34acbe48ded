"""Valuation of a sealed network's coalitions: the flows of the label party, the anchor and the other feature parties.

What is computed and what opens: :mod:`vfl.models.sealed.coalitions`. Everybody begins with what its training left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, Progress, Recv, RecvAny, RemoteProtocolError, Send, gather, receive
from vfl.arithmetic.bit_packing import pack_bits
from vfl.arithmetic.he import KeyHolder
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.received import MalformedError
from vfl.models.sealed.coalitions import (
    CENTRED_DROP,
    LABEL_BITS,
    NUMBER_DROP,
    CoalitionEmbedding,
    CoalitionNumbers,
    Moments,
    NumbersCommitted,
    Piece,
    Valued,
    ValuedPeriod,
    ValuedRows,
    ValuesEnd,
    cut_numbers,
    numbers_received,
    opened_moments,
    period_chunks,
    period_mean_removed,
    period_sums,
    pieces_of,
)
from vfl.models.sealed.ends import HeldProducts, TakenProducts, evaluate_own, hold_own, take_products, take_slots
from vfl.models.sealed.label import LabelKeys
from vfl.models.sealed.messages import as_told, check_told, elements
from vfl.models.sealed.opens import NUMBER_BITS
from vfl.models.sealed.scales import EMBEDDING_BITS
from vfl.models.sealed.step import score
from vfl.models.sealed.valuation_side import ValuationSide
from vfl.protocols.committed_values import arrays_digest
from vfl.protocols.opening import ZeroSumMasks
from vfl.protocols.opening_budget import asked_by
from vfl.protocols.resume import await_open, open_step
from vfl.protocols.slots import (
    LoadedSlots,
    SlotEvaluator,
    announce_key,
    answer_slots,
    finish_slots,
    offer_slots,
    receive_slots,
)
from vfl.protocols.truncation import LARGEST, evaluate_truncation, hold_truncation

__all__ = ["AnchorValuation", "FeatureValuation", "LabelValuation"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Record = Callable[[U64], None]
Rows = Mapping[int, I64]


class LabelValuation(ValuationSide):
    """The label party's side. keys: of this session. record: keeps its shares of the numbers before they open.

    recorded: its shares of the numbers, where an earlier attempt came that far.
    """

    def value(
        self,
        periods: Sequence[ValuedPeriod],
        opened: Sequence[F64],
        keys: LabelKeys,
        *,
        record: Record | None = None,
        recorded: U64 | None = None,
        commit: Callable[[U64], bytes] = lambda share: arrays_digest(bytes(32), {"ours": share}),
        heard: Callable[[U64, U64, bytes], None] = lambda ours, theirs, values: None,
    ) -> Flow[Moments]:
        """Moments of every coalition. opened: of each period the scores of its rows, which opened in training; () where
        the full coalition's numbers open as well.

        commit: digest of this side's shares, told to the anchor before its own open; salted where it is to say nothing.
        heard: is told both sides' shares, and the anchor's as they arrived.

        Learns: two numbers of 32 bits per coalition and period.
        Leaks: to everyone, which predicted rows have labels in the valued periods.
        Model: whatever this side takes for a label, no more than 32 bits a number arrive.
        Source: docs/protocols/sealed.md#coalition-values.
        """
        chunks = period_chunks(periods)
        for peer in self.members.everyone:
            if peer in self.members.features:
                yield from announce_key(peer, keys.coefficient)
        yield from announce_key(self.members.anchor, keys.slots)
        sums: list[U64] = []
        for number, chunk in enumerate(chunks if recorded is None else []):
            sums.append((yield from self._chunk(number, chunk, keys)))
            yield Progress(number + 1, len(chunks), unit="chunks")
        for peer in self.members.everyone:
            yield Send(peer, ValuesEnd(len(periods), recorded is not None))
        return (yield from self._open(periods, opened, sums, keys, record, recorded, commit, heard))

    def _chunk(self, number: int, chunk: Sequence[ValuedPeriod], keys: LabelKeys) -> Flow[U64]:
        """Its shares of the sums of a chunk, (coalitions, 2, periods)."""
        members, anchor = self.members, self.members.anchor
        pieces = [piece for period in chunk for piece in period.pieces]
        rows = np.concatenate([piece.rows for piece in pieces])
        told = ValuedRows(
            number, tuple(p.period for p in pieces), tuple(p.step for p in pieces),
            tuple(len(p.rows) for p in pieces), rows.astype("<u4").tobytes(),
        )  # fmt: skip
        for peer in members.everyone:
            yield Send(peer, told)
        held = HeldProducts(keys.coefficient)
        parts = yield from gather([self._given(number, pieces, held, name) for name in members.features])
        shares = dict(zip(members.features, parts, strict=True))
        base = np.zeros((len(rows), self.terms.embedding_width), dtype=np.uint64)
        if members.own:
            base = PRIME_RING.add((yield from self._own(number, pieces, keys)), self._local(pieces, members.label))
        labels = np.concatenate([period.labels for period in chunk]).clip(-self.terms.label_clip, self.terms.label_clip)
        y = PRIME_RING.encode(labels, LABEL_BITS)
        yield from offer_slots(anchor, f"labels/{number}", y, keys.slots)
        sums = []
        for place, coalition in enumerate(self.coalitions):
            z = base
            for name in coalition:
                z = PRIME_RING.add(z, shares[name])
            sums.append((yield from self._sums(f"{number}/{place}", z, y, pieces, keys.slots)))
        return np.stack(sums)

    def _given(self, number: int, pieces: Sequence[Piece], held: HeldProducts, peer: str) -> Flow[U64]:
        """Its share of the peer's columns times its own share of their weights."""
        parts = []
        for place, piece in enumerate(pieces):
            weight, label = self._weight(piece, peer), f"value/{number}/{place}"
            parts.append((yield from held.forward(peer, label, weight, len(piece.rows), train=False)))
        return np.concatenate(parts)

    def _own(self, number: int, pieces: Sequence[Piece], keys: LabelKeys) -> Flow[U64]:
        """Its share of its own columns times the anchor's share of their weights."""
        anchor, width, parts = self.members.anchor, self.terms.embedding_width, []
        for place, piece in enumerate(pieces):
            own = self._features[piece.rows].T
            parts.append((yield from hold_own(anchor, f"own/{number}/{place}", own, width, keys.slots)))
        return np.concatenate(parts)

    def _sums(self, name: str, whole: U64, y: U64, pieces: Sequence[Piece], key: KeyHolder) -> Flow[U64]:
        anchor, terms, rows = self.members.anchor, self.terms, len(whole)
        z = yield from hold_truncation(anchor, f"embedding/{name}", whole, self._drop, key, bound=LARGEST)
        yield from offer_slots(anchor, f"square/{name}", z[:, 1:], key)
        cross = yield from finish_slots(anchor, f"square/{name}", rows * terms.width, key)
        made = period_mean_removed(score(z, cross.reshape(rows, terms.width), terms.signs, EMBEDDING_BITS), pieces)
        s = yield from hold_truncation(anchor, f"centred/{name}", made, CENTRED_DROP, key, bound=LARGEST)
        with_label = yield from finish_slots(anchor, f"covariance/{name}", rows, key)
        yield from offer_slots(anchor, f"variance/{name}", s, key)
        with_self = yield from finish_slots(anchor, f"variance/{name}", rows, key)
        covariance = PRIME_RING.add(PRIME_RING.mul(y, s), with_label)
        variance = PRIME_RING.add(PRIME_RING.mul(s, s), PRIME_RING.scale(with_self, 2))
        return np.stack([period_sums(covariance, pieces), period_sums(variance, pieces)])

    def _open(
        self,
        periods: Sequence[ValuedPeriod],
        opened: Sequence[F64],
        sums: Sequence[U64],
        keys: LabelKeys,
        record: Record | None,
        recorded: U64 | None,
        commit: Callable[[U64], bytes],
        heard: Callable[[U64, U64, bytes], None],
    ) -> Flow[Moments]:
        anchor = self.members.anchor
        share = recorded
        if share is None:
            whole = np.concatenate(sums, axis=2)
            cut = yield from hold_truncation(anchor, "numbers", whole, NUMBER_DROP, keys.slots, bound=LARGEST)
            share = cut_numbers(cut, label=True)
        made = share
        yield Send(anchor, NumbersCommitted(commit(share)))
        yield from open_step([anchor], 0, lambda: None if record is None or recorded is not None else record(made))
        got = yield from receive(anchor, CoalitionNumbers)
        if got.count != share.size:
            raise RemoteProtocolError(f"opened {got.count} numbers where {share.size} are due", anchor)
        try:
            theirs = numbers_received(got.values, share)
        except MalformedError as error:
            raise RemoteProtocolError(str(error), anchor) from None
        heard(share, theirs, got.values)
        return opened_moments(tuple(self.members.features), periods, opened, share, theirs, self.coalitions)


class AnchorValuation(ValuationSide):
    """The anchor's side. record, recorded: as for the label party, with the valued rows by period.

    most: numbers that the agreement lets open; more are refused first. opening: is called with the rows just before
    they open, and may refuse. sent: is then told the label party's commitment to its shares, and what is to leave.
    """

    def serve(
        self,
        *,
        most: int,
        record: Callable[[U64, Rows], None] | None = None,
        recorded: tuple[U64, Rows] | None = None,
        opening: Callable[[Rows], None] = lambda rows: None,
        sent: Callable[[bytes, bytes], None] = lambda committed, values: None,
    ) -> Flow[None]:
        """Hold shares until every number is made, and open its shares of the numbers.

        Learns: which predicted rows have labels in the valued periods; shares uniform in Z_p.
        Leaks: to the label party 32 bits per coalition and period.
        Model: semi-honest; together with the label party it sees each coalition's embeddings.
        Source: docs/protocols/sealed.md#coalition-values.
        """
        label = self.members.label
        taken = None
        if self.members.anchored:
            taken = yield from take_products(label, self._stream, self._supply, self._workers)
        slots = yield from take_slots(label, self._stream, self._supply, self._workers)
        sums: list[U64] = []
        valued = Valued()
        try:
            while True:
                chosen, got = yield RecvAny((Recv(label, ValuedRows), Recv(label, ValuesEnd)))
                if chosen == 1:
                    end = cast("ValuesEnd", got)
                    yield from self._open(end, sums, valued, slots, record, recorded, opening, sent)
                    return
                announced = cast("ValuedRows", got)
                pieces = pieces_of(announced, self._scored, valued, label)
                count = len(valued.rows)
                if 2 * len(self.coalitions) * count > most:
                    raise LocalProtocolError(
                        f"{count} periods of {len(self.coalitions)} coalitions open more than the {most} numbers "
                        "that were agreed: value fewer periods"
                    )
                sums.append((yield from self._chunk(announced, pieces, taken, slots)))
        finally:
            if taken is not None:
                taken.close()
            if slots.zeros is not None:
                slots.zeros.close()

    def _chunk(
        self,
        announced: ValuedRows,
        pieces: Sequence[Piece],
        taken: TakenProducts | None,
        slots: SlotEvaluator,
    ) -> Flow[U64]:
        members, width, number = self.members, self.terms.embedding_width, announced.number
        rows = sum(len(piece.rows) for piece in pieces)
        base = mine = np.zeros((rows, width), dtype=np.uint64)
        if taken is not None:
            part = yield from self._taken(number, pieces, taken)
            mine = PRIME_RING.add(part, self._local(pieces, members.anchor))
        if members.own:
            base = yield from self._own(number, pieces, slots)
        labels = yield from receive_slots(members.label, f"labels/{number}", rows, slots)
        sums = []
        for place, coalition in enumerate(self.coalitions):
            z = PRIME_RING.add(base, mine) if members.anchor in coalition else base
            for name in coalition:
                if name != members.anchor:
                    z = PRIME_RING.add(z, (yield from self._masked(name, announced, coalition, (rows, width))))
            sums.append((yield from self._sums(f"{number}/{place}", z, labels, pieces, slots)))
        return np.stack(sums)

    def _own(self, number: int, pieces: Sequence[Piece], slots: SlotEvaluator) -> Flow[U64]:
        """Its share of the label party's own columns times its share of their weights."""
        label, parts = self.members.label, []
        for place, piece in enumerate(pieces):
            held, rows = self._weight(piece, label), len(piece.rows)
            parts.append((yield from evaluate_own(label, f"own/{number}/{place}", held, rows, slots, self._workers)))
        return np.concatenate(parts)

    def _masked(
        self, name: str, announced: ValuedRows, coalition: tuple[str, ...], shape: tuple[int, int]
    ) -> Flow[U64]:
        got = yield from receive(name, CoalitionEmbedding)
        if (got.number, got.members) != (announced.number, coalition):
            raise RemoteProtocolError(f"sent its embedding for {got.members} when {coalition} was due", name)
        check_told(got.told, announced, name, self.members.label)
        return elements(got.values, shape, name)

    def _sums(
        self, name: str, whole: U64, labels: LoadedSlots, pieces: Sequence[Piece], slots: SlotEvaluator
    ) -> Flow[U64]:
        label, terms, rows = self.members.label, self.terms, len(whole)
        z = yield from evaluate_truncation(label, f"embedding/{name}", whole, self._drop, slots, bound=LARGEST)
        loaded = yield from receive_slots(label, f"square/{name}", rows * terms.width, slots)
        cross = yield from answer_slots(label, f"square/{name}", [(loaded, z[:, 1:])], slots)
        made = period_mean_removed(score(z, cross.reshape(rows, terms.width), terms.signs, EMBEDDING_BITS), pieces)
        s = yield from evaluate_truncation(label, f"centred/{name}", made, CENTRED_DROP, slots, bound=LARGEST)
        with_label = yield from answer_slots(label, f"covariance/{name}", [(labels, s)], slots)
        loaded = yield from receive_slots(label, f"variance/{name}", rows, slots)
        with_self = yield from answer_slots(label, f"variance/{name}", [(loaded, s)], slots)
        variance = PRIME_RING.add(PRIME_RING.mul(s, s), PRIME_RING.scale(with_self, 2))
        return np.stack([period_sums(with_label, pieces), period_sums(variance, pieces)])

    def _open(
        self,
        end: ValuesEnd,
        sums: Sequence[U64],
        valued: Valued,
        slots: SlotEvaluator,
        record: Callable[[U64, Rows], None] | None,
        recorded: tuple[U64, Rows] | None,
        opening: Callable[[Rows], None],
        sent: Callable[[bytes, bytes], None],
    ) -> Flow[None]:
        label, shape = self.members.label, (len(self.coalitions), 2, end.periods)
        other = end.again != (recorded is not None) or (not end.again and end.periods != len(valued.rows))
        if other or not end.periods:
            raise RemoteProtocolError("ends a valuation that the anchor has not made", label)
        if recorded is None:
            whole = np.concatenate(sums, axis=2)
            cut = yield from evaluate_truncation(label, "numbers", whole, NUMBER_DROP, slots, bound=LARGEST)
            recorded = cut_numbers(cut, label=False), valued.rows
            if record is not None:
                record(*recorded)
        share, rows = recorded
        if share.shape != shape:
            raise RemoteProtocolError("goes on with a valuation of other periods than the one recorded", label)
        committed = yield from receive(label, NumbersCommitted)
        yield from await_open(label, 0)
        with asked_by(label):
            opening(rows)
        values = pack_bits(share.reshape(-1), NUMBER_BITS)
        sent(committed.digest, values)
        yield Send(label, CoalitionNumbers(share.size, values))


class FeatureValuation(ValuationSide):
    """The side of a feature party that is not the anchor."""

    def serve(self, me: str, masks: ZeroSumMasks) -> Flow[None]:
        """Its part in every coalition that it is a member of.

        Learns: which predicted rows have labels in the valued periods; its own shares.
        Leaks: to the anchor its uniform share under a zero-sum mask of each coalition.
        Model: semi-honest holders that do not pool what they have; pooled, they see each coalition's embeddings, and
            so this party's own.
        Source: docs/protocols/sealed.md#coalition-values.
        """
        label, valued = self.members.label, Valued()
        taken = yield from take_products(label, self._stream, self._supply, self._workers)
        try:
            while True:
                chosen, got = yield RecvAny((Recv(label, ValuedRows), Recv(label, ValuesEnd)))
                if chosen == 1:
                    return
                announced = cast("ValuedRows", got)
                pieces, told = pieces_of(announced, self._scored, valued, label), as_told(announced)
                part = yield from self._taken(announced.number, pieces, taken)
                part = PRIME_RING.add(part, self._local(pieces, me))
                for coalition in self.coalitions:
                    if me not in coalition:
                        continue
                    among = [name for name in coalition if name != self.members.anchor]
                    name = f"value/{self._session}/{announced.number}/{'+'.join(coalition)}"
                    masked = PRIME_RING.pack(PRIME_RING.add(part, masks.mask(name, among, part.shape)))
                    yield Send(self.members.anchor, CoalitionEmbedding(announced.number, coalition, told, masked))
        finally:
            taken.close()
