"""What the split network opens: noted for everybody who signs, and what of it deserves a second look."""

from __future__ import annotations

from collections.abc import Iterator

from vfl.models.disclosure import Caution, RunSizes
from vfl.protocols.opened_numbers import DISCRETE_NOISE, OpenedNumbers
from vfl.terms import SplitModel

__all__ = ["CAUTION_TERMS", "ROWS_AND_COLUMNS", "cautions", "in_words", "opened_sums", "sentences"]

CAUTION_TERMS = frozenset(("model.embedding_width", "model.warm_start", "openings.contribution"))
"""The terms that :func:`cautions` may name."""
ROWS_AND_COLUMNS = (
    "One opened number can tell a value of a column that has few (a flag, a rank, whether a value is missing), so a "
    f"node lets none open unless its operator accepts that, and then under noise of {DISCRETE_NOISE:g} or more. Rows "
    "that a party does not have, or whose values told enough, open as rows drawn from its others."
)
"""What holds of rows and columns wherever rows open."""
_TOPS = {"linear": "a line", "mlp": "a tanh layer", "residual": "a line and a tanh layer's correction"}


def in_words(model: SplitModel) -> str:
    """The model in one sentence."""
    passes, least = f"{model.epochs} pass{'' if model.epochs == 1 else 'es'}", model.smallest_batch or 1
    return (
        f"Model: the split network, an embedding of width {model.embedding_width} that opens and {model.members} top "
        f"models on it ({_TOPS[model.top]}); loss {model.loss}; {passes} over the rows of each period, at least "
        f"{least} row{'' if least == 1 else 's'} a step."
    )


def sentences(model: SplitModel, sizes: RunSizes) -> Iterator[str]:
    """What the label party learns of the feature parties' data."""
    yield opened_sums(model.embedding_width, sizes)
    yield ROWS_AND_COLUMNS
    if model.warm_start == "ridge":
        least = model.smallest_block(sizes.features, sizes.label_columns + 1)
        yield (
            "For a warm start the label party also learns second moments of all feature columns and the label, summed "
            f"over the warm-up rows, at least {least}, each party's columns in a basis "
            f"only that party knows; one that cheats reads up to {sizes.label_columns + 1} linear forms over these "
            "rows instead, each time training begins anew. It is charged as an opening of each of these rows."
        )
    if sizes.openings.contribution == "masked":
        yield "For contribution it also learns the sums of every coalition, so each party's own embedding."


def opened_sums(width: int, sizes: RunSizes) -> str:
    """The sums that open of each row, and how many numbers that comes to."""
    exposed = sizes.row_limit * width
    share, deviation = f"{exposed / max(sizes.counted_features, 1):.0%}", sizes.openings.deviation
    return (
        f"The label party learns, for each opened row, the sum of {sizes.feature_parties} embeddings of width {width}, "
        f"at most {sizes.row_limit} times: {exposed} linear forms of {sizes.counted_features} features ({share}). "
        f"Each carries every party's noise ({deviation:.3f}) and tells {OpenedNumbers(deviation).bits:.1f} bits of a "
        "party's row at most, of the label party's choice if it cheats; each node counts them against its own columns."
    )


def cautions(model: SplitModel, sizes: RunSizes) -> Iterator[Caution]:
    """What is allowed and shows more than it has to."""
    exposed = sizes.row_limit * model.embedding_width
    usual = SplitModel.model_fields["embedding_width"].default
    if model.embedding_width > usual:
        yield Caution(
            "model.embedding_width", f"each opening shows {model.embedding_width} numbers, where {usual} are usual"
        )
    if sizes.own_features and exposed > sizes.own_features:
        yield Caution(
            "model.embedding_width",
            f"{exposed} numbers of a row may open and this party brings {sizes.own_features} columns: noise and the "
            "other parties' parts of the same sums hide them, and nothing else",
        )
    if sizes.openings.contribution == "masked" and sizes.feature_parties > 1:
        yield Caution(
            "openings.contribution", "masked contributions open each feature party's own embedding to the label party"
        )
    if model.warm_start == "ridge":
        yield Caution("model.warm_start", "a warm start opens second moments of all columns over the warm-up rows")
