"""Trees of two parties on one-hot data, in the twin, beside boosting in the clear of equal size."""

from __future__ import annotations

import os

import pytest

from benchmarks._a9a import load_a9a
from benchmarks.a9a_trees import TERMS, boosted_auc, held_out, trees_auc
from tests.places import SHARED_DATA
from vfl.terms import FixedPoint, SealedModel

FOLDER = SHARED_DATA / "fedtree_a9a"


NEEDED = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no data at {FOLDER}; set ENTENTE_SHARED_DATA")
FEW = TERMS.model_copy(update={"trees": 10, "depth": 4, "candidates": 32, "blocks": 1})


@pytest.mark.data
@NEEDED
def test_few_trees_on_a_third_of_the_rows_are_within_a_hundredth_of_a_booster_of_equal_size() -> None:
    data = load_a9a(FOLDER, SealedModel(), FixedPoint())
    fitted, judged = held_out(data)
    found, pooled = (of(data, FEW, fitted[::3], judged) for of in (trees_auc, boosted_auc))
    assert found > pooled - 0.01
    assert pooled > 0.88, "a booster that has learned"


@pytest.mark.data
@NEEDED
@pytest.mark.skipif("ENTENTE_LONG" not in os.environ, reason="takes long: set ENTENTE_LONG=1")
def test_trees_are_within_a_hundredth_of_a_pooled_booster_of_equal_size() -> None:
    data = load_a9a(FOLDER, SealedModel(), FixedPoint())
    rows = held_out(data)
    assert trees_auc(data, TERMS, *rows) > boosted_auc(data, TERMS, *rows) - 0.01
