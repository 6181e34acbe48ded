"""Numbers of coalitions, from shares of their scores: the flows of both holders, whatever model the scores are of.

What is computed and what opens: :mod:`vfl.models.sealed.coalitions`. A kind of model says what shares of a coalition's
scores its sides have, or how they make them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, Progress, Recv, RecvAny, RemoteProtocolError, Send, receive
from vfl.arithmetic.bit_packing import pack_bits
from vfl.arithmetic.he import KeyHolder
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.received import MalformedError
from vfl.models.sealed.coalitions import (
    LABEL_BITS,
    NUMBER_DROP,
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
from vfl.models.sealed.label import LabelKeys
from vfl.models.sealed.messages import Members
from vfl.models.sealed.opens import NUMBER_BITS
from vfl.models.sealed.scales import MEAN_BITS
from vfl.protocols.committed_values import arrays_digest
from vfl.protocols.opening_budget import asked_by
from vfl.protocols.prime_keys import announce_key
from vfl.protocols.resume import await_open, open_step
from vfl.protocols.slots import LoadedSlots, SlotEvaluator, answer_slots, finish_slots, offer_slots, receive_slots
from vfl.protocols.truncation import LARGEST, evaluate_truncation, hold_truncation

__all__ = ["AnchorNumbers", "LabelNumbers", "NumbersSide", "Rows", "CoalitionScores"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Record = Callable[[U64], None]
Rows = Mapping[int, I64]
CoalitionScores = Callable[[str, tuple[str, ...]], Flow[U64]]
"""This side's share (rows,) of a coalition's scores of the rows at hand, under a name of the coalition's own."""


class NumbersSide(ABC):
    """What both holders have: who takes part, fractional bits of a shared score, which rows each prediction had, and
    whose numbers open.
    """

    members: Members
    score_bits: int
    label_clip: float
    predicted: Rows
    coalitions: tuple[tuple[str, ...], ...]

    @property
    def _drop(self) -> int:
        """Bits that a centred score loses before it is multiplied."""
        return self.score_bits + MEAN_BITS - LABEL_BITS


class LabelNumbers(NumbersSide):
    """The label party's side. record: keeps its shares of the numbers before they open.

    recorded: its shares of the numbers, where an earlier attempt came that far.
    """

    @property
    @abstractmethod
    def told(self) -> tuple[str, ...]:
        """Who has a part in the scores, and hears of the rows that are valued."""

    @abstractmethod
    def _begin(self, keys: LabelKeys) -> Flow[None]:
        """Announce what keys the scores need."""

    @abstractmethod
    def _scores(self, number: int, pieces: Sequence[Piece], keys: LabelKeys) -> Flow[CoalitionScores]:
        """What makes its share of each coalition's scores of these rows, ``score_bits`` fractional ones."""

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
        Leaks: to whom has a part in the scores, which predicted rows have labels in the valued periods.
        Model: whatever this side takes for a label, no more than 32 bits a number arrive.
        Source: docs/protocols/sealed.md#coalition-values.
        """
        chunks = period_chunks(periods)
        yield from self._begin(keys)
        yield from announce_key(self.members.anchor, keys.slots)
        sums: list[U64] = []
        for number, chunk in enumerate(chunks if recorded is None else []):
            sums.append((yield from self._chunk(number, chunk, keys)))
            yield Progress(number + 1, len(chunks), unit="chunks")
        for peer in self.told:
            yield Send(peer, ValuesEnd(len(periods), recorded is not None))
        return (yield from self._open(periods, opened, sums, keys, record, recorded, commit, heard))

    def _chunk(self, number: int, chunk: Sequence[ValuedPeriod], keys: LabelKeys) -> Flow[U64]:
        """Its shares of the sums of a chunk, (coalitions, 2, periods)."""
        pieces = [piece for period in chunk for piece in period.pieces]
        rows = np.concatenate([piece.rows for piece in pieces])
        told = ValuedRows(
            number, tuple(p.period for p in pieces), tuple(p.step for p in pieces),
            tuple(len(p.rows) for p in pieces), rows.astype("<u4").tobytes(),
        )  # fmt: skip
        for peer in self.told:
            yield Send(peer, told)
        scores = yield from self._scores(number, pieces, keys)
        labels = np.concatenate([period.labels for period in chunk]).clip(-self.label_clip, self.label_clip)
        y = PRIME_RING.encode(labels, LABEL_BITS)
        yield from offer_slots(self.members.anchor, f"labels/{number}", y, keys.slots)
        sums = []
        for place, coalition in enumerate(self.coalitions):
            name = f"{number}/{place}"
            score = yield from scores(name, coalition)
            sums.append((yield from self._sums(name, score, y, pieces, keys.slots)))
        return np.stack(sums)

    def _sums(self, name: str, score: U64, y: U64, pieces: Sequence[Piece], key: KeyHolder) -> Flow[U64]:
        anchor, rows, made = self.members.anchor, len(score), period_mean_removed(score, pieces)
        s = yield from hold_truncation(anchor, f"centred/{name}", made, self._drop, key, bound=LARGEST)
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


class AnchorNumbers(NumbersSide):
    """The anchor's side. record, recorded: as for the label party, with the valued rows by period.

    most: numbers that the agreement lets open; more are refused first. opening: is called with the rows just before
    they open, and may refuse. sent: is then told the label party's commitment to its shares, and what is to leave.
    """

    @abstractmethod
    def _begin(self) -> Flow[SlotEvaluator]:
        """Take the label party's keys; the end of products element by element."""

    @abstractmethod
    def _end(self) -> None:
        """Let go of what :meth:`_begin` took, but for the slots."""

    @abstractmethod
    def _scores(self, announced: ValuedRows, pieces: Sequence[Piece], slots: SlotEvaluator) -> Flow[CoalitionScores]:
        """As the label party's."""

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
        Model: semi-honest; together with the label party it sees each coalition's scores, and what these are made of.
        Source: docs/protocols/sealed.md#coalition-values.
        """
        label = self.members.label
        slots = yield from self._begin()
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
                pieces = pieces_of(announced, self.predicted, valued, label)
                count = len(valued.rows)
                if 2 * len(self.coalitions) * count > most:
                    raise LocalProtocolError(
                        f"{count} periods of {len(self.coalitions)} coalitions open more than the {most} numbers "
                        "that were agreed: value fewer periods"
                    )
                sums.append((yield from self._chunk(announced, pieces, slots)))
        finally:
            self._end()
            if slots.zeros is not None:
                slots.zeros.close()

    def _chunk(self, announced: ValuedRows, pieces: Sequence[Piece], slots: SlotEvaluator) -> Flow[U64]:
        number, rows = announced.number, sum(len(piece.rows) for piece in pieces)
        scores = yield from self._scores(announced, pieces, slots)
        labels = yield from receive_slots(self.members.label, f"labels/{number}", rows, slots)
        sums = []
        for place, coalition in enumerate(self.coalitions):
            name = f"{number}/{place}"
            score = yield from scores(name, coalition)
            sums.append((yield from self._sums(name, score, labels, pieces, slots)))
        return np.stack(sums)

    def _sums(
        self, name: str, score: U64, labels: LoadedSlots, pieces: Sequence[Piece], slots: SlotEvaluator
    ) -> Flow[U64]:
        label, rows, made = self.members.label, len(score), period_mean_removed(score, pieces)
        s = yield from evaluate_truncation(label, f"centred/{name}", made, self._drop, slots, bound=LARGEST)
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
