"""Fixed-point encoding: how many bits features, gradients and weights have in a ring of agreed size."""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from vfl.agreed import Terms

__all__ = ["LARGEST_OPERAND", "FixedPoint"]

LARGEST_OPERAND = 2**16
"""Features at their fixed-point scale stay below: what Ring.matmul and the noise bound count on."""

_FEWEST_GRADIENT_BITS = 8


class FixedPoint(Terms):
    """Fixed-point encoding in Z_t, t = 2**ring_bits. Weights live at scale feature_bits + gradient_bits."""

    ring_bits: int = Field(default=59, ge=24, le=59)
    feature_bits: int = Field(default=12, ge=4, le=14)
    gradient_bits: int = Field(
        default=23,
        ge=_FEWEST_GRADIENT_BITS,
        le=30,
        description="fewer where more than 64 columns need the room, unless set",
    )
    clip: float = Field(default=8.0, gt=0, le=64, description="features are clipped to +-clip")

    @model_validator(mode="after")
    def _small_operand(self) -> FixedPoint:
        if math.ldexp(self.clip, self.feature_bits) >= LARGEST_OPERAND:
            raise ValueError("fixed point: clip * 2**feature_bits must stay below 2**16; lower one of them")
        return self

    @property
    def weight_bits(self) -> int:
        return self.feature_bits + self.gradient_bits

    @property
    def output_bits(self) -> int:
        """Fractional bits of an opened embedding."""
        return self.feature_bits + self.weight_bits

    def headroom_bits(self, features: int) -> int:
        """Bits left for the largest weight's whole part: b_x + b_w + ceil(log2 d) + 1 < ring_bits must hold.

        b_x and b_w are bits of magnitude; the 1 is the sign of the sum.
        """
        b_x = self.feature_bits + math.ceil(math.log2(self.clip))
        return self.ring_bits - 1 - b_x - self.weight_bits - math.ceil(math.log2(max(features, 1))) - 1

    def fitting(self, features: int) -> FixedPoint:
        """These bits, with ``gradient_bits`` as far down as ``features`` columns need for one bit of headroom.

        Raises ValueError, naming what fits, where that is not far enough.
        """
        lacking = 1 - self.headroom_bits(features)
        if lacking <= 0:
            return self
        beyond = lacking - (self.gradient_bits - _FEWEST_GRADIENT_BITS)
        if beyond > 0:
            raise ValueError(
                f"fixed point: {features} columns need a ring of {self.ring_bits + beyond} bits beside "
                f"{self.feature_bits} feature_bits: raise fixed_point.ring_bits, or lower fixed_point.feature_bits by "
                f"{math.ceil(beyond / 2)}"
            )
        return self.model_copy(update={"gradient_bits": self.gradient_bits - lacking})
