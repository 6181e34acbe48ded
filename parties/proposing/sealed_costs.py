"""What a sealed run would cost, counted from its agreement: steps, bytes of each link, and seconds of one core.

Bytes are those of operands, answers, masked embeddings, passed-on shares and a tied group's digests, which are nearly
all of the traffic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import permutations

from parties.agreement.document import Agreement
from parties.agreement.sealed_terms import sealed_members
from vfl.models.sealed.coalitions import CHUNK_ROWS, valued_coalitions
from vfl.models.sealed.ends import own_packing, packing_of
from vfl.models.sealed.messages import Members
from vfl.protocols.operations import Operations
from vfl.protocols.slots import ciphertexts_of
from vfl.terms import SealedModel
from vfl.walk.schedule import PREDICT_ROWS

__all__ = [
    "ANSWER_BYTES",
    "DIGEST_BYTES",
    "ELEMENT_BYTES",
    "OPERAND_BYTES",
    "SLOT_ANSWER_BYTES",
    "SLOT_OPERAND_BYTES",
    "SealedCost",
    "SealedSteps",
    "SlotWork",
    "sealed_cost",
    "sealed_steps",
    "valued_cost",
    "add_scored",
    "counted",
    "own_product",
]

_DEGREE = 8192
_RESIDUE, _SEED_BYTES = 8, 64
ELEMENT_BYTES = 8
DIGEST_BYTES = 32
ANSWER_BYTES = 2 * _DEGREE * _RESIDUE
"""One polynomial under the two primes of an answer, in either mode."""
OPERAND_BYTES = ANSWER_BYTES + _SEED_BYTES
SLOT_OPERAND_BYTES = 3 * _DEGREE * _RESIDUE + _SEED_BYTES
SLOT_ANSWER_BYTES = 2 * ANSWER_BYTES


@dataclass(frozen=True)
class SealedSteps:
    """``train`` steps of ``batch`` rows, and ``predict`` ones of at most PREDICT_ROWS."""

    rows: int
    batch: int
    train: int
    predict: int


@dataclass
class SlotWork:
    """Slot ciphertexts, both sides: ``answers`` of them, and the multiplications that they take."""

    answers: int = 0
    multiplications: int = 0

    def add(self, elements: int, times: int, terms: int = 1) -> int:
        """``times`` products of vectors of so many elements, each a sum of ``terms``; ciphertexts of one."""
        count = ciphertexts_of(elements)
        self.answers += count * times
        self.multiplications += count * times * terms
        return count

    @property
    def operations(self) -> Operations:
        return Operations(self.answers, self.answers, self.multiplications, self.multiplications)


@dataclass
class SealedCost:
    """products: matrix products; own: those under the key of slot mode. sent: bytes by (sender, receiver)."""

    products: Operations = field(default_factory=lambda: Operations(0, 0, 0, 0))
    own: Operations = field(default_factory=lambda: Operations(0, 0, 0, 0))
    slots: SlotWork = field(default_factory=SlotWork)
    sent: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __add__(self, other: SealedCost) -> SealedCost:
        slots = SlotWork(
            self.slots.answers + other.slots.answers, self.slots.multiplications + other.slots.multiplications
        )
        return SealedCost(self.products + other.products, self.own + other.own, slots, self.sent + other.sent)

    def sent_by(self, party: str) -> int:
        return sum(size for (sender, _), size in self.sent.items() if sender == party)

    def received_by(self, party: str) -> int:
        return sum(size for (_, receiver), size in self.sent.items() if receiver == party)

    def seconds(self, times: Mapping[str, float], slot_times: Mapping[str, float], share: float) -> float:
        """Of one core, where SEAL's operations take these times and are ``share`` of the whole."""
        return (self.products.seconds(times) + (self.own + self.slots.operations).seconds(slot_times)) / share


def sealed_steps(agreement: Agreement, entities: int) -> SealedSteps:
    """The run's steps if ``entities`` are common to all and every label is there as soon as the horizon has passed.

    Those of a search's trials are among them.
    """
    assert isinstance(agreement.model, SealedModel)
    found = _steps(agreement, agreement.model, len(agreement.periods), entities)
    for terms in agreement.configurations:
        trial = _steps(agreement, terms, agreement.reported_from, entities)
        found = replace(found, train=found.train + trial.train, predict=found.predict + trial.predict)
    return found


