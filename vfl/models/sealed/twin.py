"""Twins of the sealed network: the same in plain integers with the same rounding, and in plain floats.

The integer twin is the oracle: a sealed run equals it but for the truncations, which are at most 2 units in the last
place off. With the sealed run's own truncation errors put in (``truncate``), it equals the run to the last bit. It
refuses what a run could not hold. In a real run nobody has all columns, so nobody can run a twin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.sealed.columns import fitted_labels, sealed_columns
from vfl.models.sealed.initial import sealed_draw
from vfl.models.sealed.scales import (
    EMBEDDING_BITS,
    HELD_BITS,
    MEAN_BITS,
    PREDICTED_BITS,
    RESIDUAL_DROP,
    SCORE_BITS,
    WEIGHT_BITS,
    Update,
    beyond_score_limit,
    decays_of,
)
from vfl.models.sealed.tied import added_columns
from vfl.models.sealed.walk import shown_scores
from vfl.protocols.truncation import LARGEST
from vfl.terms import FixedPoint, SealedModel, WalkForward
from vfl.walk.cycles import cyclic
from vfl.walk.schedule import Step

__all__ = [
    "FloatTwin",
    "IntegerTwin",
    "SealedRangeError",
    "float_twin",
    "float_twin_scores",
    "integer_twin",
    "run_twin",
]

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Truncate = Callable[[str, I64, int], I64]


class SealedRangeError(ValueError):
    """Values that a sealed run could not hold."""


def _nearest(_: str, values: I64, bits: int) -> I64:
    rounded: I64 = (values + (1 << (bits - 1))) >> bits
    return rounded


def _product(left: I64, right: I64) -> I64:
    """left @ right of whole numbers, exact, below 2**62: float64 products of limbs, since numpy's own are slow."""
    size = max(left.shape[1], 1)
    width = 52 - int(np.abs(left).max(initial=0)).bit_length() - size.bit_length()
    total = np.zeros((left.shape[0], right.shape[1]), dtype=np.int64)
    sign, rest, plain, shift = np.sign(right), np.abs(right), left.astype(np.float64), 0
    while rest.any():
        part = (sign * (rest & ((1 << width) - 1))).astype(np.float64)
        total += (plain @ part).astype(np.int64) << shift
        rest, shift = rest >> width, shift + width
    return total


