"""What a run would cost, counted from its agreement alone: steps, bytes, time and memory. Nothing is measured here.

Bytes are exact for the private products, which are nearly all of the traffic; time takes each operation from
docs/performance.md, so it is that of one core of the machine named there. A party that wants its own machine's time
measures it (:mod:`parties.proposing.measured_costs`) before it signs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from parties.agreement.document import Agreement
from vfl.arithmetic.he import PARAMETER_SETS
from vfl.protocols.product import choose_packing
from vfl.terms import SplitModel

__all__ = ["LABEL_MB", "NODE_MB", "PREDICT_ROWS", "PartyCost", "RunCost", "Steps", "panel_mb", "run_cost", "steps_of"]

PREDICT_ROWS = 4096
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
class _Product:
    seconds: float
    operand: int
    answer: int


def steps_of(agreement: Agreement, entities: int) -> Steps:
    """The steps if ``entities`` are common to all. A ridge's blocks of moments stay below what is counted for it."""
    model, periods = agreement.model, len(agreement.calendar.periods)
    rows = periods * entities
    batch = min(model.batch_rows if isinstance(model, SplitModel) else PREDICT_ROWS, rows)
    extra = agreement.needed_openings - 1 - model.epochs
    trained = min(model.epochs, agreement.openings_left - 1)
    trials = agreement.search.source_trials if agreement.search is not None else 0
    return Steps(
        rows=rows,
        batch=batch,
        train=(1 + trials) * trained * max(periods * -(-entities // batch), 1),
        predict=(1 + trials + extra) * max(periods * -(-entities // PREDICT_ROWS), 1),
    )


def panel_mb(rows: int, columns: int) -> float:
    """A party's panel with its copies, 2**20 bytes."""
    return rows * max(columns, 1) * 8 * _PANEL_COPIES / 2**20


def run_cost(agreement: Agreement, entities: int) -> RunCost:
    """The cost if ``entities`` (one or more) are common to all parties. Takes well below a millisecond a party."""
    steps = steps_of(agreement, entities)
    seconds, sent, parties = 0.0, [0, 0], []
    for feature in agreement.features:
        train = _product(agreement, steps.batch, len(feature.columns), backward=True)
        predict = _product(agreement, min(entities, PREDICT_ROWS), len(feature.columns), backward=False)
        seconds += steps.train * train.seconds + steps.predict * predict.seconds
        operand = steps.train * train.operand + steps.predict * predict.operand
        answer = steps.train * train.answer + steps.predict * predict.answer
        memory = NODE_MB + (LABEL_MB if feature.encoder else 0.0) + panel_mb(steps.rows, len(feature.columns))
        parties.append(PartyCost(feature.name, answer, operand, memory))
        sent = [sent[0] + operand, sent[1] + answer]
    label = agreement.party(agreement.label.party)
    memory = NODE_MB + LABEL_MB + panel_mb(steps.rows, len(label.columns))
    return RunCost(steps, seconds, (PartyCost(label.name, sent[0], sent[1], memory), *parties))


def _product(agreement: Agreement, rows: int, columns: int, *, backward: bool) -> _Product:
    """One step's product of ``rows`` x ``columns`` with the width's columns, forward, and backward where asked."""
    terms, width = PARAMETER_SETS[agreement.parameter_set], agreement.model.embedding_width
    packing = choose_packing(rows, columns, width, terms.degree, both=backward)
    residue = sum(-(-bits // 8) for bits in terms.prime_bits)
    a, b, c = math.ceil(rows / packing.m), math.ceil(columns / packing.n), math.ceil(width / packing.k)
    inputs, outputs, opened = (b * c + a * c, a * c + b * c, rows + columns) if backward else (b * c, a * c, rows)
    times = {name: time / 1000 * terms.degree / _REFERENCE_DEGREE for name, time in _MILLISECONDS.items()}
    raw = (
        inputs * (times["encrypt"] + times["ntt"])
        + outputs * (times["zero"] + times["inverse_ntt"] + times["decrypt"])
        + (1 + backward) * a * b * c * (times["multiply"] + times["add"])
        + a * b * times["plain_ntt"]
    )
    whole = terms.degree * residue
    return _Product(
        seconds=raw / _SHARE_OF_RAW,
        operand=inputs * (whole + _SEED_BYTES),
        # of an answer's first polynomial only the coefficients that hold results travel; beside it the masked sum
        answer=outputs * whole + opened * width * residue + rows * width * _SUM_BYTES,
    )
