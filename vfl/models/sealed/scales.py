"""Scales: the fractional bits of everything in a sealed step, and the bounds that keep it in the ring.

Bounds count on the terms' own limits: labels clipped to +-label_clip, embeddings within +-embedding_limit, and within a
batch a root mean square of at most 2 of every column and of the residual. They are checked before a run; values beyond
them are not clipped on shares, so the twin refuses data that leave them and the label party refuses scores that do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from psi.flow import LocalProtocolError
from vfl.protocols.truncation import LARGEST
from vfl.terms import FixedPoint, SealedModel

__all__ = [
    "EMBEDDING_BITS",
    "HELD_BITS",
    "MEAN_BITS",
    "PREDICTED_BITS",
    "RESIDUAL_BITS",
    "RESIDUAL_DROP",
    "SCORE_BITS",
    "WEIGHT_BITS",
    "Bounds",
    "Update",
    "beyond_score_limit",
    "check_ranges",
    "decays_of",
]

WEIGHT_BITS = 30
"""Fractional bits of weights and of their speed."""

EMBEDDING_BITS = 14
"""Of an embedding in training."""

RESIDUAL_BITS = 12
"""Of a residual in training: its product with an embedding enters the gradient without a truncation."""

PREDICTED_BITS = 20
"""Of an embedding whose score opens."""

HELD_BITS = 16
"""Of a linear score that is kept in shares, for another model to begin at."""

MEAN_BITS = 18
"""Of 1 / rows, by which a batch's mean is taken."""

RESIDUAL_DROP = 2 * EMBEDDING_BITS + MEAN_BITS - RESIDUAL_BITS
"""Bits that a centred score loses to become a residual."""

SCORE_BITS = 17
"""Bits of an opened score: one beyond +-model.score_limit would wrap, and ends the run."""

LARGEST_DECAY = 8.0
"""Few rows would shrink a weight by more than it is in one step."""

LEAST_SHIFT = 18
LEAST_LIMIT = 4.0
"""Embeddings of use reach 2, so rates are brought nearer to each other before a limit goes below this."""

COLUMN, RESIDUAL = 2.0, 2.0
"""Root mean squares within a batch: standardised columns have 1, and a residual that learning makes smaller less."""

SPEED_LIMIT = 0.5
"""Largest change of a weight in one step that the arithmetic has room for."""


def beyond_score_limit(terms: SealedModel, step: int) -> str:
    """What is wrong where a predicted score does not fit in what opens of it."""
    return (
        f"step {step}: a score leaves +-{terms.score_limit} deviations of the label, and would wrap: raise "
        "model.score_limit, or lower model.square_rate and model.linear_rate"
    )


def decays_of(terms: SealedModel, known: int, columns: int) -> tuple[float, float]:
    """Decay of the linear column and of the squared ones, with ``known`` resolved rows and all parties' ``columns``."""
    square = terms.threshold * math.sqrt(columns / known)
    return min(terms.alpha / known, LARGEST_DECAY), min(square, LARGEST_DECAY)


@dataclass(frozen=True)
class Update:
    """How a gradient sum becomes the next speed: (momentum * speed + decay * weight + factor * gradient) / 2**shift.

    decays, factors: one whole number per column, the squared columns' signs in the factors. For a batch of ``rows``
    rows the gradient is a mean over the next power of two, and decays shrink alike: the effective rate of a batch that
    is no power of two is rate * rows / next power of two.
    """

    shift: int
    momentum: int
    decays: tuple[int, ...]
    factors: tuple[int, ...]

    @classmethod
    def of(cls, terms: SealedModel, fixed: FixedPoint, rows: int, known: int, columns: int) -> Update:
        """For a batch of ``rows`` of ``known`` resolved rows; ``columns``: those of all parties together."""
        half = math.ceil(math.log2(rows))
        linear, square = -round(math.log2(terms.linear_rate)), -round(math.log2(terms.square_rate)) - 1
        shifts = [fixed.feature_bits + RESIDUAL_BITS - WEIGHT_BITS + half + linear]
        shifts += [fixed.feature_bits + RESIDUAL_BITS + EMBEDDING_BITS - WEIGHT_BITS + half + square] * terms.width
        shift = max(LEAST_SHIFT, *shifts)
        part = rows / 2.0**half
        linear_decay, square_decay = decays_of(terms, known, columns)
        decay = [terms.linear_rate * linear_decay] + [terms.square_rate * square_decay] * terms.width
        signs = (1, *terms.signs)
        return cls(
            shift,
            round(math.ldexp(terms.momentum, shift)),
            tuple(round(math.ldexp(part * value, shift)) for value in decay),
            tuple(sign << (shift - own) for sign, own in zip(signs, shifts, strict=True)),
        )


