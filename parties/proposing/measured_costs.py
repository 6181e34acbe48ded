"""What a run would cost one party, before it signs: bytes, time and memory, from measurements on this machine.

Two private products of the agreement's own shape (one forward, one backward step) are carried out and timed with both
sides on one core; the schedule's steps, counted as the agreement allows them at most, multiply them. So the time is an
upper bound for a machine like this one on a fast link: parties work at once, and rows may be fewer. Members' rounds at
home are counted, not measured.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from functools import partial

import numpy as np

from parties.agreement.document import Agreement
from parties.agreement.product_terms import product_pairs
from parties.agreement.tied_terms import tied_groups
from parties.proposing.counted_costs import (
    LABEL_MB,
    NODE_MB,
    SEALED_SHARE,
    ProductCost,
    cost_of_steps,
    panel_mb,
    steps_of,
    sums_bytes,
)
from parties.proposing.federated_costs import SUM_TRIPS, rounds_cost, rounds_seconds, sums_of
from parties.proposing.trees_costs import anchored_cost
from vfl.arithmetic.he import Context, Evaluator, KeyHolder, raw_operations
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.protocols.product import Operand, Prepared, choose_packing, encrypt_right, multiply, open_answer
from vfl.terms import AnchoredModel, FederatedModel

__all__ = ["Estimate", "estimate"]

_TIMED_SECONDS = 0.05
_SPLIT_TRIPS = 3
"""Two of a forward product and one of a backward one."""
_SEALED_TRIPS = 12
"""Two products, and five in slot mode, of two round trips each: three truncations, the squares, the gradient."""
_TIED_TRIPS, _PRODUCT_TRIPS = 2, 3
"""More of a step: a group's digests before it, its gradient and speed after it; owners' halves, in slot mode, and what
one owner passes on to the other."""


@dataclass(frozen=True)
class Estimate:
    """Upper bounds for one party. bytes are of the private products, which are nearly all, and of members' rounds;
    megabytes are 2**20. sums: rounds that it takes part in, each a secure sum, and those of
    its group's expansion.
    """

    rows: int
    openings: int
    steps: int
    seconds: float
    bytes_sent: int
    bytes_received: int
    memory_mb: float
    round_trip_seconds: float | None = None
    round_trips: int = _SPLIT_TRIPS
    sums: int = 0

    @property
    def waiting_seconds(self) -> float:
        """Time on the wire: the round trips of a step, and of a secure sum, that wait for each other, at the slowest
        link.
        """
        trips = self.round_trips * self.steps + SUM_TRIPS * self.sums
        return trips * (self.round_trip_seconds or 0.0)


def estimate(agreement: Agreement, party: str, entities: int, *, round_trip_seconds: float | None = None) -> Estimate:
    """What the run asks of ``party`` if all its ``entities`` are common to all. Takes a few seconds.

    The seconds of a sealed run are those of all parties' parts, one after the other. For a ridge model the steps of a
    split model of its shape are counted, which its blocks of moments stay below.
    """
    if isinstance(agreement.model, AnchoredModel):
        return _sealed_estimate(agreement, party, entities, round_trip_seconds)
    planned = steps_of(agreement, entities)
    widest = max(agreement.features, key=lambda p: len(p.columns))
    mine = agreement.party(party)
    columns = len((mine if mine.role == "feature" else widest).columns)
    cost = cost_of_steps(planned, entities, partial(_measured, agreement, columns))
    if mine.role == "label":
        cost *= len(agreement.features)
    sums = rounds_cost(agreement, entities)
    return Estimate(
        rows=planned.rows,
        openings=agreement.row_limit,
        steps=planned.all,
        seconds=cost.seconds + rounds_seconds(agreement, entities),
        bytes_sent=(cost.operand if mine.role == "label" else cost.answer) + sums.sent_by(party),
        bytes_received=(cost.answer if mine.role == "label" else cost.operand) + sums.received_by(party),
        memory_mb=_memory(agreement, party, planned.rows),
        round_trip_seconds=round_trip_seconds,
        sums=sums_of(agreement, party),
    )


def _memory(agreement: Agreement, party: str, rows: int) -> float:
    mine = agreement.party(party)
    base = max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, NODE_MB)
    if mine.role == "label" or mine.encoder:
        base += LABEL_MB
    return base + panel_mb(rows, len(mine.columns))


def _sealed_estimate(agreement: Agreement, party: str, entities: int, round_trip: float | None) -> Estimate:
    """Of a sealed run: SEAL's operations are timed here one by one, and the schedule's counts multiply them."""
    planned, cost = steps_of(agreement, entities), anchored_cost(agreement, entities)
    return Estimate(
        rows=planned.rows,
        openings=agreement.row_limit,
        steps=planned.all,
        seconds=cost.seconds(_raw_times(coefficient_key()), _raw_times(slot_key()), SEALED_SHARE)
        + rounds_seconds(agreement, entities),
        bytes_sent=cost.sent_by(party),
        bytes_received=cost.received_by(party),
        memory_mb=_memory(agreement, party, planned.rows),
        round_trip_seconds=round_trip,
        round_trips=0 if isinstance(agreement.model, FederatedModel) else _sealed_trips(agreement),
        sums=sums_of(agreement, party),
    )


def _sealed_trips(agreement: Agreement) -> int:
    return _SEALED_TRIPS + _TIED_TRIPS * bool(tied_groups(agreement)) + _PRODUCT_TRIPS * bool(product_pairs(agreement))


def _raw_times(key: KeyHolder) -> dict[str, float]:
    """Seconds of each of SEAL's operations here; of processor time, so that other work beside it counts little."""
    times = {}
    for name, operation in raw_operations(key).items():
        operation()
        began, calls = time.process_time(), 0
        while time.process_time() - began < _TIMED_SECONDS:
            operation()
            calls += 1
        times[name] = (time.process_time() - began) / calls
    return times


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
