"""What a screen opens, counted in bits and said in words: for terms before signing, and for audit reports."""

from __future__ import annotations

from collections.abc import Iterator

from vfl.models.disclosure import Caution, RunSizes
from vfl.screen_terms import ScreenModel

__all__ = ["CAUTION_TERMS", "SCREEN_BITS", "cautions", "formulas", "in_words", "sentences"]

SCREEN_BITS = 24
"""Bits of an opened sum of a formula and period."""

CAUTION_TERMS = frozenset(("model.terminals",))
"""The terms that :func:`cautions` may name."""

_USUAL = 100


def in_words(model: ScreenModel) -> str:
    """The screen in one sentence."""
    return (
        f"Screen: every party makes up to {model.terminals} terminals of its own columns at home (ranks, windows, "
        "differences), and every product of two parties' terminals is tried against the label; nothing is trained and "
        "no factor is made."
    )


def formulas(model: ScreenModel, sizes: RunSizes) -> tuple[int, int]:
    """Terminals that are tried alone and products of two, at most; of each opens one number a period."""
    parties, most = sizes.feature_parties, model.terminals
    own = most if sizes.label_columns else 0
    return parties * most, parties * (parties - 1) // 2 * most**2 + parties * own * most


def sentences(model: ScreenModel, sizes: RunSizes) -> Iterator[str]:
    """What the label party learns of the feature parties' data."""
    alone, pairs = formulas(model, sizes)
    yield (
        f"Of each period open one number of {SCREEN_BITS} bits for each terminal, up to {alone:,}, and one for "
        f"each product of two parties' terminals, up to {pairs:,}: the sum over the period's rows of the label's rank "
        "times the terminal or the product. No score opens. Terminals come in an order and with signs that "
        "only their owner knows, drawn anew for each run."
    )
    sums = 1 + model.terminals * (sizes.feature_parties - 1 + bool(sizes.label_columns))
    yield (
        "A label party that keeps to the protocol is not to solve these sums for rows: each node measures what is new "
        "in its ranks and refuses more sums than they hide, counted in bits."
    )
    yield (
        "A label party that cheats puts an indicator of one row in the place of its label, or of three rows weighed "
        "apart, and reads their terminals and products. It may choose other rows for each number, and a terminal is in"
        f" up to {sums:,} numbers of a period: so of each period it reads up to {3 * sums:,} rows of a terminal, all "
        f"where there are no more. That is at most {SCREEN_BITS} bits for each number that opens, whatever it encrypts."
        " It commits to its labels beforehand, so an auditor who is shown them can tell; a row enters the sums of at "
        f"most {sizes.row_limit} screens over all runs, and each feature party counts for itself. What it learns of a "
        "row in one screen and in the next adds up."
    )
    if sizes.feature_parties > 1:
        yield (
            "For each pair of feature parties the later one in the agreed order holds the other half of the shares of "
            "the earlier one's terminals: together with the label party it would see all of them, each without the "
            "other sees nothing while everybody else keeps to the protocol."
        )
    yield (
        "The owners of a formula that is named are told which of their terminals are in it, its mean and its t, "
        "rounded, of 50 formulas at most; their names of columns and windows never leave them."
    )


def cautions(model: ScreenModel) -> Iterator[Caution]:
    """What is allowed and shows more than it has to."""
    if model.terminals > _USUAL:
        yield Caution(
            "model.terminals", f"{model.terminals} terminals of a party enter the sums, where {_USUAL} are usual"
        )