@dataclass(frozen=True)
class Bounds:
    """Largest magnitudes that are truncated, as whole numbers at their scale; rows: of a batch."""

    forward: int
    residual: int
    score: int
    update: int

    @property
    def largest(self) -> int:
        """Of the four."""
        return max(self.forward, self.residual, self.score, self.update)

    @classmethod
    def of(cls, terms: SealedModel, fixed: FixedPoint, rows: int, columns: int) -> Bounds:
        """For batches of ``rows`` rows and all parties' ``columns``."""
        limit = terms.embedding_limit
        score = limit + math.ceil(terms.width / 2) * limit**2
        update = Update.of(terms, fixed, rows, max(rows, 1), columns)
        half = math.ceil(math.log2(rows))
        steps, largest = [], max(terms.linear_rate, 2 * terms.square_rate * limit) * COLUMN * RESIDUAL
        for column, factor in enumerate(update.factors):
            mean = COLUMN * RESIDUAL * (limit if column else 1.0)
            bits = fixed.feature_bits + RESIDUAL_BITS + (EMBEDDING_BITS if column else 0) + half
            steps.append(math.ldexp(mean * abs(factor), bits))
        kept = math.ldexp(min(SPEED_LIMIT, largest / (1 - terms.momentum)), WEIGHT_BITS + update.shift)
        return cls(
            math.ceil(math.ldexp(limit, fixed.feature_bits + WEIGHT_BITS)),
            math.ceil(math.ldexp(score + terms.label_clip, 2 * EMBEDDING_BITS + MEAN_BITS + 1)),
            math.ceil(math.ldexp(score, 2 * PREDICTED_BITS)),
            math.ceil(max(steps) + kept),
        )


def check_ranges(terms: SealedModel, fixed: FixedPoint, rows: int, columns: int) -> Bounds:
    """The bounds, all below a quarter of the ring. Raises LocalProtocolError naming numbers that fit.

    rows: of the largest batch. columns: of all parties together.
    """
    bounds = Bounds.of(terms, fixed, rows, columns)
    if bounds.largest <= LARGEST:
        return bounds
    fitting = {name: getattr(terms, name) for name in ("embedding_limit", "linear_rate", "square_rate")}
    batch = rows

    def made() -> Bounds:
        return Bounds.of(terms.model_copy(update=fitting), fixed, batch, columns)

    while max(made().forward, made().residual, made().score) > LARGEST:
        fitting["embedding_limit"] /= 2
    while made().update > LARGEST and fitting["embedding_limit"] > LEAST_LIMIT:
        fitting["embedding_limit"] /= 2
    lower = "linear_rate" if terms.linear_rate < terms.square_rate else "square_rate"
    while made().update > LARGEST and fitting[lower] < max(terms.linear_rate, terms.square_rate):
        fitting[lower] *= 2
    while made().update > LARGEST and batch > 1:
        batch //= 2
    while made().update > LARGEST:
        fitting["embedding_limit"] /= 2
    changed = [f"model.{name} to {value!r}" for name, value in fitting.items() if getattr(terms, name) != value]
    named = " and ".join(changed + ([f"model.batch_rows to {batch}"] if batch < rows else []))
    raise LocalProtocolError(
        f"batches of {rows} rows, {terms.width} squared columns with embeddings up to {terms.embedding_limit:g}, and "
        f"rates of {terms.linear_rate:g} and {terms.square_rate:g} do not fit the ring together: set {named}"
    )
