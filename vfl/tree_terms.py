"""The terms of sealed trees that every party signs; the other kinds of model are in :mod:`vfl.terms`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from vfl.agreed import Terms

__all__ = ["TreesModel"]


class TreesModel(Terms):
    """Sealed trees: boosted oblivious extra-trees, squared loss, grown on shares to the end."""

    kind: Literal["trees"] = "trees"
    depth: int = Field(default=4, ge=1, le=6, description="levels; every leaf of a level takes the same split")
    trees: int = Field(default=150, ge=1, le=2000, description="of each fit")
    candidates: int = Field(
        default=8, ge=1, le=64, description="random splits that each party with columns brings at each level"
    )
    rate: float = Field(default=0.1, gt=0, le=1, description="of a leaf's mean residual that a tree adds")
    reg_lambda: float = Field(default=20.0, ge=0, le=1e6, description="lambda, added to the count of a leaf")
    blocks: int = Field(
        default=1,
        ge=1,
        le=64,
        description="the rows are dealt once for the run into so many blocks, and trees draw one each in turn: 4 is a "
        "quarter of the rows a tree",
    )
    smallest_leaf: int = Field(default=20, ge=1, le=65_535, description="drawn rows; smaller sides gain nothing")
    refit_every: int = Field(default=1, ge=1, le=10_000, description="periods from one fit to the next")
    fits_kept: int = Field(
        default=1,
        ge=0,
        le=10_000,
        description="fits whose trees score together, the oldest dropped first; 1: all trees are fitted anew, 0: none "
        "is ever dropped",
    )
    init_score: Literal["zero", "linear"] = Field(
        default="zero",
        description="where boosting begins: linear: at the score of a linear model of all parties' columns, trained on "
        "shares, of which nothing opens",
    )
    init_alpha: float = Field(default=1000.0, ge=0, description="ridge penalty of that linear model")
    label_clip: float = Field(default=8.0, gt=0, le=64, description="labels are clipped to +-label_clip deviations")
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

    @model_validator(mode="after")
    def _begins_anew(self) -> TreesModel:
        if self.init_score == "linear" and self.fits_kept != 1:
            raise ValueError(
                'model.init_score = "linear" begins each fit at its own linear score, so trees of earlier fits cannot '
                'score with it: set model.fits_kept = 1, or model.init_score = "zero"'
            )
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_agreed(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Terms that begin at zero keep the hash they had before there was another start."""
        body: dict[str, Any] = handler(self)
        if self.init_score == "zero":
            body.pop("init_score", None)
            body.pop("init_alpha", None)
        return body

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
        """Numbers of a row that open at its prediction: its score."""
        return 1
