"""The algebra of a sealed step that both share holders run alike: everything here is local and exact.

Shares are of Z_p, (B, h + 1) for a batch of B rows, column 0 the linear one. ``cross`` is a share of what only a slot
product can give: the product of the two holders' own parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.models.sealed.scales import MEAN_BITS, Update

__all__ = ["Block", "centred", "gradient", "next_block", "next_blocks", "score", "update_input"]

U64 = NDArray[np.uint64]

_RING = PRIME_RING


@dataclass(frozen=True)
class Block:
    """One side's shares of one party's weights and of their speed, (d, h + 1) each."""

    weight: U64
    speed: U64

    @classmethod
    def starting(cls, weight: U64) -> Block:
        """At rest."""
        return cls(weight, np.zeros_like(weight))


def score(z: U64, cross: U64, signs: tuple[int, ...], bits: int) -> U64:
    """Share of z_0 + sum_j s_j z_j^2, (B,) at 2 * bits. z: (B, h + 1) at ``bits``. cross: of z_L o z_A, (B, h)."""
    squares = _RING.add(_RING.mul(z[:, 1:], z[:, 1:]), _RING.scale(cross, 2))
    total = _RING.scale(z[:, 0], 1 << bits)
    for sign in (1, -1):
        chosen = squares[:, [column for column, own in enumerate(signs) if own == sign]]
        if chosen.shape[1]:
            part = _RING.sum(chosen, axis=1)
            total = _RING.add(total, part) if sign == 1 else _RING.sub(total, part)
    return total


def centred(values: U64) -> U64:
    """Share of values less their mean, (B,), MEAN_BITS fractional bits more than ``values`` have."""
    mean = _RING.scale(_RING.sum(values, axis=0).reshape(1), round((1 << MEAN_BITS) / len(values)))
    return _RING.sub(_RING.scale(values, 1 << MEAN_BITS), np.broadcast_to(mean, values.shape))


def gradient(residual: U64, z: U64, cross: U64) -> U64:
    """Share of (r, r z_1, .., r z_h), (B, h + 1): column 0 at the scale of r, the others at the sum of both scales.

    residual: (B,). z: (B, h + 1). cross: of r_L z_A + r_A z_L, (B, h).
    """
    whole = np.empty_like(z)
    whole[:, 0] = residual
    whole[:, 1:] = _RING.add(_RING.mul(residual[:, None], z[:, 1:]), cross)
    return whole


def update_input(block: Block, summed: U64, update: Update) -> U64:
    """Share of what becomes the next speed once it is truncated by ``update.shift``; summed: of X^T G, (d, h + 1)."""
    total = _RING.scale(block.speed, update.momentum)
    for column, (decay, factor) in enumerate(zip(update.decays, update.factors, strict=True)):
        part = _RING.add(_RING.scale(block.weight[:, column], decay), _RING.scale(summed[:, column], factor))
        total[:, column] = _RING.add(total[:, column], part)
    return total


def next_block(block: Block, speed: U64) -> Block:
    """After the step: weight - speed."""
    return Block(_RING.sub(block.weight, speed), speed)


def next_blocks(blocks: Mapping[str, Block], speed: U64) -> dict[str, Block]:
    """After the step, of blocks whose speeds were truncated together, in order."""
    moved, start = {}, 0
    for name, block in blocks.items():
        stop = start + len(block.weight)
        moved[name] = next_block(block, speed[start:stop])
        start = stop
    return moved
