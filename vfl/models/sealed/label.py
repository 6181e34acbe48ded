"""The label party of the sealed network: first holder of shares, and the only one that sees a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, RemoteProtocolError, Send, gather, receive
from vfl.arithmetic.he import KeyHolder
from vfl.arithmetic.parameter_sets import COEFFICIENT_SET, SLOT_SET
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.models.sealed.columns import Columns
from vfl.models.sealed.ends import HeldProducts, hold_own
from vfl.models.sealed.messages import Members, SealedStep, UpdateShare, elements
from vfl.models.sealed.opened_scores import check_scores, open_scores, short_share
from vfl.models.sealed.products import LabelProducts
from vfl.models.sealed.records import (
    LabelJournal,
    ResumedScores,
    Scored,
    StepRecord,
    blocks_in,
    blocks_out,
    check_repeated,
    scored_in,
)
from vfl.models.sealed.scales import (
    EMBEDDING_BITS,
    HELD_BITS,
    PREDICTED_BITS,
    RESIDUAL_DROP,
    SCORE_BITS,
    WEIGHT_BITS,
    Bounds,
    Update,
    beyond_score_limit,
    check_ranges,
)
from vfl.models.sealed.score_range import Predicted, check_range, folded
from vfl.models.sealed.step import Block, centred, gradient, next_block, score, update_input
from vfl.models.sealed.tied import by_head
from vfl.protocols.prime_keys import announce_key
from vfl.protocols.resume import open_step
from vfl.protocols.session import Done
from vfl.protocols.slots import finish_slots, offer_slots
from vfl.protocols.truncation import hold_truncation
from vfl.terms import FixedPoint, SealedModel
from vfl.walk.schedule import Step

__all__ = ["LabelKeys", "SealedLabel"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class LabelKeys:
    """The label party's keys of one session: of matrix products, and of products element by element."""

    coefficient: KeyHolder
    slots: KeyHolder

    def __post_init__(self) -> None:
        if (self.coefficient.context.name, self.slots.context.name) != (COEFFICIENT_SET, SLOT_SET):
            raise LocalProtocolError(f"the label party's keys are of {COEFFICIENT_SET!r} and {SLOT_SET!r}")


