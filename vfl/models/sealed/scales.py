"""Scales: the fractional bits of everything in a sealed step, and the bounds that keep it in the ring.

Bounds count on the terms' own limits: features clipped to +-clip, labels to +-label_clip, embeddings within
+-embedding_limit, and a root mean square residual of at most 2. They are checked before a run; values beyond them are
not clipped on shares, so the twin refuses data that leave them and the label party refuses scores that do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from psi.flow import LocalProtocolError
from vfl.protocols.truncation import LARGEST
from vfl.terms import FixedPoint, SealedModel

__all__ = [
    "EMBEDDING_BITS",
    "MEAN_BITS",
    "PREDICTED_BITS",
    "RESIDUAL_BITS",
    "RESIDUAL_DROP",
    "SCORE_BITS",
    "SCORE_FRACTION",
    "WEIGHT_BITS",
    "Bounds",
    "Update",
    "check_ranges",
]

WEIGHT_BITS = 30
"""Fractional bits of weights and of their speed."""

EMBEDDING_BITS = 12
"""Of an embedding in training."""

RESIDUAL_BITS = 10
"""Of a residual in training: its product with an embedding enters the gradient without a truncation."""

PREDICTED_BITS = 16
"""Of an embedding whose score opens."""

MEAN_BITS = 18
"""Of 1 / rows, by which a batch's mean is taken."""

RESIDUAL_DROP = 2 * EMBEDDING_BITS + MEAN_BITS - RESIDUAL_BITS
"""Bits that a centred score loses to become a residual."""

SCORE_FRACTION = 12
"""Fractional bits of an opened score."""

SCORE_BITS = 17
"""Bits of an opened score: what lies beyond +-16 wraps."""

LEAST_SHIFT = 18
RESIDUAL = 2.0
SPEED_LIMIT = 0.5
"""Largest change of a weight in one step that the arithmetic has room for."""


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
        decay = [terms.linear_rate * terms.alpha / known]
        decay += [terms.square_rate * terms.threshold * math.sqrt(columns / known)] * terms.width
        signs = (1, *terms.signs)
        return cls(
            shift,
            round(math.ldexp(terms.momentum, shift)),
            tuple(round(math.ldexp(min(part * value, 1.0), shift)) for value in decay),
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
        steps, largest = [], max(terms.linear_rate, 2 * terms.square_rate * limit) * fixed.clip * RESIDUAL
        for column, factor in enumerate(update.factors):
            mean = fixed.clip * RESIDUAL * (limit if column else 1.0)
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

    def made() -> Bounds:
        return Bounds.of(terms.model_copy(update=fitting), fixed, rows, columns)

    while max(made().forward, made().residual, made().score) > LARGEST:
        fitting["embedding_limit"] /= 2
    lower = "linear_rate" if terms.linear_rate < terms.square_rate else "square_rate"
    while made().update > LARGEST and fitting[lower] < max(terms.linear_rate, terms.square_rate):
        fitting[lower] *= 2
    while made().update > LARGEST and fitting["embedding_limit"] > 2.0**-10:
        fitting["embedding_limit"] /= 2
    named = " and ".join(
        f"model.{name} to {value!r}" for name, value in fitting.items() if getattr(terms, name) != value
    )
    raise LocalProtocolError(
        f"batches of {rows} rows, {terms.width} squared columns with embeddings up to {terms.embedding_limit:g}, and "
        f"rates of {terms.linear_rate:g} and {terms.square_rate:g} do not fit the ring together: set {named}"
    )
