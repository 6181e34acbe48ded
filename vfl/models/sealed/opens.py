"""What opens in a sealed run, counted in bits and said in words: for terms before signing, and for audit reports."""

from __future__ import annotations

from collections.abc import Iterator

from vfl.models.disclosure import RunSizes
from vfl.models.sealed.scales import SCORE_BITS
from vfl.models.sealed.score_range import CHECK_BITS
from vfl.terms import SealedModel

__all__ = [
    "NUMBER_BITS",
    "cheating",
    "collusion",
    "in_words",
    "one_bit",
    "one_row",
    "opened_bits",
    "sentences",
    "slow_scores",
]

NUMBER_BITS = 32
"""Bits of an opened number of a coalition and period."""


def collusion(model: SealedModel) -> str:
    """The sentence that is shown wherever the anchor is."""
    return (
        f"Anchor: {model.anchor} holds the other half of every share beside the label party. The label party and "
        f"{model.anchor} together would see what the label party would see if every embedding opened without limit; "
        "either of them without the other sees nothing of it while everybody else keeps to the protocol."
    )


def cheating(model: SealedModel, parties: int) -> str:
    """What shares do not protect from: docs/protocols/sealed.md#who-cheats."""
    said = "cheats and receives the factor, it can read labels from it."
    if parties == 1:
        return f"If {model.anchor} {said}"
    return (
        f"If {model.anchor}, or another feature party, {said} If a feature party beside {model.anchor} cheats together "
        f"with the label party, they see what the label party and {model.anchor} would."
    )


def one_bit(anchor: str) -> str:
    """What opens of a prediction beside its scores: docs/protocols/sealed.md#out-of-range."""
    return (
        f"Of each prediction {CHECK_BITS} bit more opens, to the label party and {anchor}: whether all its scores are "
        "in range; where one is not, the run ends. A label party that cheats may predict row by row, so that this bit "
        "is of one row, and ask with it whether a guess of its own is right; the first that is not ends the run."
    )


def one_row() -> str:
    """What numbers of a period tell a label party that makes its labels up: docs/protocols/sealed.md."""
    return (
        "A label party that cheats may bring labels that single a row out: each covariance is then "
        f"{NUMBER_BITS} bits of that row's score."
    )


def slow_scores() -> str:
    """What numbers of many periods tell a label party that keeps to the protocol: docs/protocols/sealed.md."""
    return (
        "Of a coalition whose columns hardly change, the covariances of many periods are equations of the same scores: "
        "a label party that keeps to the protocol solves them for what each entity's score is with that coalition's "
        "columns, the better the more periods there are beside entities."
    )


def opened_bits(scores: int, numbers: int = 0, predictions: int = 0) -> int:
    """Bits that can arrive at the label party, whatever it does.

    numbers: of coalitions, two a period each. predictions: in which these scores open, a bit each.
    """
    return scores * SCORE_BITS + numbers * NUMBER_BITS + predictions * CHECK_BITS


def in_words(model: SealedModel) -> str:
    """The model in one sentence."""
    shape = f"the sealed network, a line and {model.width} squared columns" if model.width else "a sealed line"
    return (
        f"Model: {shape} over all parties' columns{_products(model)}, trained on "
        f"shares to the end: {model.warmup_steps} steps of {model.batch_rows:,} rows before the first prediction, then "
        f"{model.steps} a period."
    )


def _products(model: SealedModel) -> str:
    """Beside the columns."""
    if model.products is None:
        return ""
    count = len(model.products.formulas)
    return f" and {count} product{'' if count == 1 else 's'} of two parties' terminals, made on shares in every step"


def sentences(model: SealedModel, sizes: RunSizes) -> Iterator[str]:
    """What the label party learns of the feature parties' data."""
    yield collusion(model)
    yield (
        "Training opens nothing. Of each predicted row its score opens to the label party, "
        f"{SCORE_BITS} bits; {model.anchor} counts them and refuses more than {sizes.row_limit} scores of a row over "
        f"all runs. {one_bit(model.anchor)}"
    )
    yield (
        f"A label party that cheats learns at most {SCORE_BITS} bits for each opened score, and may spend them on rows "
        "of its choice. It may ask another thing in each period, so a column that keeps its value over many periods "
        "can be read whole."
    )
    yield cheating(model, sizes.feature_parties)
    if sizes.openings.contribution == "moments":
        coalitions = 2**sizes.feature_parties - 1
        each = f"each of {coalitions} coalitions" if coalitions > 1 else "the one coalition"
        yield (
            f"For contribution two numbers of {NUMBER_BITS} bits open to the label party for {each} "
            "and each reported period: the covariance of the coalition's score with the label and the "
            f"score's variance, over the period's rows. {one_row()} {slow_scores()} "
            f"In this too the label party and {model.anchor} "
            "together would see each party's own embeddings."
        )