class IntegerTwin:
    """features: small integers (rows, d) of all columns. weight: int64 (d, h + 1) at WEIGHT_BITS.

    truncate(label, values, bits): by default to nearest; ``label`` names the truncation as the sealed run does.
    """

    def __init__(
        self, features: I64, weight: I64, terms: SealedModel, fixed: FixedPoint, truncate: Truncate = _nearest
    ) -> None:
        self.features, self.terms, self.fixed = features, terms, fixed
        self.weight, self.speed = weight.copy(), np.zeros_like(weight)
        self.largest: dict[str, float] = {}
        self._truncate = truncate

    def train(self, step: Step, label: F64) -> None:
        """One step; label: float64 (B,). Raises SealedRangeError."""
        terms, rows, number = self.terms, len(step.rows), step.number
        left = self.features[step.rows]
        z = self._embedding(left, number, EMBEDDING_BITS)
        clipped = np.clip(label, -terms.label_clip, terms.label_clip)
        score = self._score(z, EMBEDDING_BITS) - np.rint(np.ldexp(clipped, 2 * EMBEDDING_BITS)).astype(np.int64)
        self._check("residual", score.astype(np.float64) * (2 << MEAN_BITS))
        mean = round((1 << MEAN_BITS) / rows) * score.sum()
        residual = self._cut(f"residual/{number}", (score << MEAN_BITS) - mean, RESIDUAL_DROP)
        slope = np.concatenate([residual[:, None], residual[:, None] * z[:, 1:]], axis=1)
        self._check("gradient", np.abs(left.T).astype(np.float64) @ np.abs(slope).astype(np.float64))
        summed = _product(left.T, slope)
        update = Update.of(terms, self.fixed, rows, step.known, self.features.shape[1])
        decays, factors = np.array(update.decays), np.array(update.factors)
        parts = [self.speed * update.momentum, self.weight * decays, summed * factors]
        exact = np.abs(self.speed * float(update.momentum))
        exact = exact + np.abs(self.weight * decays.astype(np.float64)) + np.abs(summed * factors.astype(np.float64))
        self._check("update", exact)
        self.speed = self._cut(f"update/{number}", parts[0] + parts[1] + parts[2], update.shift)
        self.weight = self.weight - self.speed

    def predict(self, step: Step) -> F64:
        """Scores (B,) as they open. Raises SealedRangeError, also for a score beyond its limit."""
        z = self._embedding(self.features[step.rows], step.number, PREDICTED_BITS)
        fraction = self.terms.score_fraction
        score = self._cut(f"score/{step.number}", self._score(z, PREDICTED_BITS), 2 * PREDICTED_BITS - fraction)
        if len(score) and int(np.abs(score).max()) >= 1 << (SCORE_BITS - 1):
            raise SealedRangeError(beyond_score_limit(self.terms, step.number))
        return np.ldexp(score.astype(np.float64), -fraction)

    def linear(self, step: Step) -> I64:
        """Linear scores (B,) at HELD_BITS, as they are kept in shares. Raises SealedRangeError."""
        return self._embedding(self.features[step.rows], step.number, HELD_BITS)[:, 0]

    def _embedding(self, left: I64, number: int, bits: int) -> I64:
        largest = np.abs(left).astype(np.float64) @ np.abs(self.weight).astype(np.float64)
        self._check("embedding", largest)
        dropped = self.fixed.feature_bits + WEIGHT_BITS - bits
        return self._cut(f"embedding/{number}", _product(left, self.weight), dropped)

    def _score(self, z: I64, bits: int) -> I64:
        signs = np.array(self.terms.signs, dtype=np.int64)
        self._check("score", np.square(z[:, 1:].astype(np.float64)).sum(axis=1) + np.abs(z[:, 0] * 2.0**bits))
        score: I64 = (z[:, 0] << bits) + (np.square(z[:, 1:]) * signs).sum(axis=1)
        return score

    def _cut(self, label: str, values: I64, bits: int) -> I64:
        return self._truncate(label, values, bits)

    def _check(self, what: str, values: F64) -> None:
        largest = float(np.abs(values).max(initial=0.0))
        self.largest[what] = max(self.largest.get(what, 0.0), largest)
        if largest > LARGEST:
            raise SealedRangeError(
                f"the {what} of a step reaches {largest / LARGEST:.2g} times what the ring holds: the rates "
                f"model.linear_rate = {self.terms.linear_rate:g} and model.square_rate = {self.terms.square_rate:g} "
                "are too high for these data, halve them"
            )


class FloatTwin:
    """The same in float64 without any rounding. features: float64 (rows, d). weight: float64 (d, h + 1)."""

    def __init__(self, features: F64, weight: F64, terms: SealedModel) -> None:
        self.features, self.terms = features, terms
        self.weight, self.speed = weight.copy(), np.zeros_like(weight)

    def train(self, step: Step, label: F64) -> None:
        """One step; label: float64 (B,)."""
        terms, rows, x = self.terms, len(step.rows), self.features[step.rows]
        z = x @ self.weight
        signs = np.array(terms.signs, dtype=np.float64)
        residual = z[:, 0] + np.square(z[:, 1:]) @ signs - np.clip(label, -terms.label_clip, terms.label_clip)
        residual -= residual.mean()
        slope = np.concatenate([residual[:, None], 2 * signs * residual[:, None] * z[:, 1:]], axis=1) / rows
        linear, squared = decays_of(terms, step.known, x.shape[1])
        decay = np.array([linear] + [squared] * terms.width)
        rates = np.array([terms.linear_rate] + [terms.square_rate] * terms.width)
        rates *= rows / 2.0 ** math.ceil(math.log2(rows))
        self.speed = terms.momentum * self.speed + rates * (x.T @ slope + decay * self.weight)
        self.weight = self.weight - self.speed

    def predict(self, step: Step) -> F64:
        """Scores (B,)."""
        z = self.features[step.rows] @ self.weight
        scores: F64 = z[:, 0] + np.square(z[:, 1:]) @ np.array(self.terms.signs, dtype=np.float64)
        return scores


