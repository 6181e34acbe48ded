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
"""Of an embedding and of a residual in training: their product enters the gradient without a truncation."""

PREDICTED_BITS = 16
"""Of an embedding whose score opens."""

MEAN_BITS = 18
"""Of 1 / rows, by which a batch's mean is taken."""

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
    rows the gradient is a mean over the next power of two, and decays shrink alike: the effective rate of a batch that is
    no power of two is rate * rows / next power of two.
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
        shifts = [fixed.feature_bits + EMBEDDING_BITS - WEIGHT_BITS + half + linear]
        shifts += [fixed.feature_bits + 2 * EMBEDDING_BITS - WEIGHT_BITS + half + square] * terms.width
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

    @classmethod
    def of(cls, terms: SealedModel, fixed: FixedPoint, rows: int, columns: int) -> Bounds:
        """For batches of ``rows`` rows and all parties' ``columns``."""
        limit = terms.embedding_limit
        score = limit + math.ceil(terms.width / 2) * limit**2
        update = Update.of(terms, fixed, rows, max(rows, 1), columns)
        half = math.ceil(math.log2(rows))
        steps = []
        for column, factor in enumerate(update.factors):
            mean = fixed.clip * RESIDUAL * (limit if column else 1.0)
            bits = fixed.feature_bits + EMBEDDING_BITS * (2 if column else 1) + half
            steps.append(math.ldexp(mean * abs(factor), bits))
        kept = math.ldexp(SPEED_LIMIT * 2, WEIGHT_BITS + update.shift)
        return cls(
            math.ceil(math.ldexp(limit, fixed.feature_bits + WEIGHT_BITS)),
            math.ceil(math.ldexp(score + terms.label_clip, 2 * EMBEDDING_BITS + MEAN_BITS + 1)),
            math.ceil(math.ldexp(score, 2 * PREDICTED_BITS)),
            math.ceil(max(steps) + kept),
        )


def check_ranges(terms: SealedModel, fixed: FixedPoint, rows: int, columns: int) -> Bounds:
    """The bounds, all below a quarter of the ring. Raises LocalProtocolError naming the numbers that fit.

    rows: of the largest batch. columns: of all parties together.
    """
    bounds = Bounds.of(terms, fixed, rows, columns)
    if max(bounds.forward, bounds.residual, bounds.score) > LARGEST:
        fits = terms.embedding_limit
        while fits > 2.0**-8 and _largest(terms, fixed, rows, columns, fits) > LARGEST:
            fits /= 2
        raise LocalProtocolError(
            f"embeddings of up to {terms.embedding_limit:g} squared in {terms.width} columns do not fit the ring: "
            f"set model.embedding_limit to {fits:g}, or lower model.width"
        )
    if bounds.update > LARGEST:
        batch = rows
        while batch > 1 and Bounds.of(terms, fixed, batch, columns).update > LARGEST:
            batch //= 2
        limit = terms.embedding_limit
        while limit > 2.0**-8 and _update(terms, fixed, rows, columns, limit) > LARGEST:
            limit /= 2
        raise LocalProtocolError(
            f"the gradient of {rows} rows at rates {terms.linear_rate:g} and {terms.square_rate:g} does not fit the ring: "
            f"set model.batch_rows to {max(batch, 1)}, model.embedding_limit to {limit:g}, or rates nearer to each other"
        )
    return bounds


def _largest(terms: SealedModel, fixed: FixedPoint, rows: int, columns: int, limit: float) -> int:
    bounds = Bounds.of(terms.model_copy(update={"embedding_limit": limit}), fixed, rows, columns)
    return max(bounds.forward, bounds.residual, bounds.score)


def _update(terms: SealedModel, fixed: FixedPoint, rows: int, columns: int, limit: float) -> int:
    return Bounds.of(terms.model_copy(update={"embedding_limit": limit}), fixed, rows, columns).update
