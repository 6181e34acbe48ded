"""What a run would cost, counted from its agreement alone: steps, bytes, time and memory. Nothing is measured here.

Bytes are exact for the private products, which are nearly all of the traffic; those of members' rounds are beside them.
Time takes each operation from docs/performance.md, so it is that of one core of the machine named there. A party that
wants its own machine's time measures it (:mod:`parties.proposing.measured_costs`) before it signs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from parties.agreement.document import Agreement
from parties.proposing.federated_costs import rounds_cost, rounds_seconds
from parties.proposing.trees_costs import anchored_cost, anchored_steps
from vfl.arithmetic.he import PARAMETER_SETS
from vfl.protocols.product import choose_packing
from vfl.terms import AnchoredModel, SplitModel
from vfl.walk.schedule import PREDICT_ROWS

__all__ = [
    "LABEL_MB",
    "NODE_MB",
    "SEALED_SHARE",
    "PartyCost",
    "ProductCost",
    "RunCost",
    "Steps",
    "cost_of_steps",
    "panel_mb",
    "run_cost",
    "steps_of",
    "sums_bytes",
]

NODE_MB = 280.0
"""A node's programs in memory: measured, rounded up."""
LABEL_MB = 400.0
"""What the label party's model and statistics add: measured, rounded up."""
_PANEL_COPIES = 6
"""Panel, its rounded and encoded forms, prepared blocks: measured on runs of the demo, rounded up."""
_SEED_BYTES, _SUM_BYTES = 64, 8
_MILLISECONDS: Mapping[str, float] = {
    "encrypt": 0.82, "zero": 1.48, "decrypt": 0.38, "ntt": 0.27, "inverse_ntt": 0.23, "plain_ntt": 0.12,
    "multiply": 0.074, "add": 0.024,
}  # fmt: skip
"""One core, ring degree 8192, two primes: the table in docs/performance.md."""
_SLOT_MILLISECONDS: Mapping[str, float] = {name: 1.5 * time for name, time in _MILLISECONDS.items()}
"""Slot mode has three primes where the table's has two."""
SEALED_SHARE = 0.6
"""Raw operations over a sealed step's whole time on one core, as docs/performance.md has it."""
_REFERENCE_DEGREE = 8192
_SHARE_OF_RAW = 0.65
"""Raw operations over a step's whole time, as docs/performance.md has it for batches of 512 rows."""


@dataclass(frozen=True)
class Steps:
    """How often a run opens batches at most: ``train`` of ``batch`` rows, ``predict`` of PREDICT_ROWS at a time."""

    rows: int
    batch: int
    train: int
    predict: int

    @property
    def all(self) -> int:
        return self.train + self.predict


@dataclass(frozen=True)
class PartyCost:
    """Upper bounds for one party; megabytes of memory are 2**20 bytes."""

    party: str
    bytes_sent: int
    bytes_received: int
    memory_mb: float


@dataclass(frozen=True)
class RunCost:
    """Upper bounds for a whole run. ``seconds``: every party's part on one core, one after the other."""

    steps: Steps
    seconds: float
    parties: tuple[PartyCost, ...]


@dataclass(frozen=True)
class ProductCost:
    """Private products of one feature party: seconds on one core, bytes to the party and bytes back."""

    seconds: float
    operand: int
    answer: int

    def __add__(self, other: ProductCost) -> ProductCost:
        return ProductCost(self.seconds + other.seconds, self.operand + other.operand, self.answer + other.answer)

    def __mul__(self, count: int) -> ProductCost:
        return ProductCost(self.seconds * count, self.operand * count, self.answer * count)


