"""The terms of the sealed network that every party signs; the other kinds of model are in :mod:`vfl.terms`."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from vfl.agreed import Terms
from vfl.product_terms import ProductTerms

__all__ = ["FASTEST", "SealedModel"]

FASTEST = 2.0
"""Largest rate over 1 - momentum of the squared columns of a sealed network: twice what was ever of use."""


class SealedModel(Terms):
    """The sealed network: score = z_0 + sum_j s_j z_j^2 with z = x W, trained on shares to the end.

    ``width`` squared columns, the first half with sign +1 and the rest with -1. Rates are of a gradient averaged over
    the batch; the two rates are powers of two, since on shares they are shifts.
    """

    kind: Literal["sealed"] = "sealed"
    width: int = Field(default=4, ge=1, le=64, description="squared columns, beside the linear one")
    batch_rows: int = Field(default=4096, ge=8, le=16_384)
    warmup_steps: int = Field(default=8, ge=1, description="steps before the first prediction")
    steps: int = Field(default=1, ge=1, le=1000, description="steps at each later period, the new rows first")
    linear_rate: float = Field(default=2.0**-5, gt=0, le=1, description="a power of two")
    square_rate: float = Field(default=2.0**-2, gt=0, le=1, description="a power of two")
    momentum: float = Field(default=0.75, ge=0, lt=1)
    alpha: float = Field(default=1000.0, ge=0, description="ridge penalty of the linear column, as scikit-learn's")
    threshold: float = Field(
        default=2.25, ge=0, description="decay of the squared columns, in units of sqrt(columns / resolved rows)"
    )
    start: float = Field(default=0.2, gt=0, le=1, description="deviation of the initial squared embeddings")
    row_clip: float = Field(
        default=2.0, gt=0, le=64, description="a party's rows longer than row_clip * sqrt(its columns) are scaled down"
    )
    label_clip: float = Field(default=8.0, gt=0, le=64, description="labels are clipped to +-label_clip deviations")
    embedding_limit: float = Field(
        default=8.0, gt=0, le=1024, description="largest embedding that the arithmetic has room for"
    )
    score_limit: Literal[2, 4, 8, 16, 32] = Field(
        default=4,
        description="scores of 17 bits reach to +-score_limit label deviations; one beyond ends the run",
    )
    anchor: str = Field(
        default="",
        max_length=64,
        description="the feature party that holds the other half of all shares; empty in a draft: chosen for it",
    )
    seed: int = Field(default=0, ge=0)
    products: ProductTerms | None = Field(default=None, description="products of a screen as columns; None: none")

    @model_serializer(mode="wrap")
    def _only_what_is_agreed(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Terms without products keep the hash they had before there were any."""
        body: dict[str, Any] = handler(self)
        if self.products is None:
            body.pop("products", None)
        return body

    @field_validator("linear_rate", "square_rate")
    @classmethod
    def _shift(cls, value: float) -> float:
        if math.frexp(value)[0] != 0.5 or value < 2.0**-16:
            near = 2.0 ** max(-16, min(0, round(math.log2(value))))
            raise ValueError(f"a rate is a power of two from 2**-16 to 1, such as {near!r}: on shares it is a shift")
        return value

    @model_validator(mode="before")
    @classmethod
    def _squared_loss(cls, given: Any) -> Any:
        """Name the model that has what this one lacks."""
        found = sorted({"loss", "ic_weight", "classes", "rank_temperature", "top", "epochs"} & set(given or ()))
        if found:
            raise ValueError(
                f"a sealed network fits one label by squared error and has no model.{found[0]}: remove it, or set "
                'model.kind = "split"'
            )
        return given

    @model_validator(mode="after")
    def _settles(self) -> SealedModel:
        if self.square_rate / (1 - self.momentum) > FASTEST:
            rate = 2.0 ** math.floor(math.log2(FASTEST * (1 - self.momentum)))
            raise ValueError(
                f"model.square_rate = {self.square_rate!r} with momentum {self.momentum!r} is an effective rate of "
                f"{self.square_rate / (1 - self.momentum):.3g}, and above {FASTEST:g} training diverges: set "
                f"square_rate to {rate!r} or lower"
            )
        return self

    @property
    def score_fraction(self) -> int:
        """Fractional bits of an opened score."""
        return 16 - self.score_limit.bit_length() + 1

    @property
    def opened_scores(self) -> int:
        """Scores of a predicted row that open."""
        return 1

    @property
    def epochs(self) -> int:
        """Openings of a row that training needs: none."""
        return 0

    @property
    def warmup_epochs(self) -> int:
        """Openings of a row that training before the first prediction needs: none."""
        return 0

    @property
    def embedding_width(self) -> int:
        """Columns of an embedding: the linear one and the squared ones."""
        return self.width + 1

    @property
    def signs(self) -> tuple[int, ...]:
        """Of the squared columns."""
        return tuple(1 if column < (self.width + 1) // 2 else -1 for column in range(self.width))