def run_twin(twin: IntegerTwin | FloatTwin, steps: Sequence[Step], labels: Callable[[Step], F64]) -> F64:
    """Scores (rows,) of a schedule, NaN where nothing was predicted. labels: of a training step, float64 (B,)."""
    scores = np.full(len(twin.features), np.nan)
    for step in steps:
        if step.kind == "predict":
            scores[step.rows] = twin.predict(step)
        else:
            twin.train(step, labels(step))
    return scores


def integer_twin(
    panels: Sequence[FeaturePanel],
    panel: LabelPanel,
    terms: SealedModel,
    walk: WalkForward,
    fixed: FixedPoint,
    weight: I64,
    heads: Sequence[str] = (),
) -> F64:
    """Scores (T, n) of the integer twin, centred per period.

    panels: in feature-party order; the label party's own columns follow. weight: int64 (d, h + 1), the sum of both
    sides' initial parts in that order. heads: where some are tied, the owner of each panel's weights. Raises
    SealedRangeError.
    """
    whole = _joined(panels, panel, terms, fixed, heads)
    return _walked(IntegerTwin(whole, weight, terms, fixed), panel, terms, walk)


def float_twin(
    panels: Sequence[FeaturePanel],
    panel: LabelPanel,
    terms: SealedModel,
    walk: WalkForward,
    fixed: FixedPoint,
    weight: I64,
    heads: Sequence[str] = (),
) -> F64:
    """The same of the float twin."""
    whole = _joined(panels, panel, terms, fixed, heads)
    floats = np.ldexp(whole.astype(np.float64), -fixed.feature_bits)
    return _walked(FloatTwin(floats, np.ldexp(weight.astype(np.float64), -WEIGHT_BITS), terms), panel, terms, walk)


def float_twin_scores(
    columns: Sequence[F64],
    panel: LabelPanel,
    terms: SealedModel,
    walk: WalkForward,
    fixed: FixedPoint,
    seeds: tuple[bytes, bytes],
) -> F64:
    """Scores (T, n) of the float twin on these columns (T * n, d_k) alone, without any other of the label party's.

    seeds: 32 bytes of each of the two draws that the initial weights are the sum of.
    """
    whole = _whole(columns, terms, fixed)
    count = whole.shape[1]
    weight = sum(sealed_draw(seed, count, terms, count) for seed in seeds)
    floats = np.ldexp(whole.astype(np.float64), -fixed.feature_bits)
    return _walked(FloatTwin(floats, np.ldexp(np.float64(weight), -WEIGHT_BITS), terms), panel, terms, walk)


def _joined(
    panels: Sequence[FeaturePanel], panel: LabelPanel, terms: SealedModel, fixed: FixedPoint, heads: Sequence[str]
) -> I64:
    """Every party's columns side by side, those of one head added up."""
    if not heads:
        return _whole([*(p.rows for p in panels), panel.features.rows], terms, fixed)
    brought = [sealed_columns(p.rows, terms, fixed) for p in panels]
    return np.concatenate([*added_columns(heads, brought), _whole([panel.features.rows], terms, fixed)], axis=1)


def _whole(columns: Sequence[F64], terms: SealedModel, fixed: FixedPoint) -> I64:
    """Every party's columns as it brings them, side by side."""
    made = [sealed_columns(values, terms, fixed) for values in columns if values.shape[1]]
    return np.concatenate(made or [np.zeros((len(columns[0]), 0), dtype=np.int64)], axis=1)


def _walked(twin: IntegerTwin | FloatTwin, panel: LabelPanel, terms: SealedModel, walk: WalkForward) -> F64:
    steps = tuple(cyclic(terms, walk, panel.known_from, panel.label, panel.universe))
    labels = fitted_labels(panel, walk)
    found = run_twin(twin, steps, lambda step: labels.at(step.period, step.rows))
    return shown_scores(panel, found)