class SealedLabel:
    """One session of the label party. ``start`` comes first, then a flow for each step, then ``finish``.

    features: its own small integers (rows, d), d may be 0. weights: its shares of the initial weights, of every feature
    party's columns and of its own, (d, h + 1) by name. session, journal, resumed, predicted: as for a feature party.
    ``scored`` is what it leaves for coalition values. It holds every key and evaluates nothing.
    """

    def __init__(
        self,
        members: Members,
        features: Columns,
        weights: Mapping[str, U64],
        terms: SealedModel,
        fixed: FixedPoint,
        keys: LabelKeys,
        *,
        session: str,
        journal: LabelJournal | None = None,
        resumed: ResumedScores | None = None,
        predicted: Sequence[StepRecord] = (),
    ) -> None:
        if features.shape[1] != members.own:
            raise LocalProtocolError(f"{members.own} own columns were agreed and {features.shape[1]} brought")
        shapes = {name: (count, terms.embedding_width) for name, count in self.columns_held(members).items()}
        if {name: weight.shape for name, weight in weights.items()} != shapes:
            raise LocalProtocolError(f"the label party's initial weights have shapes {shapes}")
        check_ranges(terms, fixed, terms.batch_rows, members.columns)
        self.members, self.terms, self.fixed = members, terms, fixed
        self.blocks = {name: Block.starting(weight) for name, weight in weights.items()}
        if resumed is not None:
            self.blocks = blocks_in(resumed.record.arrays, shapes)
        self.scored: dict[int, Scored] = scored_in(predicted)
        self.held: dict[int, StepRecord] = {}
        self._features, self._keys, self._held = features, keys, HeldProducts(keys.coefficient)
        self._products = LabelProducts(members, keys.slots)
        self._session, self._journal, self._record = session, journal, None if resumed is None else resumed.record
        self._steps = 0

    @staticmethod
    def columns_held(members: Members) -> dict[str, int]:
        """Columns of the weights that the label party holds shares of: everybody's, a tied group's once."""
        own = {members.label: members.own} if members.own else {}
        return members.heads | own | {pair.name: pair.count for pair in members.products}

    def start(self) -> Flow[None]:
        """Send the session's public keys.

        Learns: nothing.
        Leaks: nothing.
        Model: semi-honest.
        Source: docs/protocols/product.md#operand-and-answer.
        """
        members = self.members
        for peer in members.everyone:
            if peer in members.features:
                yield from announce_key(peer, self._keys.coefficient)
            yield from announce_key(peer, self._keys.slots)

    def finish(self) -> Flow[None]:
        """Tell everyone that the session is over.

        Learns: nothing.
        Leaks: the number of steps.
        Model: semi-honest.
        Source: docs/protocols/sealed.md#a-step.
        """
        for peer in self.members.everyone:
            yield Send(peer, Done(self._steps))

    def _announce(self, step: Step, *, again: bool) -> Flow[None]:
        self._steps += 1
        told = SealedStep(step.number, step.kind == "train", step.rows.astype("<u4").tobytes(), step.known, again)
        for peer in self.members.everyone:
            yield Send(peer, told)

    def _keep(self, step: Step, scores: Mapping[str, U64] | None = None) -> StepRecord:
        """The record of the step under way, fresh or as it was."""
        record, self._record = self._record, None
        if record is not None:
            check_repeated(record, step.number, step.kind == "train", step.rows, self.members.label)
            return record
        arrays = blocks_out(self.blocks) | dict(scores or {})
        made = StepRecord(self._session, step.number, step.kind == "train", step.rows, arrays)
        if self._journal is not None:
            self._journal.hold(made)
        return made

    def train(self, step: Step, label: F64) -> Flow[None]:
        """One step on the batch ``step.rows``. label: float64 (B,), standardised and finite.

        Learns: its own shares, uniform in Z_p; nothing of the rows.
        Leaks: row ids and the number of rows with labels, to everyone; ciphertexts and uniform shares to the anchor.
        Model: semi-honest.
        Source: docs/protocols/sealed.md#a-step.
        """
        if not np.isfinite(label).all() or label.shape != step.rows.shape:
            raise LocalProtocolError("a training step takes one finite label of each row")
        self._keep(step)
        yield from self._announce(step, again=False)
        number, terms, anchor, key = step.number, self.terms, self.members.anchor, self._keys.slots
        bounds = check_ranges(terms, self.fixed, len(step.rows), self.members.columns)
        left = self._features[step.rows]
        whole = yield from self._forward(step, left)
        z = yield from hold_truncation(
            anchor, f"embedding/{number}", whole, self._drop(EMBEDDING_BITS), key, bound=bounds.forward
        )
        cross = yield from self._crossed(f"square/{number}", z[:, 1:])
        made = score(z, cross, terms.signs, EMBEDDING_BITS)
        clipped = np.clip(label, -terms.label_clip, terms.label_clip)
        made = PRIME_RING.sub(made, PRIME_RING.encode(clipped, 2 * EMBEDDING_BITS))
        residual = yield from hold_truncation(
            anchor, f"residual/{number}", centred(made), RESIDUAL_DROP, key, bound=bounds.residual
        )
        cross = yield from self._crossed(f"gradient/{number}", np.repeat(residual[:, None], terms.width, axis=1))
        slope = gradient(residual, z, cross)
        yield from self._backward(step, left, slope, bounds)

    def _crossed(self, name: str, factors: U64) -> Flow[U64]:
        """Its share of its factors (B, h) times the anchor's; nothing is sent where there is no squared column."""
        if not factors.size:
            return factors
        yield from offer_slots(self.members.anchor, name, factors, self._keys.slots)
        cross = yield from finish_slots(self.members.anchor, name, factors.size, self._keys.slots)
        return cross.reshape(factors.shape)

    def _drop(self, kept: int) -> int:
        return self.fixed.feature_bits + WEIGHT_BITS - kept

    def _forward(self, step: Step, left: I64) -> Flow[U64]:
        """Its share of the embedding of the batch, (B, h + 1)."""
        members, width, rows = self.members, self.terms.embedding_width, len(step.rows)
        flows = [
            self._held.forward(
                name,
                f"forward/{step.number}",
                self.blocks[members.head(name)].weight,
                rows,
                train=step.kind == "train",
            )
            for name in members.features
        ]
        if members.own:
            flows.append(hold_own(members.anchor, f"own/{step.number}", left.T, width, self._keys.slots))
        weights = {name: block.weight for name, block in self.blocks.items()}
        flows += self._products.forward(str(step.number), weights, rows, train=step.kind == "train")
        total = np.zeros((rows, width), dtype=np.uint64)
        if members.own:
            total = PRIME_RING.matmul(left, self.blocks[members.label].weight)
        for part in (yield from gather(flows)):
            total = PRIME_RING.add(total, part)
        return total

    def _backward(self, step: Step, left: I64, slope: U64, bounds: Bounds) -> Flow[None]:
        """Its part of every party's gradient sum; the update of the weights."""
        members, name = self.members, f"backward/{step.number}"
        self._held.begin()
        flows = [self._held.backward(peer, name, slope, count) for peer, count in members.features.items()]
        flows += [self._passed_on(step, peer) for peer in members.others]
        if members.own:
            width = self.terms.embedding_width
            flows.append(hold_own(members.anchor, f"own-{name}", left, width, self._keys.slots))
        found = yield from gather(flows + self._products.backward(str(step.number), slope))
        parts = found[: len(flows)]
        summed = dict(zip(members.features, parts, strict=False))
        for peer, part in zip(members.others, parts[len(summed) :], strict=False):
            summed[peer] = PRIME_RING.add(summed[peer], part)
        summed = by_head(members, summed)
        if members.own:
            summed[members.label] = PRIME_RING.add(parts[-1], PRIME_RING.matmul(left.T, slope))
        summed |= self._products.summed(found[len(flows) :])
        update = Update.of(self.terms, self.fixed, len(step.rows), step.known, members.columns)
        total = {name: update_input(block, summed[name], update) for name, block in self.blocks.items()}
        groups = [(members.anchor, [n for n in (members.anchor, members.label) if n in total])]
        groups += [(peer, [peer]) for peer in members.heads if peer != members.anchor]
        groups = [(peer, [*names, *members.products_held(peer)]) for peer, names in groups]
        groups = [(peer, names) for peer, names in groups if names]
        speeds = yield from gather(
            [
                hold_truncation(
                    peer,
                    f"update/{step.number}",
                    np.concatenate([total[name] for name in names]),
                    update.shift,
                    self._keys.slots,
                    bound=bounds.update,
                )
                for peer, names in groups
            ]
        )
        for (_, names), speed in zip(groups, speeds, strict=True):
            start = 0
            for name in names:
                stop = start + len(total[name])
                self.blocks[name] = next_block(self.blocks[name], speed[start:stop])
                start = stop

    def _passed_on(self, step: Step, party: str) -> Flow[U64]:
        """The anchor's share of the party's gradient sum."""
        anchor = self.members.anchor
        got = yield from receive(anchor, UpdateShare)
        if (got.step, got.party) != (step.number, party):
            raise RemoteProtocolError(f"passed on the update of {got.party!r} when that of {party!r} was due", anchor)
        return elements(got.values, (self.members.features[party], self.terms.embedding_width), anchor)

    def predict(self, step: Step) -> Flow[F64]:
        """Open the scores of ``step.rows``, float64 (B,), in the label's deviations.

        Raises LocalProtocolError where one is beyond +-score_limit, and has wrapped.

        Learns: 17 bits of each row: its score; and whether one wrapped, 1 bit.
        Leaks: row ids to everyone; ciphertexts to the anchor, and whether a score wrapped.
        Model: whatever this side put into weights and operands, no more than 17 bits a row and this 1 arrive.
        Source: docs/protocols/sealed.md#a-step.
        """
        again = self._record is not None
        yield from self._announce(step, again=again)
        share = None if again else (yield from self._score(step))
        anchor, number = self.members.anchor, step.number
        held: list[StepRecord] = []
        if self._journal is None:
            held.append(self._keep(step, share))
        else:
            yield from open_step([anchor], number, lambda: held.append(self._keep(step, share)))
        self.scored[number] = Scored(step.rows, {name: block.weight for name, block in self.blocks.items()})
        kept, fraction = held[0].arrays, self.terms.score_fraction
        scores = yield from open_scores(anchor, number, kept["scores"], fraction)
        check_scores(step, scores, self.terms)
        this = Predicted(self.terms.seed, number, beyond_score_limit(self.terms, number))
        yield from check_range(anchor, this, kept["check"].astype(np.uint64), scores, fraction, self._keys.slots.draw)
        if self._journal is not None:
            self._journal.predicted(number, scores)
        return scores

    def hold(self, step: Step) -> Flow[None]:
        """In place of :meth:`predict` where another model begins at the linear score: its share of it is kept.

        Learns: its own share, uniform in Z_p.
        Leaks: row ids to everyone; ciphertexts to the anchor.
        Model: semi-honest; nothing opens.
        Source: docs/protocols/trees.md#a-linear-start.
        """
        again = self._record is not None
        yield from self._announce(step, again=again)
        share = None
        if not again:
            whole = yield from self._forward(step, self._features[step.rows])
            bound = check_ranges(self.terms, self.fixed, self.terms.batch_rows, self.members.columns).forward
            name, drop = f"held/{step.number}", self._drop(HELD_BITS)
            share = yield from hold_truncation(
                self.members.anchor, name, whole[:, 0], drop, self._keys.slots, bound=bound
            )
        self.held[step.number] = self._keep(step, None if share is None else {"scores": share})

    def mark(self, step: Step) -> Flow[None]:
        """In a trial, in place of :meth:`predict`: everyone keeps the weights as they are now, for ``step.rows``.

        Learns: nothing.
        Leaks: row ids to everyone.
        Model: the others' sides open no score in a trial, whatever they are asked.
        Source: docs/protocols/sealed.md#trials.
        """
        yield from self._announce(step, again=self._record is not None)
        self._keep(step)
        self.scored[step.number] = Scored(step.rows, {name: block.weight for name, block in self.blocks.items()})

    def _score(self, step: Step) -> Flow[dict[str, U64]]:
        """Its share modulo 2**17 of each row's score, and the sum by which they are checked."""
        number, terms, anchor, key = step.number, self.terms, self.members.anchor, self._keys.slots
        bounds = check_ranges(terms, self.fixed, terms.batch_rows, self.members.columns)
        left = self._features[step.rows]
        whole = yield from self._forward(step, left)
        z = yield from hold_truncation(
            anchor, f"embedding/{number}", whole, self._drop(PREDICTED_BITS), key, bound=bounds.forward
        )
        cross = yield from self._crossed(f"square/{number}", z[:, 1:])
        made = score(z, cross, terms.signs, PREDICTED_BITS)
        share = yield from hold_truncation(
            anchor, f"score/{number}", made, 2 * PREDICTED_BITS - terms.score_fraction, key, bound=bounds.score
        )
        return {"scores": short_share(share, SCORE_BITS), "check": folded(terms.seed, number, share)}