def steps_of(agreement: Agreement, entities: int) -> Steps:
    """The steps if ``entities`` are common to all. A ridge's blocks of moments stay below what is counted for it."""
    model, periods = agreement.model, len(agreement.periods)
    if isinstance(model, AnchoredModel):
        return Steps(**vars(anchored_steps(agreement, entities)))
    rows = periods * entities
    batch = min(model.batch_rows if isinstance(model, SplitModel) else PREDICT_ROWS, rows)
    extra = agreement.needed_openings - 1 - model.epochs
    trained = min(model.epochs, agreement.openings_left - 1)
    trials = agreement.split_search.source_trials if agreement.split_search is not None else 0
    return Steps(
        rows=rows,
        batch=batch,
        train=(1 + trials) * trained * max(periods * -(-entities // batch), 1),
        predict=(1 + trials + extra) * max(periods * -(-entities // PREDICT_ROWS), 1),
    )


def panel_mb(rows: int, columns: int) -> float:
    """A party's panel with its copies, 2**20 bytes."""
    return rows * max(columns, 1) * 8 * _PANEL_COPIES / 2**20


def cost_of_steps(steps: Steps, entities: int, product: Callable[[int, bool], ProductCost]) -> ProductCost:
    """All the steps with one feature party. product: the cost of one step by its rows, and whether it trains."""
    return product(steps.batch, True) * steps.train + product(min(entities, PREDICT_ROWS), False) * steps.predict


def sums_bytes(rows: int, width: int) -> int:
    """Bytes of the masked sum that goes with every step."""
    return rows * width * _SUM_BYTES


def run_cost(agreement: Agreement, entities: int) -> RunCost:
    """The cost if ``entities`` (one or more) are common to all parties. Takes well below a millisecond a party."""
    if isinstance(agreement.model, AnchoredModel):
        return _sealed_run_cost(agreement, entities)
    steps = steps_of(agreement, entities)
    whole, parties, sums = ProductCost(0.0, 0, 0), [], rounds_cost(agreement, entities)
    for feature in agreement.features:
        columns = len(feature.columns)
        cost = cost_of_steps(steps, entities, partial(_counted, agreement, columns))
        memory = NODE_MB + (LABEL_MB if feature.encoder else 0.0) + panel_mb(steps.rows, columns)
        sent, received = sums.sent_by(feature.name), sums.received_by(feature.name)
        parties.append(PartyCost(feature.name, cost.answer + sent, cost.operand + received, memory))
        whole += cost
    label = agreement.party(agreement.label.party)
    memory = NODE_MB + LABEL_MB + panel_mb(steps.rows, len(label.columns))
    seconds = whole.seconds + rounds_seconds(agreement, entities)
    return RunCost(steps, seconds, (PartyCost(label.name, whole.operand, whole.answer, memory), *parties))


def _sealed_run_cost(agreement: Agreement, entities: int) -> RunCost:
    steps, cost = steps_of(agreement, entities), anchored_cost(agreement, entities)
    times, slots = (
        {name: time / 1000 for name, time in table.items()} for table in (_MILLISECONDS, _SLOT_MILLISECONDS)
    )
    parties = []
    for party in sorted(agreement.parties, key=lambda one: one.role != "label"):
        memory = NODE_MB + (LABEL_MB if party.role == "label" or party.encoder else 0.0)
        parties.append(
            PartyCost(
                party.name,
                cost.sent_by(party.name),
                cost.received_by(party.name),
                memory + panel_mb(steps.rows, len(party.columns)),
            )
        )
    seconds = cost.seconds(times, slots, SEALED_SHARE) + rounds_seconds(agreement, entities)
    return RunCost(steps, seconds, tuple(parties))


def _counted(agreement: Agreement, columns: int, rows: int, both: bool) -> ProductCost:
    """One step's product of ``rows`` x ``columns`` with the width's columns; ``both``: forward and backward."""
    terms, width = PARAMETER_SETS[agreement.parameter_set], agreement.model.embedding_width
    packing = choose_packing(rows, columns, width, terms.degree, both=both)
    needed = packing.step(rows, columns, width, both=both)
    residue = sum(-(-bits // 8) for bits in terms.prime_bits)
    times = {name: time / 1000 * terms.degree / _REFERENCE_DEGREE for name, time in _MILLISECONDS.items()}
    whole = terms.degree * residue
    opened = rows + columns if both else rows
    return ProductCost(
        seconds=needed.seconds(times) / _SHARE_OF_RAW,
        operand=needed.inputs * (whole + _SEED_BYTES),
        # of an answer's first polynomial only the coefficients that hold results travel; beside it the masked sum
        answer=needed.outputs * whole + opened * width * residue + sums_bytes(rows, width),
    )
