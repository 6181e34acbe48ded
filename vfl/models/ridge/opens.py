"""What the joint ridge opens: noted for everybody who signs, and what of it deserves a second look."""

from __future__ import annotations

from collections.abc import Iterator

from vfl.models.disclosure import Caution, RunSizes
from vfl.models.split.opens import ROWS_AND_COLUMNS, opened_sums
from vfl.terms import ROWS_PER_COLUMN, RidgeModel

__all__ = ["CAUTION_TERMS", "cautions", "in_words", "sentences"]


CAUTION_TERMS = frozenset(("model.rows_per_column", "openings.contribution"))
"""The terms that :func:`cautions` may name."""


def in_words(model: RidgeModel) -> str:
    """The model in one sentence."""
    return f"Model: the joint ridge, a line fitted from second moments of all columns; penalty {model.alpha:g}."


def sentences(model: RidgeModel, sizes: RunSizes) -> Iterator[str]:
    """What the label party learns of the feature parties' data."""
    least = model.smallest_block(sizes.features, sizes.label_columns + 1)
    yield opened_sums(model.embedding_width, sizes)
    yield ROWS_AND_COLUMNS
    yield (
        "The label party also learns second moments of all feature columns and the label, summed over blocks of at "
        f"least {least} rows, each party's columns in a basis only that party knows; "
        f"one that cheats reads up to {sizes.label_columns + 1} linear forms over rows per block instead."
    )
    if sizes.openings.contribution == "masked":
        yield "For contribution it also learns the sums of every coalition, so each party's own part of the score."


def cautions(model: RidgeModel, sizes: RunSizes) -> Iterator[Caution]:
    """What is allowed and shows more than it has to."""
    if model.rows_per_column < ROWS_PER_COLUMN:
        yield Caution(
            "model.rows_per_column",
            f"moments open over {model.rows_per_column} rows a column, where {ROWS_PER_COLUMN} are usual",
        )
    if sizes.openings.contribution == "masked" and sizes.feature_parties > 1:
        yield Caution(
            "openings.contribution", "masked contributions open each feature party's own scores to the label party"
        )
