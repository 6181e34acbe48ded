"""What a run would cost one party, before it signs: bytes, time and memory, from measurements on this machine.

Two private products of the agreement's own shape (one forward, one backward step) are carried out and timed with both
sides on one core; the schedule's steps, counted as the agreement allows them at most, multiply them. So the time is an
upper bound for a machine like this one on a fast link: parties work at once, and rows may be fewer.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from functools import partial

import numpy as np

from parties.agreement.document import Agreement
from parties.proposing.counted_costs import (
    LABEL_MB,
    NODE_MB,
    ProductCost,
    cost_of_steps,
    panel_mb,
    steps_of,
    sums_bytes,
)
from vfl.arithmetic.he import Context, Evaluator, KeyHolder
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring
from vfl.protocols.product import Operand, Prepared, choose_packing, encrypt_right, multiply, open_answer

__all__ = ["Estimate", "estimate"]


@dataclass(frozen=True)
class Estimate:
    """Upper bounds for one party. bytes are of the private products, which are nearly all; megabytes are 2**20."""

    rows: int
    openings: int
    steps: int
    seconds: float
    bytes_sent: int
    bytes_received: int
    memory_mb: float
    round_trip_seconds: float | None = None

    @property
    def waiting_seconds(self) -> float:
        """Time on the wire: two round trips of a forward step and one of a backward one, at the slowest link."""
        return 3 * self.steps * (self.round_trip_seconds or 0.0)


def estimate(agreement: Agreement, party: str, entities: int, *, round_trip_seconds: float | None = None) -> Estimate:
    """What the run asks of ``party`` if all its ``entities`` are common to all. Takes a few seconds.

    For a ridge model the steps of a split model of its shape are counted, which its blocks of moments stay below.
    """
    planned = steps_of(agreement, entities)
    widest = max(agreement.features, key=lambda p: len(p.columns))
    mine = agreement.party(party)
    columns = len((mine if mine.role == "feature" else widest).columns)
    cost = cost_of_steps(planned, entities, partial(_measured, agreement, columns))
    if mine.role == "label":
        cost *= len(agreement.features)
    panel = panel_mb(planned.rows, len(mine.columns))
    base = max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, NODE_MB)
    if mine.role == "label" or mine.encoder:
        base += LABEL_MB
    return Estimate(
        rows=planned.rows,
        openings=agreement.row_limit,
        steps=planned.all,
        seconds=cost.seconds,
        bytes_sent=cost.operand if mine.role == "label" else cost.answer,
        bytes_received=cost.answer if mine.role == "label" else cost.operand,
        memory_mb=base + panel,
        round_trip_seconds=round_trip_seconds,
    )


def _measured(agreement: Agreement, columns: int, rows: int, both: bool) -> ProductCost:
    """One step's products carried out with made-up numbers; ``both``: forward and backward."""
    fixed, width = agreement.fixed_point, agreement.model.embedding_width
    context = Context(agreement.parameter_set, fixed.ring_bits)
    key = KeyHolder(context)
    evaluator = Evaluator(context, key.public_key)
    stream, ring = SecretStream(os.urandom(32)), Ring(fixed.ring_bits)
    left = np.arange(rows * columns, dtype=np.int64).reshape(rows, columns) % (1 << fixed.feature_bits)
    packing = choose_packing(rows, columns, width, context.degree, both=both)
    prepared = Prepared(evaluator, left, packing)
    seconds, operand_bytes, answer_bytes = 0.0, 0, 0
    for transposed in (False, True) if both else (False,):
        height = rows if transposed else columns
        right = ring.uniform(stream, (height, width))
        began = time.perf_counter()
        blocks = encrypt_right(key, right, packing, transposed=transposed)
        operand = Operand("preflight", height, width, packing.sizes, blocks)
        answer, _ = multiply(prepared, operand, stream, transposed=transposed)
        open_answer(key, answer, columns if transposed else rows, width, packing, transposed=transposed)
        seconds += time.perf_counter() - began
        operand_bytes += sum(map(len, blocks))
        answer_bytes += sum(map(len, (*answer.first, *answer.second)))
    return ProductCost(seconds, operand_bytes, answer_bytes + sums_bytes(rows, width))
