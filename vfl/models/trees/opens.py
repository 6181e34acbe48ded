"""What opens in a run of sealed trees, counted in bits and said in words: for terms before signing, and for audits."""

from __future__ import annotations

import math
from collections.abc import Iterator

from vfl.models.disclosure import RunSizes
from vfl.models.sealed.opens import NUMBER_BITS, one_bit, one_row, slow_scores
from vfl.models.sealed.scales import SCORE_BITS
from vfl.models.sealed.score_range import CHECK_BITS
from vfl.models.trees.candidates import SMALLEST_SHARE
from vfl.models.trees.scales import PAIR_BITS, SUM_BITS
from vfl.tree_terms import TreesModel

__all__ = ["cheating", "collusion", "in_words", "opened_bits", "pairs_of_tree", "sentences"]


def pairs_of_tree(model: TreesModel, owners: int) -> int:
    """Pairs that a tree opens, where ``owners`` parties bring candidates; one of them is of all its rows."""
    return owners * model.candidates * ((1 << model.depth) - 1) + 1


def opened_bits(model: TreesModel, owners: int, trees: int, scores: int, numbers: int = 0, predictions: int = 1) -> int:
    """Bits that can arrive at the label party, whatever it does.

    numbers: of coalitions, two a period each. predictions: in which these scores open, a bit each.
    """
    opened = trees * pairs_of_tree(model, owners) * PAIR_BITS + scores * SCORE_BITS + numbers * NUMBER_BITS
    return opened + predictions * CHECK_BITS


def collusion(model: TreesModel) -> str:
    """The sentence that is shown wherever the anchor is."""
    return (
        f"Anchor: {model.anchor} holds the other half of every share beside the label party. The label party and "
        f"{model.anchor} together would see, of every row, on which side of each split that was taken it lies, and "
        "every candidate's exact sums; either of them without the other sees nothing of it while everybody else keeps "
        "to the protocol."
    )


def cheating(model: TreesModel, parties: int) -> str:
    """What shares do not protect from: docs/protocols/trees.md#who-cheats."""
    bits = math.log2(model.candidates + 1)
    said = (
        "A feature party that cheats can make candidates up so that which of them is taken tells it of labels, and of "
        f"scores so far, of rows of its choice: {bits:.1f} bits a level. If {model.anchor} cheats, what the label "
        "party then chooses, and the factor where it receives it, can tell it labels."
    )
    if parties == 1:
        return said
    return (
        f"{said} If a feature party beside {model.anchor} cheats together with the label party, they see what the "
        f"label party and {model.anchor} would."
    )


def in_words(model: TreesModel) -> str:
    """The model in one sentence."""
    kept = {0: "no tree is ever dropped", 1: "all trees are fitted anew"}.get(
        model.fits_kept, f"the trees of the last {model.fits_kept} fits score together"
    )
    drawn = "" if model.blocks == 1 else f", each on one of {model.blocks} blocks of the rows"
    often = "period" if model.refit_every == 1 else f"{model.refit_every} periods"
    start = " Boosting begins at the score of a linear model." if model.init_score == "linear" else ""
    return (
        f"Model: sealed trees, {model.trees} of depth {model.depth} a fit{drawn}, grown on shares among "
        f"{model.candidates} random candidates of each party at each level; a fit every {often}, and {kept}.{start}"
    )


def sentences(model: TreesModel, sizes: RunSizes) -> Iterator[str]:
    """What the label party and the anchor learn of the feature parties' data."""
    owners = sizes.feature_parties + int(sizes.label_columns > 0)
    pairs = pairs_of_tree(model, owners)
    yield collusion(model)
    yield (
        f"Each tree opens {pairs} pairs to the label party: of every anonymous candidate and leaf how many rows it "
        f"holds and the sum of their residuals, {SUM_BITS} bits each; {model.trees * pairs * PAIR_BITS:,} bits a fit. "
        f"Of each predicted row its score opens, {SCORE_BITS} bits; {model.anchor} counts scores and refuses more than "
        f"{sizes.row_limit} of a row over all runs, and more trees than are agreed. {one_bit(model.anchor)}"
    )
    if model.init_score == "linear":
        yield (
            "The linear model that boosting begins at is trained on shares, and its scores stay in them: nothing more "
            f"opens. Of it the label party and {model.anchor} together would see the sum of the other feature parties' "
            "linear scores of every row."
        )
    yield (
        f"Every candidate holds at least {model.smallest_leaf} rows and {SMALLEST_SHARE:.0%} of a tree's on each side; "
        "its owner counts that. Within a leaf of a deeper level nobody can: a pair may be of few rows, or of one. "
        "Where data have a calendar, rows of one value are dealt to both sides, so that counts over fits and runs do "
        "not tell whose a value is; elsewhere a column of few values shows how many rows have each, a block and run."
    )
    yield (
        f"A label party that cheats can put rows of its choice into the sums and read {PAIR_BITS} bits of candidates "
        f"from each pair: for one row, on which side of {owners * model.candidates} anonymous candidates of the first "
        f"level it lies, in each of {model.trees} trees a fit; in their place, at later levels, "
        f"what a row's score is so far; and in place of a predicted score {SCORE_BITS} bits of what rows of its choice "
        "are in the trees that score, such as on which sides of their splits."
    )
    yield cheating(model, sizes.feature_parties)
    if sizes.openings.contribution == "moments":
        coalitions = 2**sizes.feature_parties - 1
        each = f"each of {coalitions} coalitions" if coalitions > 1 else "the one coalition"
        line = ", and has their part of the line left out" if model.init_score == "linear" else ""
        yield (
            f"For contribution two numbers of {NUMBER_BITS} bits open to the label party for {each} "
            "and each reported period: the covariance of the coalition's score with the label and the "
            f"score's variance, over the period's rows. {one_row()} {slow_scores()} "
            f"A coalition's score averages over the splits of "
            f"those who are not in it{line}. In this too the label party and {model.anchor} together would see every "
            "row's score of each coalition."
        )
    yield (
        f"Whose candidate a level takes is known to the label party and {model.anchor}; which one, to its owner and "
        "the label party, by a number that tells neither column nor threshold."
    )
