"""Trees of two parties on one-hot data, in the twin, beside boosting in the clear of equal size."""

from __future__ import annotations

import os

import pytest

from benchmarks._a9a import load_a9a
from benchmarks.a9a_trees import TERMS, boosted_auc, held_out, trees_auc
from tests.places import SHARED_DATA
from vfl.terms import FixedPoint, SealedModel

FOLDER = SHARED_DATA / "fedtree_a9a"


@pytest.mark.data
@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no data at {FOLDER}; set ENTENTE_SHARED_DATA")
@pytest.mark.skipif("ENTENTE_LONG" not in os.environ, reason="takes long: set ENTENTE_LONG=1")
def test_trees_are_within_a_hundredth_of_a_pooled_booster_of_equal_size() -> None:
    data = load_a9a(FOLDER, SealedModel(), FixedPoint())
    rows = held_out(data)
    assert trees_auc(data, TERMS, *rows) > boosted_auc(data, TERMS, *rows) - 0.01