def _steps(agreement: Agreement, model: SealedModel, periods: int, entities: int) -> SealedSteps:
    """The steps of one training over the first ``periods``."""
    walk = agreement.walk_forward
    predicted = max(1, periods - walk.warmup - max(1, walk.longest + walk.embargo) + 1)
    rows = periods * entities
    return SealedSteps(
        rows=rows,
        batch=min(model.batch_rows, rows),
        train=model.warmup_steps + model.steps * (predicted - 1),
        predict=predicted * -(-entities // PREDICT_ROWS),
    )


def sealed_cost(agreement: Agreement, entities: int) -> SealedCost:
    """The whole run's work and bytes, training and prediction; those of a search's trials before it.

    What values a trial's periods is counted as their prediction.
    """
    members, cost, model = sealed_members(agreement), SealedCost(), agreement.model
    assert isinstance(model, SealedModel)
    every, before = len(agreement.periods), agreement.reported_from if agreement.search is not None else 0
    for terms, periods in ((model, every), *((tried, before) for tried in agreement.configurations)):
        steps = _steps(agreement, terms, periods, entities)
        predicted = min(entities, PREDICT_ROWS)
        for rows, times, train in ((steps.batch, steps.train, True), (predicted, steps.predict, False)):
            _products(cost, members, terms.embedding_width, rows, times, train=train)
            _slots(cost, members, terms, rows, times, train=train)
            _digests(cost, members, times)
    return cost


def valued_cost(agreement: Agreement, entities: int) -> SealedCost:
    """What opens coalitions' numbers, if every reported period has a label of each of so many entities."""
    cost, members, model = SealedCost(), sealed_members(agreement), agreement.model
    assert isinstance(model, SealedModel)
    if agreement.openings.contribution != "moments":
        return cost
    pieces = -(-entities // PREDICT_ROWS)
    periods = _steps(agreement, model, len(agreement.periods), entities).predict // pieces
    if agreement.evaluation.first:
        periods = min(periods, len(agreement.periods) - agreement.reported_from)
    width, label, anchor = model.embedding_width, members.label, members.anchor
    _products(cost, members, width, min(entities, PREDICT_ROWS), periods * pieces, train=False)
    coalitions = valued_coalitions(tuple(members.features))
    for name in members.others:  # one embedding is counted with the products
        masked = sum(name in coalition for coalition in coalitions) - 1
        cost.sent[name, anchor] += masked * periods * entities * width * ELEMENT_BYTES
    together = max(1, CHUNK_ROWS // entities)
    for rows in (min(together, periods - start) * entities for start in range(0, periods, together)):
        # a truncation, squares, a truncation of what is centred, its products with labels and with itself
        for elements in (rows * width, rows * model.width, rows, rows, rows):
            if elements:
                count = cost.slots.add(elements, len(coalitions))
                cost.sent[label, anchor] += len(coalitions) * count * SLOT_OPERAND_BYTES
                cost.sent[anchor, label] += len(coalitions) * count * SLOT_ANSWER_BYTES
    return cost


def _digests(cost: SealedCost, members: Members, steps: int) -> None:
    """What members of a tied group tell each other before every step."""
    for one, other in ((a, b) for group in members.tied for a, b in permutations(group, 2)):
        cost.sent[one, other] += steps * DIGEST_BYTES


def add_scored(cost: SealedCost, members: Members, model: SealedModel, rows: int) -> None:
    """Scores of so many rows, made as for a prediction."""
    batch, times = min(rows, PREDICT_ROWS), -(-rows // PREDICT_ROWS)
    _products(cost, members, model.embedding_width, batch, times, train=False)
    _slots(cost, members, model, batch, times, train=False)
    _digests(cost, members, times)


def _products(cost: SealedCost, members: Members, width: int, rows: int, times: int, *, train: bool) -> None:
    """The matrix products of ``times`` steps: each party under the label party's key, and the anchor's beside it."""
    label, anchor = members.label, members.anchor
    if members.own:
        _own_products(cost, members, width, rows, times, train=train)
    _pair_products(cost, members, width, rows, times, train=train)
    for evaluator, columns in members.features.items():
        holder, beside = label, evaluator != anchor
        packing = packing_of(rows, columns, width, train=train)
        forward, again = packing.operations(rows, columns, width), packing.again(rows, columns, width)
        done = [(holder, forward, rows)]
        done += [(holder, again, columns)] if train else []
        done += [(anchor, again, columns)] if train and beside else []
        for key_holder, needed, answered in done:
            cost.products += counted(needed, times)
            cost.sent[key_holder, evaluator] += times * needed.inputs * OPERAND_BYTES
            answer = needed.outputs * ANSWER_BYTES + answered * width * 2 * _RESIDUE
            cost.sent[evaluator, key_holder] += times * answer
        lead = members.head(evaluator)
        if train and lead != evaluator:
            cost.sent[evaluator, lead] += times * columns * width * ELEMENT_BYTES
            cost.sent[lead, evaluator] += times * columns * width * ELEMENT_BYTES
        if beside:
            cost.sent[evaluator, anchor] += times * rows * width * ELEMENT_BYTES
            cost.sent[anchor, label] += times * columns * width * ELEMENT_BYTES * train


def _own_products(cost: SealedCost, members: Members, width: int, rows: int, times: int, *, train: bool) -> None:
    """Products of the label party's own columns, which the anchor evaluates under the key of slot mode."""
    label, anchor, own = members.label, members.anchor, members.own
    for inner, columns in [(own, rows), (rows, own)][: 1 + train]:
        own_product(cost, label, anchor, (width, inner, columns), times)


def _pair_products(cost: SealedCost, members: Members, width: int, rows: int, times: int, *, train: bool) -> None:
    """Product columns: the owners' slot product of their halves, and what both multiply by their shares of it."""
    label, anchor = members.label, members.anchor
    for pair in members.products:
        count = cost.slots.add(rows * pair.count, times)
        cost.sent[pair.holder, pair.other] += times * count * SLOT_OPERAND_BYTES
        cost.sent[pair.other, pair.holder] += times * count * SLOT_ANSWER_BYTES
        packing = packing_of(rows, pair.count, width, train=train)
        forward, again = packing.operations(rows, pair.count, width), packing.again(rows, pair.count, width)
        for owner in pair.owners:
            done = [(label, forward, rows)]
            done += [(label, again, pair.count)] if train else []
            done += [(anchor, again, pair.count)] if train and owner != anchor else []
            for key_holder, needed, answered in done:
                cost.own += counted(needed, times)
                cost.sent[key_holder, owner] += times * needed.inputs * SLOT_OPERAND_BYTES
                cost.sent[owner, key_holder] += times * (
                    needed.outputs * ANSWER_BYTES + answered * width * 2 * _RESIDUE
                )
        if train:
            cost.slots.add(pair.count * width, times)
            cost.sent[label, pair.holder] += times * SLOT_OPERAND_BYTES
            cost.sent[pair.holder, label] += times * SLOT_ANSWER_BYTES


def own_product(cost: SealedCost, label: str, anchor: str, shape: tuple[int, int, int], times: int) -> None:
    """``times`` products (width, inner, columns) of the label party's numbers and the anchor's shares."""
    width, inner, columns = shape
    needed = own_packing(width, inner, columns).operations(width, inner, columns)
    cost.own += counted(needed, times)
    cost.sent[label, anchor] += times * needed.inputs * SLOT_OPERAND_BYTES
    answer = needed.outputs * ANSWER_BYTES + width * columns * 2 * _RESIDUE
    cost.sent[anchor, label] += times * answer


def _slots(cost: SealedCost, members: Members, model: SealedModel, rows: int, times: int, *, train: bool) -> None:
    """Slot products of ``times`` steps; the label party holds the key."""
    label, anchor, width = members.label, members.anchor, model.embedding_width
    done = [(anchor, rows * width, 1), (anchor, rows * model.width, 1), (anchor, rows, 1)]
    if train:
        done.append((anchor, rows * model.width, 2))
        done.append((anchor, (members.features.get(anchor, 0) + members.own) * width, 1))
        done += [(name, count * width, 1) for name, count in members.heads.items() if name != anchor]
    for evaluator, elements, terms in done:
        if elements:
            count = cost.slots.add(elements, times, terms)
            cost.sent[label, evaluator] += times * count * SLOT_OPERAND_BYTES
            cost.sent[evaluator, label] += times * count * SLOT_ANSWER_BYTES


def counted(needed: Operations, count: int) -> Operations:
    """The work of ``count`` such products."""
    return Operations(
        needed.inputs * count, needed.outputs * count, needed.multiplications * count, needed.plains * count
    )
