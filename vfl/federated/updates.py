"""A member's update between its own floats and the ring: clipped, weighed, noised and rounded; and back."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError
from vfl.arithmetic.ring import Ring
from vfl.federated_terms import RING_BITS, FederatedRounds

__all__ = ["RING", "averaged", "clipped", "encoded", "farthest"]

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]

RING = Ring(RING_BITS)


def clipped(update: F64, clip: float) -> F64:
    """``update`` scaled down to the norm ``clip`` where it is longer. Raises ValueError where it is not finite."""
    if not np.isfinite(update).all():
        raise ValueError(
            "training ran away: an update has a number that is not finite; lower learning_rate, or check the "
            "columns for outliers"
        )
    norm = float(np.linalg.norm(update))
    return update if norm <= clip else update * (clip / norm)


def encoded(update: F64, rows: int, terms: FederatedRounds, stream: SecretStream) -> U64:
    """A member's part of the sum: its update times its weight, and the weight, as elements of the ring."""
    weight = min(rows, terms.most_rows) if terms.weights == "rows" else 1
    if weight < 1:
        raise ValueError("this member has no row with a label to train on: widen the query, or leave this run")
    values = clipped(update, terms.clip) * weight
    if terms.noise:
        # each brings what makes the noise of the fewest who can be in a sum whole
        values = values + stream.gaussian(len(values)) * (terms.noise * terms.clip / math.sqrt(terms.threshold))
    numbers = RING.encode(values, terms.fraction_bits)
    return np.concatenate([numbers, RING.wrap(np.array([weight]))])


def averaged(elements: U64, terms: FederatedRounds) -> F64:
    """The mean update of an opened sum. Raises :class:`MalformedError` where it has no weight."""
    weight = int(RING.signed(elements[-1:])[0])
    if weight < 1:
        raise MalformedError("the weights of the sum add up to nothing")
    mean: F64 = RING.decode(elements[:-1], terms.fraction_bits) / weight
    return mean


def farthest(terms: FederatedRounds, members: int, numbers: int) -> float:
    """Norm that the mean of updates within the clip cannot exceed, noise included."""
    deviation = terms.noise * terms.clip * math.sqrt(members / max(terms.threshold, 1)) / members
    rounding = math.ldexp(math.sqrt(numbers), -terms.fraction_bits)
    return terms.clip + rounding + deviation * (math.sqrt(numbers) + 8)
