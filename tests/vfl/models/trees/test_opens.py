"""What a run of trees opens, counted, against what travels."""

from __future__ import annotations

import numpy as np

from tests.vfl.models.trees.rig import Consortium, columns
from vfl.models.disclosure import RunSizes
from vfl.models.sealed.messages import Scores
from vfl.models.sealed.score_range import RangeVerdict
from vfl.models.trees.messages import LevelNumbers
from vfl.models.trees.opens import in_words, opened_bits, pairs_of_tree, sentences
from vfl.terms import OpeningTerms
from vfl.tree_terms import TreesModel
from vfl.walk.refits import refits_static

ROWS = 60


def test_no_more_bits_open_than_are_counted() -> None:
    terms = TreesModel(depth=3, trees=2, candidates=2, smallest_leaf=5, anchor="a")
    made = Consortium({n: columns(ROWS, 2, n) for n in "ab"}, columns(ROWS, 1, "own"), terms)
    made.run(list(refits_static(terms, ROWS)), np.random.default_rng(0).normal(size=ROWS))
    sent = [8 * len(h.message.values) for h in made.heard if isinstance(h.message, LevelNumbers | Scores)]
    owners, checked = 3, sum(isinstance(h.message, RangeVerdict) for h in made.heard)
    assert checked == 1, "a bit of each prediction, which no number stands for"
    assert pairs_of_tree(terms, owners) == 3 * 2 * 7 + 1
    assert sum(sent) + checked <= opened_bits(terms, owners, 2, ROWS) + 8 * len(sent)
    assert sum(sent) + checked >= opened_bits(terms, owners, 2, ROWS)


def test_the_terms_say_what_opens_before_they_are_signed() -> None:
    terms = TreesModel(anchor="bank", fits_kept=3, blocks=4, refit_every=2)
    sizes = RunSizes(3, 22, 22, 8, 4, 2, OpeningTerms())
    text = " ".join(sentences(terms, sizes))
    for words in (
        "on which side of each split", f"{pairs_of_tree(terms, 4)} pairs", "2 of a row over all runs",
        "32 anonymous candidates", "or of one", "5%",
    ):  # fmt: skip
        assert words in text
    assert "the last 3 fits" in in_words(terms)
    assert "every 2 periods" in in_words(terms)
